"""
Reception software that only writes and reads files: requests in one folder, results in another.

    settings   handover.toml
    folder     what lies in the request folder, taken without trusting any of it
    request    the content of a request file
    result     the content of a result file
    records    results laid out, and removed after a time; which requests were begun, so that none is begun twice
    service    the process: looks, takes, has it carried out by `appliance.client`, answers

docs/integrators.en.md describes the format.
"""

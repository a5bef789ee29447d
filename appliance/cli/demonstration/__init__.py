"""
What `jpki-appliance demo` shows, and whole clinics of such parts for `simulator site` and the benches.

    stage        every part real, in a folder of its own: token, hierarchy, card, virtual reader
    revocation   the part of the stage that knows which certificates were revoked
    performance  one authentication on that stage
    record       what happens in it, as data
    remembered   what the ledger has of it, verified by a program that knows nothing of us
    story        the record as a person reads it
    site         the stage made into a clinic that `serve` and `terminal` can be started in
"""

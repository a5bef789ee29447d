"""
Making the keys of an installation before witnesses, from one reviewed file, with a transcript that proves it.

    plan         the reviewed file: the only input
    transcript   what happened, in canonical form, signed by the keys it is about
    audit        everything that can be checked of a transcript without the HSM
    request      the PKCS#10 request for the institution key's certificate
    run          look, have the keys made, publish what came of it
    chain        import the institution's certificates once they are issued
    folder       files that are there whole or not at all
    errand       what the process that speaks with the HSM is sent for, and what it brings back
    process      that process: one errand, one login, then it ends
    visit        its session at the token          imported by `process` alone
    record       what the token shows of itself    imported by `process` alone
"""

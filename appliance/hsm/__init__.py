"""
Where keys live: PKCS#11 modules, each spoken to by one single-threaded process of its own.

    pool ── crews ──pipe── worker ── pkcs11      the daemon's side, and the process with the session
    ceremony, provision                          how keys are made
    conformance, bench                           what a module really does, and how fast

`messages` is what goes through the pipe, `ladder` what is done about each failure, `vendor` what is known of a module.
"""

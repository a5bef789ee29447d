"""
What measures the appliance, each beside bare measures in the same run.

    hsm          `hsm bench`: how much of the HSM's speed reaches the callers
    command      the group `bench`, with the three that follow
    daemon       `bench daemon`: whole authentications under load
    ledger       `bench ledger`: durable appends, verification, growth
    revocation   `bench revocation`: import, look-up, verification
"""

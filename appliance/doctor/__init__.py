"""
What is the matter with an appliance: everything that can be looked at, part by part, with what to do about it.

Nothing is changed, and no secret is told. The running daemon knows most; the rest is looked up beside it. The HSM is
logged in to only where nobody else has told about it, and never once it has rejected a PIN.
"""

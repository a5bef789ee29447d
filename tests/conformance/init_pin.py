"""
Set the user PIN of a fresh token: `python -m tests.conformance.init_pin MODULE LABEL PIN`, all made up for a test.

pkcs11-tool does it in a session that tpm2-pkcs11 takes for read-only.
"""

import sys

import pkcs11


def main(module: str, label: str, pin: str) -> None:
    """Log in as security officer, who has the same PIN, and set the user's."""
    session = pkcs11.lib(module).get_token(token_label=label).open(rw=True, so_pin=pin)
    session.init_pin(pin)
    session.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

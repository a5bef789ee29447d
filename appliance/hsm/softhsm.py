"""
A SoftHSM token in a folder of its own: what it is called there, and how the daemon's side has one made.

The making itself is `provision`, a process that ends: it loads the module, and nothing else here may.
"""

import subprocess
import sys
from pathlib import Path

from appliance.errors import BY_CODE, HsmModuleUnusable, PartMissing

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
"""Where Debian's package libsofthsm2 puts the module."""
TOKEN_LABEL = "jpki-appliance"  # noqa: S105 - a name, not a secret
CONFIGURATION = "softhsm2.conf"
TOKENS = "tokens"
USER_PIN = "user.pin"
SO_PIN = "so.pin"
INSTITUTION_KEY = "institution.pub.pem"
P384 = "p384"
"""How `provision` is told of an institution key on a curve."""
TOKEN_KEY = "token.pub.pem"  # noqa: S105 - the name of a file with a public key
LEDGER_KEY = "ledger.pub.pem"


def environment(folder: Path) -> dict[str, str]:
    """Return the variables with which SoftHSM finds the token in *folder*."""
    return {"SOFTHSM2_CONF": str(folder.absolute() / CONFIGURATION)}


def provision_softhsm(folder: Path, *, on_curve: bool = False) -> None:
    """
    Make a token with the appliance's keys in *folder*, which is absent or empty, in a process of its own.

    With *on_curve* the institution's key is one on P-384, for the hypothetical profile jpki-next.

    Raises what the process reports: PartMissing where SoftHSM is not installed, ConfigInvalid where the folder is
    in use, or an error about the HSM.
    """
    if not MODULE.exists():
        raise PartMissing(f"{MODULE} is not there: install Debian's package softhsm2")
    made = subprocess.run(
        (
            *(sys.executable, "-I", "-m", "appliance.hsm.provision", str(folder.absolute())),
            *((P384,) if on_curve else ()),
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        text=True,
        check=False,
    )
    if made.returncode == 0:
        return
    # The error is the last line; a module may have written others before.
    code, _, detail = (made.stderr.strip().splitlines() or [""])[-1].partition(": ")
    if code not in BY_CODE:
        raise HsmModuleUnusable(f"making the token ended with status {made.returncode}: {code} {detail}")
    raise BY_CODE[code](detail)

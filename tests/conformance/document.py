"""The checked-in reports: written by `make conformance`, read by the tests."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from appliance.hsm.conformance.results import Report
from appliance.hsm.conformance.table import markdown

_INTRODUCTION = """\
# What five PKCS#11 modules do

`jpki-appliance hsm conformance` puts a module through a series of probes, each in a process of its own, and writes the
vendor profile that follows. These are its answers for the five modules that Debian 12 has. "signs" means that a
signature came and the public key verified it. The same as data, with the profiles: `conformance.json`.
`make conformance` writes both anew; the tests fail where a module answers otherwise than it says here. Rates depend on
the machine and its other work: what counts is how they compare.

"""
_NOTES = """
## What follows from it

* **softhsm** does everything the standard says. It has no CKM_ECDSA_SHA256, which is why hashing is ours.
* **p11-kit** remoting adds its own round trip and knows no CKM_EDDSA: the ledger key is P-256 there.
* **opencryptoki**'s soft token has no EC, no CKM_SHA256_RSA_PKCS and does not know CKA_ALLOWED_MECHANISMS. It can hold
  the institution key alone, signing a DigestInfo made by us.
* **tpm2-pkcs11** refuses a template with CKA_VERIFY or CKA_ENCRYPT, and with such a refusal leaves the key it has made
  loaded in the TPM: without a resource manager (`/dev/tpmrm0`, tpm2-abrmd) three refusals block the TPM. CKM_RSA_PKCS
  does not work with a key that may only sign. CKA_EXTRACTABLE can be set afterwards, without consequence for the key,
  which is in the TPM; the next start of a worker refuses such a key. A key that was used in a session cannot be
  destroyed in it (CKR_FUNCTION_FAILED), only in another.
* **nss** does not initialise without arguments (CKR_ARGUMENTS_BAD from its softoken), so it is reached through
  `p11-kit-proxy.so` with `x-init-reserved` in a module file. It says CKA_LOCAL FALSE of keys it has made, and does not
  know CKA_ALLOWED_MECHANISMS. It derives a key from the PIN for every signature, which is why it is slow.
* With all of them, closing the session that logged in takes the keys away from the others of the same process: one
  worker, one session. A second login is answered the same whatever its PIN.
"""


def write(folder: Path, reports: Sequence[Report]) -> None:
    """Write *reports* to conformance.md and conformance.json in *folder*."""
    content = msgspec.json.format(msgspec.json.encode(reports, order="deterministic"), indent=2)
    (folder / "conformance.json").write_bytes(content + b"\n")
    (folder / "conformance.md").write_text(text(reports), "utf-8")


def read(folder: Path) -> list[Report]:
    """Return the reports in *folder*."""
    return msgspec.json.decode((folder / "conformance.json").read_bytes(), type=list[Report])


def text(reports: Sequence[Report]) -> str:
    """Return the document about *reports*."""
    return f"{_INTRODUCTION}{markdown(reports)}{_NOTES}"

"""
What is different from one PKCS#11 module to the next, as data: `hsm-config/vendors/NAME.toml`.

What a profile says is used, and nothing is guessed at run time: a module that does otherwise than its profile fails
with the profile's name in view. `jpki-appliance hsm conformance` measures a module and writes the profile that
follows. A profile may soften what a key is checked for only where a module cannot tell; each softening is listed by
`Vendor.deviations` for the operator to see. That a key is sensitive, not extractable and kept in the token is never
softened.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from appliance.errors import ConfigInvalid
from appliance.hsm.shipped import shipped

AttributeName = Literal[
    "CKA_ALLOWED_MECHANISMS",
    "CKA_ALWAYS_SENSITIVE",
    "CKA_DECRYPT",
    "CKA_DERIVE",
    "CKA_ENCRYPT",
    "CKA_EXTRACTABLE",
    "CKA_LOCAL",
    "CKA_NEVER_EXTRACTABLE",
    "CKA_PRIVATE",
    "CKA_SENSITIVE",
    "CKA_SIGN",
    "CKA_SIGN_RECOVER",
    "CKA_TOKEN",
    "CKA_UNWRAP",
    "CKA_VERIFY",
    "CKA_VERIFY_RECOVER",
    "CKA_WRAP",
]
"""The attributes our templates set and our checks read."""

SAFE_KEY: Mapping[AttributeName, bool] = {
    "CKA_TOKEN": True,
    "CKA_PRIVATE": True,
    "CKA_LOCAL": True,
    "CKA_SENSITIVE": True,
    "CKA_ALWAYS_SENSITIVE": True,
    "CKA_EXTRACTABLE": False,
    "CKA_NEVER_EXTRACTABLE": True,
    "CKA_SIGN": True,
    "CKA_SIGN_RECOVER": False,
    "CKA_DECRYPT": False,
    "CKA_UNWRAP": False,
    "CKA_DERIVE": False,
}
"""What a private key of ours is: made in the token, never to leave it, and able to sign, nothing more."""
NEVER_SOFTENED = frozenset({"CKA_TOKEN", "CKA_PRIVATE", "CKA_SENSITIVE", "CKA_EXTRACTABLE", "CKA_SIGN"})
"""What no vendor profile may excuse."""
_FIRST_VENDOR_USER = 0x80000000
"""Where numbers of user types that a vendor defines begin (CKU_VENDOR_DEFINED)."""
_LARGEST_FILE = 1 << 16

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a profile have in common."""


class Tested(_Part, frozen=True, kw_only=True, tag="tested", tag_field="kind"):
    """The profile follows from a conformance report."""

    date: date
    versions: Text
    """Of what was tested."""


class Untested(_Part, frozen=True, kw_only=True, tag="untested", tag_field="kind"):
    """The profile follows from a document; nobody has run it."""

    document: Text


class Variable(_Part, frozen=True, kw_only=True):
    """An environment variable the module reads: what it is for, and what it is where nobody says otherwise."""

    purpose: Text
    default: str | None = None
    required: bool = False


class Login(_Part, frozen=True, kw_only=True):
    """How the module is logged in to."""

    kind: Literal["pin", "protected-path"] = "pin"
    """From the credential file, or at a device of the HSM's own (PED, card reader)."""
    user_type: Literal["user"] | int = "user"
    """CKU_USER, or the number of a vendor's own user type."""

    def __post_init__(self) -> None:
        if self.user_type != "user" and not _FIRST_VENDOR_USER <= self.user_type < 1 << 32:
            raise ValueError(f"a vendor's user type begins at {_FIRST_VENDOR_USER:#x}")


class Signing(_Part, frozen=True, kw_only=True):
    """How the module signs, and in which encodings it speaks of EC keys."""

    rsa: Literal["sha256-rsa-pkcs", "rsa-pkcs"] = "sha256-rsa-pkcs"
    """CKM_SHA256_RSA_PKCS, or CKM_RSA_PKCS over a DigestInfo made by us."""
    ec: bool = True
    """Whether the module has P-256 at all. Where it has not, the token and ledger keys live elsewhere."""
    ec_point: Literal["der", "raw"] = "der"
    """CKA_EC_POINT: an OCTET STRING around the point, as the standard says, or the bare point."""
    ecdsa_signature: Literal["raw", "der"] = "raw"
    """r and s side by side, as the standard says, or ECDSA-Sig-Value."""
    ledger: Literal["ed25519", "p256"] = "p256"
    """The ledger key's algorithm: Ed25519 where the module has CKM_EDDSA."""
    ed25519_params: Literal["oid", "name"] = "oid"
    """CKA_EC_PARAMS of Ed25519: the object identifier 1.3.101.112, or the PrintableString "edwards25519"."""


class Attributes(_Part, frozen=True, kw_only=True):
    """Where the module's attributes are not those of the standard."""

    omitted: frozenset[AttributeName] = frozenset()
    """Left out of templates: the module refuses a template with them."""
    unreadable: frozenset[AttributeName] = frozenset()
    """Not known to the module, so not checked. A module that knows one after all is refused: wrong profile."""
    expected: Mapping[AttributeName, bool] = {}
    """What the module reports of a key of ours where that is not what the standard says."""
    allowed_mechanisms: Literal["enforced", "unenforced", "unknown", "fixed"] = "enforced"
    """CKA_ALLOWED_MECHANISMS is kept and obeyed; kept only; not known; or a list of the module's own choice."""

    def __post_init__(self) -> None:
        softened = NEVER_SOFTENED & (self.unreadable | self.expected.keys())
        if softened:
            raise ValueError(f"{', '.join(sorted(softened))} must be as the standard says, in every profile")


class Limits(_Part, frozen=True, kw_only=True):
    """What the module bears, and how long it may take."""

    sessions: Annotated[int, msgspec.Meta(ge=1, le=65536)] | None = None
    """The most sessions, so the most workers; None where the module sets no limit we would meet."""
    keep_alive_seconds: Seconds | None = None
    """A session that is idle for longer may die; None where it may idle for ever."""
    operation_seconds: Seconds = 5.0
    """What one signature may take before the worker is given up."""


class Vendor(_Part, frozen=True, kw_only=True):
    """A vendor profile. The defaults are what the standard says."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    status: Tested | Untested
    module: Annotated[str, msgspec.Meta(pattern=r"^/")]
    """Where the vendor's package puts the PKCS#11 module."""
    initialisation: Literal["null", "p11-kit"] = "null"
    """C_Initialize(NULL) works, or the module needs arguments and *module* is p11-kit's, which gives them."""
    environment: Mapping[str, Variable] = {}
    login: Login = Login()
    signing: Signing = Signing()
    attributes: Attributes = Attributes()
    limits: Limits = Limits()
    notes: tuple[Text, ...] = ()

    @property
    def tested(self) -> bool:
        """Whether somebody has run this profile."""
        return isinstance(self.status, Tested)

    @property
    def deviations(self) -> tuple[str, ...]:
        """What an operator must know before trusting a key in this module: every softened check, in a sentence."""
        attributes = self.attributes
        said = [
            f"{name} is {str(value).upper()} for a key made in the token"
            for name, value in sorted(attributes.expected.items())
        ]
        said += [
            f"{name} is not known to the module and not checked" for name in sorted(attributes.unreadable)
        ]
        match attributes.allowed_mechanisms:
            case "unenforced":
                said.append("CKA_ALLOWED_MECHANISMS is kept but not enforced")
            case "unknown":
                said.append(
                    "CKA_ALLOWED_MECHANISMS is not known: the module does not limit keys to one mechanism"
                )
            case "fixed":
                said.append("CKA_ALLOWED_MECHANISMS is the module's own list, not ours")
            case "enforced":
                pass
        if not self.tested:
            said.append("the profile is untested: run 'jpki-appliance hsm conformance'")
        return tuple(said)


SOFTHSM = Vendor(
    name="softhsm",
    status=Tested(date=date(2026, 11, 22), versions="SoftHSM 2.6.1"),
    module="/usr/lib/softhsm/libsofthsm2.so",
    environment={"SOFTHSM2_CONF": Variable(purpose="Path of softhsm2.conf.", required=True)},
    signing=Signing(ledger="ed25519"),
)
"""SoftHSM as Debian builds it: what `provision` makes tokens with. `vendors/softhsm.toml` says the same, with notes."""


def load_vendor(named: str, folder: Path | None = None) -> Vendor:
    """
    Return the profile called *named*: a shipped one, or a file (ending in .toml, relative to *folder*).

    Raises ConfigInvalid, naming what is wrong with it.
    """
    path = (folder or Path()) / named if named.endswith(".toml") else _shipped(named)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST_FILE:
        raise ConfigInvalid(f"{path} is larger than {_LARGEST_FILE} bytes")
    try:
        return msgspec.toml.decode(content, type=Vendor)
    except (ValueError, RecursionError) as error:  # endless digits or brackets make no DecodeError
        raise ConfigInvalid(f"{path}: {error}") from error


def shipped_vendors() -> tuple[str, ...]:
    """Return the names of all profiles that are shipped."""
    return tuple(sorted(path.stem for path in shipped("vendors").glob("*.toml")))


def _shipped(name: str) -> Path:
    if name not in (known := shipped_vendors()):
        raise ConfigInvalid(f"no vendor profile is called '{name}'; there are {', '.join(known)}")
    return shipped("vendors") / f"{name}.toml"

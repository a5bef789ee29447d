"""
The plan of a ceremony: one TOML file, reviewed beforehand, and the only input of everything that follows.

What was reviewed is told by the SHA-256 of the file's bytes, and those very bytes travel on: to the process that
makes the keys, and into the transcript. `hsm-config/ceremony/` has annotated examples. Paths are relative to the
folder the file lies in. No secret stands in it.
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from appliance.config import read_bounded
from appliance.errors import CeremonyPlanInvalid, ConfigInvalid
from appliance.hsm.ceremony.subject import SubjectPart, distinguished_name
from appliance.hsm.messages import Role
from appliance.hsm.vendor import Vendor, load_vendor

Algorithm = Literal["rsa-2048", "p-256", "ed25519"]

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,31}$")]
"""A key's label, which is also what its files are called."""
KeyId = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){1,32}$")]
"""CKA_ID in hexadecimal."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of a plan have in common."""


class TokenPlan(_Part, frozen=True, kw_only=True):
    """Which token."""

    vendor: Line
    """Name of a shipped vendor profile, or path of a profile file (ending in .toml)."""
    module: Line | None = None
    """Path of the PKCS#11 module; the profile's where it is not given."""
    label: Line
    pin_file: Line
    environment: Mapping[str, str] = {}
    """Variables the module needs. A value that begins with "./" is a path beside the plan."""


class RequestPlan(_Part, frozen=True, kw_only=True):
    """What the PKCS#10 request for a key says."""

    subject: Annotated[tuple[tuple[SubjectPart, Line], ...], msgspec.Meta(min_length=1, max_length=16)]
    """The distinguished name, in the order in which it is written into the request."""

    def __post_init__(self) -> None:
        for part, value in self.subject:
            _refuse_invisible(f"subject {part}", value)
        # Now, and not only when the key is made: a request that cannot be written is a mistake in the plan.
        distinguished_name(self.subject)


class KeyPlan(_Part, frozen=True, kw_only=True):
    """A key to be made."""

    role: Role
    algorithm: Algorithm
    label: FileName
    id: KeyId
    request: RequestPlan | None = None

    def __post_init__(self) -> None:
        if (self.role is Role.INSTITUTION) != (self.request is not None):
            raise ValueError("the institution key, and no other, has a request")


class CountersignerPlan(_Part, frozen=True, kw_only=True):
    """A key of an earlier ceremony that also signs the transcript."""

    role: Literal["token", "ledger"]
    """Never the institution key: in service, it signs challenges of cards and nothing else."""
    public_key: Line
    """PEM file of its public half, through which it is found in the token."""


class InstallationPlan(_Part, frozen=True, kw_only=True):
    """Where the certificates go once they are issued."""

    configuration: Line
    """The appliance's configuration file, which names the files."""


class Plan(_Part, frozen=True, kw_only=True):
    """The whole file."""

    purpose: Line
    operator: Line
    witnesses: Annotated[tuple[Line, ...], msgspec.Meta(min_length=1, max_length=16)]
    output: Line
    """Folder that is made for what the ceremony brings about."""
    token: TokenPlan
    keys: Annotated[tuple[KeyPlan, ...], msgspec.Meta(min_length=1, max_length=3)]
    countersign: Annotated[tuple[CountersignerPlan, ...], msgspec.Meta(max_length=4)] = ()
    installation: InstallationPlan | None = None

    def __post_init__(self) -> None:
        people = (self.operator, *self.witnesses)
        for text in (self.purpose, *people):
            _refuse_invisible("purpose and names", text)
        _refuse_repeated("the operator and the witnesses are different people", people)
        _refuse_repeated("one ceremony makes one key for each role", [key.role for key in self.keys])
        # Labels name files too, and some file systems do not tell capital letters from small ones.
        _refuse_repeated("keys have labels of their own", [key.label.casefold() for key in self.keys])
        _refuse_repeated("keys have ids of their own", [key.id for key in self.keys])
        if not self.countersign and all(key.role is Role.INSTITUTION for key in self.keys):
            raise ValueError(
                "the transcript is signed by a token or ledger key: one that is made, or one under 'countersign'"
            )

    def key(self, role: Role) -> KeyPlan | None:
        """Return what is planned for the key of *role*, or None."""
        return next((key for key in self.keys if key.role is role), None)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A plan as it lies in its file: its *content*, and the *folder* its paths start from."""

    plan: Plan
    content: bytes
    folder: Path

    @property
    def sha256(self) -> str:
        """What reviewers note."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def output(self) -> Path:
        """The folder for what the ceremony brings about."""
        return self.path(self.plan.output)

    @property
    def vendor(self) -> Vendor:
        """The token's vendor profile; raises CeremonyPlanInvalid where there is none, or keys are not its kind."""
        try:
            vendor = load_vendor(self.plan.token.vendor, self.folder)
        except ConfigInvalid as error:
            raise CeremonyPlanInvalid(f"token.vendor: {error.detail}") from error
        for key in self.plan.keys:
            if key.algorithm != (made := algorithm(key.role, vendor)):
                raise CeremonyPlanInvalid(
                    f"the {key.role} key of a token of '{vendor.name}' is {made}, not {key.algorithm}"
                )
        return vendor

    @property
    def module(self) -> str:
        """Path of the PKCS#11 module."""
        return self.plan.token.module or self.vendor.module

    @property
    def environment(self) -> dict[str, str]:
        """The module's variables, with paths beside the plan made absolute."""
        return {
            name: str(self.path(value)) if value.startswith("./") else value
            for name, value in self.plan.token.environment.items()
        }

    def path(self, named: str) -> Path:
        """Return the absolute path of what the plan calls *named*."""
        return (self.folder / named).absolute()


def algorithm(role: Role, vendor: Vendor) -> Algorithm:
    """Return what a key of *role* is in a token of *vendor*."""
    match role:
        case Role.INSTITUTION:
            return "rsa-2048"
        case Role.TOKEN:
            return "p-256"
        case Role.LEDGER:
            return "ed25519" if vendor.signing.ledger == "ed25519" else "p-256"


def parse(content: bytes) -> Plan:
    """Return the plan that *content* is, or raise CeremonyPlanInvalid naming what is wrong."""
    try:
        return msgspec.toml.decode(content, type=Plan)
    except (ValueError, RecursionError) as error:  # endless digits or brackets make no DecodeError
        raise CeremonyPlanInvalid(str(error)) from error


def load(path: Path) -> Reviewed:
    """Return the plan in the file *path*, or raise CeremonyPlanInvalid."""
    try:
        content = read_bounded(path)
    except ConfigInvalid as error:
        raise CeremonyPlanInvalid(error.detail) from error
    try:
        return Reviewed(parse(content), content, path.absolute().parent)
    except CeremonyPlanInvalid as error:
        raise CeremonyPlanInvalid(f"{path}: {error.detail}") from error


def _refuse_invisible(what: str, text: str) -> None:
    # A transcript is read by people: nothing in it may hide, or turn the order of what they see.
    if text != text.strip() or any(unicodedata.category(character).startswith("C") for character in text):
        raise ValueError(f"{what}: blanks at the ends and invisible characters are refused")


def _refuse_repeated(rule: str, values: tuple[str, ...] | list[str] | list[Role]) -> None:
    if len(set(values)) != len(values):
        raise ValueError(rule)

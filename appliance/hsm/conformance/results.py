"""
What a conformance probe finds out: one kind of finding for each probe, and what can go wrong with any of them.

A return value stands under its PKCS#11 name (CKR_…); "signs" says that a signature came and verified.
"""

from datetime import date
from typing import Literal

import msgspec

from appliance.hsm.vendor import Vendor

SIGNS = "signs"


class _Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """What all findings have in common: the name of the kind stands in the report."""


class Failed(_Finding, frozen=True, tag=True):
    """The probe came to no finding: the module *how*, and in *detail* the return value, signal or deadline."""

    how: Literal["refused", "crashed", "hung", "not-reached", "pin-rejected"]
    detail: str


class Initialised(_Finding, frozen=True, tag=True):
    """C_Initialize(NULL) succeeded."""

    library: str
    manufacturer: str
    version: str
    cryptoki: str


class TokenSeen(_Finding, frozen=True, tag=True):
    """Exactly one token has the label."""

    slots: int
    manufacturer: str
    model: str
    protected_path: bool


class Mechanisms(_Finding, frozen=True, tag=True):
    """Which of the mechanisms we would use the token lists."""

    names: tuple[str, ...]


class KeyMade(_Finding, frozen=True, kw_only=True, tag=True):
    """A key pair was generated with our template, less what the module refuses."""

    omitted: tuple[str, ...]
    """Attributes that had to be left out of the template, CKA_ALLOWED_MECHANISMS among them."""
    attributes: dict[str, bool | None]
    """As read back; None for what the token does not know."""
    allowed: tuple[str, ...] | None
    """CKA_ALLOWED_MECHANISMS as read back; None where the token does not know it."""
    signature: str
    """"signs", or the return value, or "does not verify"."""
    ec_point: Literal["der", "raw"] | None = None
    ecdsa_signature: Literal["raw", "der"] | None = None
    ed25519_params: Literal["oid", "name"] | None = None
    secret_parts: tuple[str, ...]
    """Every answer to reading the parts of the private key: nothing but CKR_ATTRIBUTE_SENSITIVE should be here."""
    made_extractable: str
    """The answer to setting CKA_EXTRACTABLE; CKR_OK is bad news."""
    other_mechanism: str | None
    """The answer to signing with a mechanism the key is not for; None where the token has no other."""


class LoginScope(_Finding, frozen=True, tag=True):
    """Whom a login is for."""

    second_session: str
    """Whether a session opened after the login can sign without one."""
    second_login: str
    """The answer to a second login with the same, right PIN. It proves nothing about a PIN."""
    after_close: str
    """Whether the second session still signs once the one that logged in was closed."""


class Sessions(_Finding, frozen=True, tag=True):
    """How many sessions could be opened in one process, beside the first; *stopped* by what, if not by us."""

    opened: int
    stopped: str | None


class StaleHandle(_Finding, frozen=True, tag=True):
    """What a key object kept over finalize and initialize does, before and after the new login."""

    before_login: str
    after_login: str


class Reinitialised(_Finding, frozen=True, tag=True):
    """Whether a key found again after finalize, initialize and login signs."""

    found_again: str


class Errors(_Finding, frozen=True, kw_only=True, tag=True):
    """How the module answers misuse, and whether the session survives it."""

    wrong_mechanism: str
    too_long: str
    after_errors: str
    destroyed_key: str
    closed_session: str


class Rate(_Finding, frozen=True, kw_only=True, tag=True):
    """Signatures with the institution key, by so many processes at once."""

    processes: int
    per_second: float
    p50_ms: float
    p99_ms: float


class Destroyed(_Finding, frozen=True, tag=True):
    """How many of our throw-away objects were destroyed, and how many are left."""

    destroyed: int
    left: int


Finding = (
    Failed
    | Initialised
    | TokenSeen
    | Mechanisms
    | KeyMade
    | LoginScope
    | Sessions
    | StaleHandle
    | Reinitialised
    | Errors
    | Rate
    | Destroyed
)


class Phase(_Finding, frozen=True, tag=True):
    """Not a finding: where a probe is. Between "logging in" and "logged in" it is not killed."""

    name: Literal["logging in", "logged in", "ready"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe is to do: *probe* on the *token*, with keys whose labels begin with *mark*."""

    probe: str
    vendor: Vendor
    module: str
    token: str
    pin_file: str
    mark: str
    key: str = "institution"
    """Which of the throw-away keys, by the rest of its label."""
    seconds: float = 1.0
    """How long a rate is measured."""


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All findings about one module, and the profile that follows from them."""

    vendor: str
    tested: date
    versions: str
    findings: dict[str, Finding]
    """By the name of the probe, in the order they were made."""
    profile: Vendor | None
    """None where no key of ours could sign: such a module cannot be used."""

    def stable(self) -> dict[str, object]:
        """Return what has to be the same in the next run: everything but dates, versions and rates."""
        content = msgspec.to_builtins(
            msgspec.structs.replace(
                self,
                findings={
                    name: found for name, found in self.findings.items() if not isinstance(found, Rate)
                },
            )
        )
        for unstable in ("tested", "versions"):
            del content[unstable]
        if content["profile"] is not None:
            del content["profile"]["status"]
        return dict(content)

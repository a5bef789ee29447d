"""
A visit to the token that a plan names: module loaded, PIN checks made, one session, and an end.

Imported by `process` alone: one visit is all that a process ever makes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.types import Session, Token

from appliance.errors import HsmUnavailable
from appliance.hsm.ceremony import record
from appliance.hsm.ceremony.plan import KeyPlan, Reviewed
from appliance.hsm.ceremony.transcript import Module, TokenIdentity, read_key
from appliance.hsm.messages import Role
from appliance.hsm.pkcs11.pin import locked_credential
from appliance.hsm.pkcs11.signing import SigningKey
from appliance.hsm.pkcs11.token import (
    attribute_mapper,
    find_private_key,
    find_token,
    load_module,
    log_in,
    mapped,
    refuse_risky_login,
)


@dataclass(frozen=True, slots=True)
class Visit:
    """The token that *reviewed* names, and a *session* there."""

    reviewed: Reviewed
    module: Module
    token: Token
    session: Session
    began: datetime
    started: float
    """When it began, by a clock that nobody sets."""

    @property
    def identity(self) -> TokenIdentity:
        """What the token says of itself."""
        return record.token_identity(self.token)

    @property
    def keys(self) -> tuple[KeyPlan, ...]:
        """The planned keys."""
        return self.reviewed.plan.keys

    @property
    def ended(self) -> datetime:
        """When it ends, if it ends now: never before it began, whatever NTP has done to the clock meanwhile."""
        return self.began + timedelta(seconds=time.monotonic() - self.started)

    def signing_key(self, role: Role, pem: bytes) -> SigningKey:
        """Return the key of *role* with the public half *pem*, found in the token, checked, and tried."""
        pinned = read_key(pem)
        private = find_private_key(self.session, self.reviewed.vendor, role, pinned)
        key = SigningKey(self.reviewed.vendor, role, private, pinned)
        key.canary()
        return key

    @contextmanager
    def another_session(self) -> Iterator[Session]:
        """Give a new writable session of the same login: one in which a signature failed may take no other call."""
        with mapped(HsmUnavailable, "opening a session"):
            session = self.token.open(rw=True, attribute_mapper=attribute_mapper())
        with _closed(session):
            yield session

    def stated(self) -> dict[str, Any]:
        """Return what both kinds of statement say; to be called when everything else is done."""
        plan = self.reviewed.plan
        return {
            "purpose": plan.purpose,
            "operator": plan.operator,
            "witnesses": plan.witnesses,
            "plan": self.reviewed.content.decode("utf-8"),
            "plan_sha256": self.reviewed.sha256,
            "began": _time(self.began),
            "ended": _time(self.ended),
            "software": record.software(),
            "module": self.module,
            "token": self.identity,
            "vendor": record.vendor_record(self.reviewed.vendor),
        }


@contextmanager
def visit(reviewed: Reviewed, *, logged_in: bool = True, writable: bool = False) -> Iterator[Visit]:
    """Load the module, find the token and give a session. The PIN is tried once, and not where it is at risk."""
    began, started = datetime.now(UTC), time.monotonic()
    vendor = reviewed.vendor
    path = reviewed.module
    label = reviewed.plan.token.label
    with locked_credential(reviewed.path(reviewed.plan.token.pin_file), path, label) as credential:
        module = load_module(path)
        token = find_token(module, label)
        refuse_risky_login(token)
        if not logged_in:
            with mapped(HsmUnavailable, "opening a session"):
                session = token.open(attribute_mapper=attribute_mapper())
        elif vendor.login.kind == "protected-path":
            session = log_in(token, vendor, None, writable=writable)
        else:
            with credential.pin() as pin:
                session = log_in(token, vendor, pin, writable=writable)
    with _closed(session):
        yield Visit(reviewed, record.module_identity(path, module), token, session, began, started)


@contextmanager
def _closed(session: Session) -> Iterator[None]:
    """Close *session* after the block; where that fails, what came of the block holds all the same."""
    try:
        yield
    finally:
        # It fails where the HSM has gone, and the end of the process closes the session in any case. What must not get
        # lost is which keys were made and could not be taken away.
        with suppress(Exception):
            session.close()


def public_pem(key: SigningKey) -> bytes:
    """Return the public half of *key* as PEM."""
    return key.pinned.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

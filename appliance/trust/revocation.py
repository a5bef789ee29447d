"""
What is known about a certificate's revocation: the answer, on what it rests, and how old that is.

Good and unchecked are results. Revoked, unknown to the issuer, stale and unavailable are refusals with their own
codes, because none of them lets a holder in. That nobody asked is said in so many words.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import RevocationDataInvalid, RevocationDefect, RevocationUnavailable
from appliance.trust.certificates import extensions

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far issuer's and our clock may be apart where something seems to come from the future."""


class Revocation(StrEnum):
    """The answer to whether a certificate was revoked, where it lets a holder in."""

    GOOD = "good"
    UNCHECKED = "unchecked"


class Method(StrEnum):
    """How the answer was found."""

    CRL = "crl"
    OCSP = "ocsp"
    NONE = "none"


class Assurance(StrEnum):
    """How fresh the knowledge behind an answer is."""

    ONLINE = "online"
    CACHED = "cached"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Lists:
    """The CRL that was looked into: its *number*, and the SHA-256 of it, and of a delta applied to it."""

    number: int
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OcspAnswer:
    """The responder's answer as received, and the *nonce* of the request it is to."""

    response: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """
    A certificate's standing, and on what that rests.

    *this_update* and *next_update* are the issuer's times of what was used, *basis* what evidence keeps of it.
    """

    result: Revocation
    assurance: Assurance
    method: Method = Method.NONE
    checked_at: datetime | None = None
    this_update: datetime | None = None
    next_update: datetime | None = None
    basis: Lists | OcspAnswer | None = None


UNCHECKED = Standing(Revocation.UNCHECKED, Assurance.UNCHECKED)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which list a certificate is looked up in: *issuer* and *point* are hashes of its key and its CRL's name."""

    issuer: str
    point: str

    @classmethod
    def of(cls, issuer: x509.Certificate, point: x509.Name) -> "Scope":
        """Return the scope of what *issuer* puts into the CRL called *point*."""
        # By the key, not by the name, which all generations share; names compare by value (RFC 5280 §7.1).
        spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        parts = [sorted((part.oid.dotted_string, part.value) for part in rdn) for rdn in point.rdns]
        return cls(sha256(spki).hexdigest(), sha256(msgspec.json.encode(parts)).hexdigest())


def distribution_point(certificate: x509.Certificate) -> x509.Name:
    """
    Return the name of the CRL that *certificate* is listed in once it is revoked (ruling 27).

    Exactly one distribution point, named by exactly one directoryName, not split by reason and of the issuer's
    own; otherwise RevocationUnavailable: such a certificate cannot be checked by CRL.
    """
    try:
        points = list(extensions(certificate).get_extension_for_class(x509.CRLDistributionPoints).value)
    except x509.ExtensionNotFound as error:
        raise RevocationUnavailable("the certificate names no CRL") from error
    if len(points) != 1 or points[0].reasons is not None or points[0].crl_issuer is not None:
        raise RevocationUnavailable("the certificate does not name the one CRL that lists it")
    return _directory_name(
        points[0].full_name, RevocationUnavailable("the certificate's CRL has no directory name")
    )


def issuing_point(found_in: x509.Extensions) -> x509.Name:
    """
    Return the one distribution point that a CRL with the extensions *found_in* it is for, or raise RevocationDataInvalid.

    Ruling 27: a critical issuingDistributionPoint with one directoryName, not indirect, not split by reason, and not
    limited to CA or attribute certificates (RFC 5280 §5.2.5). Otherwise one city's list would clear another's.
    """
    refusal = RevocationDataInvalid(
        RevocationDefect.SCOPE, "the CRL does not say that it is for one municipality"
    )
    try:
        found = found_in.get_extension_for_class(x509.IssuingDistributionPoint)
    except x509.ExtensionNotFound as error:
        raise refusal from error
    point = found.value
    if not found.critical or point.indirect_crl or point.only_some_reasons is not None:
        raise refusal
    if point.only_contains_ca_certs or point.only_contains_attribute_certs:
        raise refusal
    return _directory_name(point.full_name, refusal)


def _directory_name(
    names: list[x509.GeneralName] | None, refusal: RevocationDataInvalid | RevocationUnavailable
) -> x509.Name:
    if names is None or len(names) != 1 or not isinstance(names[0], x509.DirectoryName):
        raise refusal
    return names[0].value


def require_time(now: datetime, this_update: datetime, next_update: datetime | None) -> None:
    """Raise RevocationDataInvalid unless *now* lies between the issuer's times, the first with CLOCK_SKEW."""
    if now + CLOCK_SKEW < this_update:
        raise RevocationDataInvalid(
            RevocationDefect.FUTURE, f"it is of {this_update:%Y-%m-%d %H:%M}, in the future"
        )
    if next_update is not None and next_update < now:
        raise RevocationDataInvalid(RevocationDefect.STALE, f"it counted until {next_update:%Y-%m-%d %H:%M}")

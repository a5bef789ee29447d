"""
A CRL: is it the issuer's, for one municipality, and of this time.

`cryptography` reads it entry by entry without keeping them. Its own signature check encodes all entries anew (7.5 s
and the interpreter's lock for 5 million), so the signed bytes are cut out of the DER by the library's decoder
of declared structures, and hashed where they lie.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from operator import attrgetter
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1

from appliance.card.tlv import header
from appliance.errors import RevocationDataInvalid, RevocationDefect
from appliance.trust import signatures
from appliance.trust.certificates import Anchors, is_valid
from appliance.trust.revocation import Scope, issuing_point, require_time

LARGEST: Final = 256 << 20
"""Bytes. Twice what 5 million entries need."""
UNDERSTOOD: Final = frozenset({x509.IssuingDistributionPoint.oid, x509.DeltaCRLIndicator.oid})
"""Extensions that a CRL may mark critical (RFC 5280 §5.2)."""

_SEQUENCE: Final = 0x30
_VERSION_2: Final = bytes.fromhex("020101")
"""What tbsCertList begins with; a list with extensions is of this version (RFC 5280 §5.1.2.1)."""


@asn1.sequence
class _CertificateList:
    """RFC 5280 §5.1, as far as the signature needs it."""

    signed: asn1.TLV
    algorithm: asn1.TLV
    signature: asn1.BitString


@dataclass(frozen=True, slots=True)
class Heading:
    """
    What a CRL says of itself.

    *number* is its CRLNumber; *base*, in a delta, the number of the complete list that it starts from. *digest* is
    the SHA-256 of the file, in hexadecimal.
    """

    scope: Scope
    number: int
    base: int | None
    this_update: datetime
    next_update: datetime
    digest: str


@dataclass(frozen=True, slots=True)
class Crl:
    """A CRL that was verified; made by `verify` alone."""

    heading: Heading
    _list: x509.CertificateRevocationList = field(repr=False)

    def serials(self) -> Iterator[int]:
        """Yield the serial numbers of all entries. What else an entry says does not make it less revoked."""
        # Without a frame of Python's own for each of millions of entries.
        return map(attrgetter("serial_number"), self._list)

    def changes(self) -> tuple[set[int], set[int]]:
        """Return what a delta adds and what it takes away (removeFromCRL, RFC 5280 §5.2.4)."""
        added: set[int] = set()
        removed: set[int] = set()
        for entry in self._list:
            (removed if _is_removal(entry) else added).add(entry.serial_number)
        return added, removed


def verify(der: bytes, anchors: Anchors, now: datetime, *, ended: bool = False) -> Crl:
    """
    Return the CRL in *der* as one to rely on at *now*, or raise RevocationDataInvalid with the reason.

    With *ended* also one that is over: then who asks can be told until when something was known.

    Checks, in this order, and nothing else:
      1. it is DER of at most LARGEST bytes, and nothing behind it;
      2. its signature algorithm is on the list, and the same inside and outside;
      3. an anchor of its issuer's name, valid at *now* and allowed to sign CRLs, signed it;
      4. it has no critical extension that is not understood, and a CRLNumber;
      5. it is for one municipality (ruling 27);
      6. it is not of the future, and nextUpdate is there and not over;
      7. a delta starts from an earlier list.

    Whether it is newer than what is known is for the index.
    """
    if len(der) > LARGEST:
        raise RevocationDataInvalid(
            RevocationDefect.TOO_LARGE, f"a CRL of {len(der)} bytes is more than {LARGEST}"
        )
    parsed, extensions = _parse(der)
    issuer = _signer(der, parsed, anchors, now)
    for extension in extensions:
        if extension.critical and extension.oid not in UNDERSTOOD:
            raise RevocationDataInvalid(
                RevocationDefect.EXTENSION, "the CRL has a critical extension that is unknown"
            )
    try:
        number = extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound as error:
        raise RevocationDataInvalid(RevocationDefect.EXTENSION, "the CRL has no number") from error
    point = issuing_point(extensions)
    this_update, next_update = parsed.last_update_utc, parsed.next_update_utc
    if next_update is None:
        raise RevocationDataInvalid(RevocationDefect.STALE, "the CRL does not say until when it counts")
    require_time(now, this_update, None if ended else next_update)
    base = _base(extensions)
    if base is not None and base >= number:
        raise RevocationDataInvalid(
            RevocationDefect.EXTENSION, "the delta starts from a list that is not earlier"
        )
    heading = Heading(
        Scope.of(issuer, point), number, base, this_update, next_update, sha256(der).hexdigest()
    )
    return Crl(heading, parsed)


def begin(der: bytes) -> datetime:
    """Return when the CRL in *der* says that it begins to count, or raise RevocationDataInvalid."""
    return _parse(der)[0].last_update_utc


def _parse(der: bytes) -> tuple[x509.CertificateRevocationList, x509.Extensions]:
    try:
        parsed = x509.load_der_x509_crl(der)
        # Parsed only when looked at: what cannot be read is refused here and not in the middle of a decision.
        _ = parsed.issuer, parsed.last_update_utc, parsed.next_update_utc
        extensions = parsed.extensions
    except (
        ValueError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
        Warning,
    ) as error:
        raise RevocationDataInvalid(RevocationDefect.MALFORMED, "the file holds no CRL in DER") from error
    return parsed, extensions


def _signer(
    der: bytes, parsed: x509.CertificateRevocationList, anchors: Anchors, now: datetime
) -> x509.Certificate:
    algorithm = parsed.signature_algorithm_oid
    if algorithm not in signatures.ALGORITHMS:
        raise RevocationDataInvalid(
            RevocationDefect.ALGORITHM, "the CRL is signed with an algorithm not allowed"
        )
    named = [
        anchor for anchor in anchors.named(parsed.issuer) if is_valid(anchor, now) and _signs_crls(anchor)
    ]
    if not named:
        raise RevocationDataInvalid(
            RevocationDefect.ISSUER, "no configured CA of this time has the issuer's name"
        )
    signed = _signed_bytes(der)
    for anchor in named:
        if signatures.verified(anchor.public_key(), algorithm, parsed.signature, signed):
            return anchor
    raise RevocationDataInvalid(
        RevocationDefect.SIGNATURE, "no configured CA of the issuer's name signed the CRL"
    )


def _signed_bytes(der: bytes) -> tuple[bytes, memoryview]:
    """
    Return the bytes that the signature of the CRL *der* is over: header and content of tbsCertList.

    The algorithm stands in it once more, in front, and has to be the one outside (RFC 5280 §5.1.1.2): the one outside
    is not signed.
    """
    try:
        decoded = asn1.decode_der(_CertificateList, der)
    except ValueError as error:
        raise RevocationDataInvalid(RevocationDefect.MALFORMED, "the file holds no CRL in DER") from error
    if decoded.signature.padding_bits():
        raise RevocationDataInvalid(RevocationDefect.MALFORMED, "the CRL's signature is not whole bytes")
    outside = bytes(decoded.algorithm.data)
    front = _VERSION_2 + header(_SEQUENCE, len(outside)) + outside
    if bytes(decoded.signed.data[: len(front)]) != front:
        raise RevocationDataInvalid(
            RevocationDefect.ALGORITHM, "the CRL names two signature algorithms, or is none of version 2"
        )
    return header(_SEQUENCE, len(decoded.signed.data)), decoded.signed.data


def _signs_crls(anchor: x509.Certificate) -> bool:
    try:
        return anchor.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return False


def _base(extensions: x509.Extensions) -> int | None:
    try:
        found = extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    except x509.ExtensionNotFound:
        return None
    if not found.critical:
        raise RevocationDataInvalid(RevocationDefect.EXTENSION, "the CRL's delta indicator is not critical")
    return found.value.crl_number


def _is_removal(entry: x509.RevokedCertificate) -> bool:
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return False
    except (ValueError, x509.DuplicateExtension) as error:
        raise RevocationDataInvalid(
            RevocationDefect.MALFORMED, "an entry of the delta cannot be read"
        ) from error
    return reason is x509.ReasonFlags.remove_from_crl

"""Each numbered check of a holder's certificate has a certificate with just that defect."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.errors import (
    CertificateMalformed,
    CertificateUnsuitable,
    CertificateUntrusted,
    ConfigInvalid,
    Defect,
    Distrust,
)
from appliance.simulator.certificate_parts import policies, usage
from appliance.simulator.holder_pki import CA_NAME
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import USER_AUTHENTICATION, Anchors, parse, verify

KEY = rsa.generate_private_key(65_537, 2_048)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


@dataclass(frozen=True, slots=True)
class Holder:
    """A holder's certificate without defects; each field replaced is one."""

    key: CertificatePublicKeyTypes = field(default_factory=KEY.public_key)
    hash: SHA256 | SHA384 | SHA512 = field(default_factory=SHA256)
    usage: tuple[x509.KeyUsage, bool] | None = (usage(digital_signature=True), True)
    policy: str | None = USER_AUTHENTICATION.dotted_string
    authority: bool = False
    extra: tuple[x509.ExtensionType, bool] | None = None

    def issued(self, hierarchy: Hierarchy, now: datetime) -> x509.Certificate:
        """Return it, issued by the newest generation."""
        builder = (
            x509.CertificateBuilder(CA_NAME, x509.Name([]), self.key, 77)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=100))
        )
        key = hierarchy.holders.generations[-1].key
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        if self.usage is not None:
            builder = builder.add_extension(self.usage[0], critical=self.usage[1])
        if self.policy is not None:
            builder = builder.add_extension(policies(self.policy), critical=True)
        if self.authority:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        if self.extra is not None:
            builder = builder.add_extension(self.extra[0], critical=self.extra[1])
        return builder.sign(key, self.hash)


@pytest.fixture(scope="session")
def anchors(hierarchy: Hierarchy) -> Anchors:
    """Return both generations of the CA."""
    return Anchors(hierarchy.ca_certificates)


SOUND = [
    Holder(),
    Holder(key=ec.generate_private_key(ec.SECP256R1()).public_key()),
    Holder(key=ec.generate_private_key(ec.SECP384R1()).public_key()),
    Holder(key=rsa.generate_private_key(65_537, 3_072).public_key()),
    Holder(extra=(UNKNOWN, False)),
    Holder(extra=(x509.BasicConstraints(ca=False, path_length=None), False)),
]


@pytest.mark.parametrize("holder", SOUND, ids=range(len(SOUND)))
def test_without_defect_a_holder_is_believed(
    holder: Holder, hierarchy: Hierarchy, anchors: Anchors, now: datetime
) -> None:
    """Every key on the list, and what need not be understood, is believed."""
    certificate = parse(holder.issued(hierarchy, now).public_bytes(Encoding.DER))
    assert verify(certificate, anchors, now).certificate == certificate


DEFECTS = [
    (Defect.AUTHORITY, Holder(authority=True)),
    (Defect.SIGNATURE_ALGORITHM, Holder(hash=SHA384())),
    (Defect.SIGNATURE_ALGORITHM, Holder(hash=SHA512())),
    (Defect.KEY, Holder(key=rsa.generate_private_key(65_537, 1_024).public_key())),
    (Defect.KEY, Holder(key=ec.generate_private_key(ec.SECP521R1()).public_key())),
    (Defect.KEY, Holder(key=ec.generate_private_key(ec.SECP256K1()).public_key())),
    (Defect.KEY_USAGE, Holder(usage=None)),
    (Defect.KEY_USAGE, Holder(usage=(usage(digital_signature=True), False))),
    (Defect.KEY_USAGE, Holder(usage=(usage(crl_sign=True), True))),
    (Defect.KEY_USAGE, Holder(usage=(usage(digital_signature=True, key_cert_sign=True), True))),
    (Defect.POLICY, Holder(policy=None)),
    (Defect.POLICY, Holder(policy="1.2.392.200149.8.5.1.1.20")),
    (Defect.CRITICAL_EXTENSION, Holder(extra=(UNKNOWN, True))),
]


@pytest.mark.parametrize(
    ("reason", "holder"), DEFECTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_check_has_its_reason(
    reason: Defect, holder: Holder, hierarchy: Hierarchy, anchors: Anchors, now: datetime
) -> None:
    """A certificate with just this defect is unsuitable, and the reason is a value that a caller can compare."""
    with pytest.raises(CertificateUnsuitable) as caught:
        verify(holder.issued(hierarchy, now), anchors, now)
    assert caught.value.reason is reason


def test_checks_are_made_in_their_order(hierarchy: Hierarchy, anchors: Anchors, now: datetime) -> None:
    """Of several defects the first in the numbered order is the reason."""
    holder = replace(Holder(), usage=None, policy=None, extra=(UNKNOWN, True))
    with pytest.raises(CertificateUnsuitable) as caught:
        verify(holder.issued(hierarchy, now), anchors, now)
    assert caught.value.reason is Defect.KEY_USAGE


def test_distrust_has_its_reason(hierarchy: Hierarchy, anchors: Anchors, now: datetime) -> None:
    """Nobody issued it, and the one who did is past its end, are two reasons."""
    certificate = Holder().issued(hierarchy, now)
    with pytest.raises(CertificateUntrusted) as caught:
        verify(certificate, Anchors(hierarchy.ca_certificates[:1]), now)
    assert caught.value.reason is Distrust.NO_ISSUER
    ended = hierarchy.ca_certificates[1].not_valid_after_utc
    late = Holder().issued(hierarchy, ended)
    with pytest.raises(CertificateUntrusted) as caught:
        verify(late, anchors, ended + timedelta(hours=1))
    assert caught.value.reason is Distrust.ISSUER_NOT_VALID


def test_only_cas_are_anchors(hierarchy: Hierarchy, now: datetime) -> None:
    """A certificate that may not issue, or whose key is weak, is no anchor: that shows at the start."""
    for certificate in (Holder().issued(hierarchy, now), hierarchy.holders.generations[0].responder):
        with pytest.raises(ConfigInvalid):
            Anchors((certificate,))


def test_a_serial_number_is_positive(hierarchy: Hierarchy, now: datetime) -> None:
    """A serial number below one, which RFC 5280 forbids, makes the certificate unreadable."""
    der = bytearray(Holder().issued(hierarchy, now).public_bytes(Encoding.DER))
    der[der.index(b"\x02\x01\x4d") + 2] = 0x80
    with pytest.raises(CertificateMalformed):
        parse(bytes(der))

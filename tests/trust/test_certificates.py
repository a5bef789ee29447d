"""The holder's certificate under the JPKI policy."""

from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import (
    CertificateExpired,
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateUnsuitable,
    CertificateUntrusted,
    ConfigInvalid,
    TrustError,
)
from appliance.simulator.holder_pki import HolderOptions
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors, parse, verify


@pytest.fixture(scope="session")
def holder_key() -> rsa.RSAPrivateKey:
    """Return the one key that all holders of these tests have."""
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture(scope="session")
def anchors(hierarchy: Hierarchy) -> Anchors:
    """Return both generations of the CA."""
    return Anchors(hierarchy.ca_certificates)


@pytest.mark.parametrize("generation", [1, 2])
def test_the_issuer_is_found_among_cas_of_one_name(
    generation: int, hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, anchors: Anchors, now: datetime
) -> None:
    """Both generations have the same name; the one whose key signed is the issuer."""
    certificate = hierarchy.holders.certificate(holder_key.public_key(), now=now, generation=generation)
    holder = verify(certificate, anchors, now)
    assert holder.issuer == hierarchy.ca_certificates[generation - 1]
    assert holder.certificate == certificate
    assert hierarchy.ca_certificates[0].subject == hierarchy.ca_certificates[1].subject


DEFECTS: list[tuple[HolderOptions, type[TrustError]]] = [
    ({"foreign": True}, CertificateUntrusted),
    ({"expired": True}, CertificateExpired),
    ({"not_yet_valid": True}, CertificateNotYetValid),
    ({"policy": "1.2.392.200149.8.5.1.1.20"}, CertificateUnsuitable),
    ({"policy": None}, CertificateUnsuitable),
    ({"authority": True}, CertificateUnsuitable),
    ({"without_usage": True}, CertificateUnsuitable),
    ({"foreign": True, "expired": True}, CertificateUntrusted),
    ({"policy": None, "expired": True}, CertificateUnsuitable),
]


@pytest.mark.parametrize(("defect", "refusal"), DEFECTS, ids=str)
def test_each_defect_has_its_refusal(
    defect: HolderOptions,
    refusal: type[TrustError],
    hierarchy: Hierarchy,
    holder_key: rsa.RSAPrivateKey,
    anchors: Anchors,
    now: datetime,
) -> None:
    """A certificate with just this defect is refused for just this reason; trust comes before time."""
    certificate = hierarchy.holders.certificate(holder_key.public_key(), now=now, **defect)
    with pytest.raises(refusal) as caught:
        verify(certificate, anchors, now)
    assert caught.value.code == refusal.code


def test_a_short_key_is_unsuitable(hierarchy: Hierarchy, anchors: Anchors, now: datetime) -> None:
    """A holder's RSA key under 2,048 bits is refused, although the path itself is sound."""
    short = rsa.generate_private_key(65_537, 1_024)
    certificate = hierarchy.holders.certificate(short.public_key(), now=now)
    with pytest.raises(CertificateUnsuitable):
        verify(certificate, anchors, now)


def test_a_ca_is_no_holder(hierarchy: Hierarchy, anchors: Anchors, now: datetime) -> None:
    """A configured CA's own certificate is refused where a holder's is wanted."""
    with pytest.raises(CertificateUnsuitable):
        verify(hierarchy.ca_certificates[1], anchors, now)


def test_a_ca_past_its_end_issues_nobody(hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey) -> None:
    """After the CA's own end its certificates are no longer trusted, whatever their dates say."""
    ended = hierarchy.ca_certificates[1].not_valid_after_utc
    late = ended - timedelta(days=30)
    certificate = hierarchy.holders.certificate(holder_key.public_key(), now=late)
    anchors = Anchors(hierarchy.ca_certificates)
    assert verify(certificate, anchors, late).certificate == certificate
    with pytest.raises(CertificateUntrusted):
        verify(certificate, anchors, ended + timedelta(days=1))


@pytest.mark.parametrize("generation", [0, 1])
def test_a_ca_that_is_not_configured_issues_nobody(
    generation: int, hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, now: datetime
) -> None:
    """With the other generation alone configured, a certificate is untrusted although the names agree."""
    certificate = hierarchy.holders.certificate(holder_key.public_key(), now=now, generation=generation + 1)
    with pytest.raises(CertificateUntrusted):
        verify(certificate, Anchors((hierarchy.ca_certificates[1 - generation],)), now)


def test_time_is_an_argument(
    hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, anchors: Anchors, now: datetime
) -> None:
    """One certificate is valid up to its last second, and expired one second later."""
    certificate = hierarchy.holders.certificate(holder_key.public_key(), now=now)
    end = certificate.not_valid_after_utc
    assert verify(certificate, anchors, end).not_after == end
    with pytest.raises(CertificateExpired, match=f"{end:%Y-%m-%d}"):
        verify(certificate, anchors, end + timedelta(seconds=1))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_certificate_or_refused(der: bytes) -> None:
    """Any bytes raise CertificateMalformed, and nothing else."""
    with pytest.raises(CertificateMalformed):
        parse(der)


@pytest.fixture(scope="session")
def sound(hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, now: datetime) -> bytes:
    """Return a certificate without defects."""
    return hierarchy.holders.certificate(holder_key.public_key(), now=now).public_bytes(Encoding.DER)


@given(st.integers(0, 4_095), st.integers(1, 255))
def test_a_changed_byte_is_never_believed(
    sound: bytes, anchors: Anchors, now: datetime, position: int, change: int
) -> None:
    """A certificate with any one byte changed is refused, or neither what is signed nor the signature has changed."""
    der = bytearray(sound)
    der[position % len(der)] ^= change
    try:
        believed = verify(parse(bytes(der)), anchors, now).certificate
    except TrustError:
        return
    genuine = parse(sound)
    assert believed.tbs_certificate_bytes == genuine.tbs_certificate_bytes
    assert believed.signature == genuine.signature


def test_anchors_are_pem_certificates(hierarchy: Hierarchy) -> None:
    """CA files are read as PEM, several certificates in one file too; anything else is a configuration error."""
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in hierarchy.ca_certificates)
    assert Anchors.from_pem([pem]).certificates == hierarchy.ca_certificates
    with pytest.raises(ConfigInvalid, match="file 2"):
        Anchors.from_pem([pem, b"nothing"])
    with pytest.raises(ConfigInvalid, match="no CA"):
        Anchors(())


def test_certificates_are_read_as_openssl_reads_them(
    hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, anchors: Anchors, now: datetime
) -> None:
    """What `parse` returns is the certificate that was encoded."""
    certificate = hierarchy.holders.certificate(holder_key.public_key(), now=now)
    parsed = parse(certificate.public_bytes(Encoding.DER))
    assert isinstance(parsed, x509.Certificate)
    assert verify(parsed, anchors, now).certificate == certificate

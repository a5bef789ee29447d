"""
Independent judges of paths and revocation: OpenSSL and pyhanko-certvalidator, on certificates that hypothesis makes.

Where they differ from us, the difference is one of purpose, and stands here: both are general validators and know
neither the JPKI policy nor our list of algorithms, so they accept what we call unsuitable. Nothing that one of them
refuses is accepted by us.
"""

import asyncio
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import crl as asn1_crl  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import PathBuildingError, PathValidationError

from appliance.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    CertificateRevoked,
    CertificateUnsuitable,
    CertificateUntrusted,
    TrustError,
)
from appliance.simulator.crl import issue
from appliance.simulator.holder_pki import HolderOptions
from appliance.simulator.people import AOBA
from appliance.simulator.pki import Hierarchy
from appliance.trust import crl
from appliance.trust.certificates import Anchors, verify

OURS_ALONE = (CertificateUnsuitable,)
"""What only we refuse: the JPKI policy, critical key usage, key sizes, algorithms."""


@pytest.fixture(scope="session")
def holder_key() -> rsa.RSAPrivateKey:
    """Return the one key that all holders of these tests have."""
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture(scope="session")
def anchors(hierarchy: Hierarchy) -> Anchors:
    """Return both generations of the CA."""
    return Anchors(hierarchy.ca_certificates)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "generation": st.sampled_from([1, 2]),
        "expired": st.booleans(),
        "not_yet_valid": st.booleans(),
        "policy": st.sampled_from([None, "1.2.3.4", "1.2.392.200149.8.5.1.3.30"]),
        "authority": st.booleans(),
        "without_usage": st.booleans(),
        "foreign": st.booleans(),
    },
)


def ours(
    certificate: x509.Certificate, revoked: x509.CertificateRevocationList, anchors: Anchors, now: datetime
) -> TrustError | None:
    """Return our refusal of *certificate*, or None."""
    try:
        holder = verify(certificate, anchors, now)
        found = crl.verify(revoked.public_bytes(Encoding.DER), anchors, now)
    except TrustError as error:
        return error
    listed = holder.certificate.serial_number in set(found.serials())
    return CertificateRevoked("listed") if listed else None


def openssl(
    certificate: x509.Certificate,
    revoked: x509.CertificateRevocationList,
    anchors: Anchors,
    now: datetime,
    folder: Path,
) -> str:
    """Return what `openssl verify -crl_check` says."""
    pem = Encoding.PEM
    (folder / "holder.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "crl.pem").write_bytes(revoked.public_bytes(pem))
    # OpenSSL finds an issuer by name and key identifier; with both generations it finds the one that signed.
    (folder / "ca.pem").write_bytes(b"".join(anchor.public_bytes(pem) for anchor in anchors.certificates))
    finished = subprocess.run(
        (
            *("openssl", "verify", "-no-CApath", "-no-CAstore", "-CAfile", "ca.pem", "-CRLfile", "crl.pem"),
            *("-crl_check", "-extended_crl", "-attime", str(int(now.timestamp())), "holder.pem"),
        ),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.stdout + finished.stderr


@given(OPTIONS, st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_openssl_and_we_agree(
    hierarchy: Hierarchy,
    holder_key: rsa.RSAPrivateKey,
    anchors: Anchors,
    now: datetime,
    tmp_path: Path,
    options: HolderOptions,
    listed: bool,  # noqa: FBT001  # drawn by hypothesis
) -> None:
    """OpenSSL accepts whom we accept, refuses whom we refuse, and for the same reason where it knows the reason."""
    certificate = hierarchy.holders.certificate(holder_key.public_key(), now=now, **options)
    generation = hierarchy.holders.generations[options.get("generation", 2) - 1]
    serials = [certificate.serial_number] if listed else [1]
    revoked = issue(generation, AOBA, serials, now=now, number=1)
    refusal = ours(certificate, revoked, anchors, now)
    said = openssl(certificate, revoked, anchors, now, tmp_path)
    match refusal:
        case None:
            assert said.endswith("holder.pem: OK\n"), said
        case CertificateRevoked():
            assert "certificate revoked" in said
        # OpenSSL asks for revocation before it looks at the dates, we after: of a certificate with both defects each
        # names the one that it meets first.
        case CertificateExpired():
            assert ("certificate revoked" if listed else "certificate has expired") in said
        case CertificateNotYetValid():
            assert ("certificate revoked" if listed else "certificate is not yet valid") in said
        case CertificateUntrusted():
            assert "OK" not in said
        case _:
            assert isinstance(refusal, OURS_ALONE)


@given(OPTIONS, st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pyhanko_and_we_agree(
    hierarchy: Hierarchy,
    holder_key: rsa.RSAPrivateKey,
    anchors: Anchors,
    now: datetime,
    options: HolderOptions,
    listed: bool,  # noqa: FBT001  # drawn by hypothesis
) -> None:
    """A validator in pure Python accepts whom we accept, and refuses whom we refuse for what it checks."""
    certificate = hierarchy.holders.certificate(holder_key.public_key(), now=now, **options)
    generation = hierarchy.holders.generations[options.get("generation", 2) - 1]
    serials = [certificate.serial_number] if listed else [1]
    revoked = issue(generation, AOBA, serials, now=now, number=1)
    refusal = ours(certificate, revoked, anchors, now)
    context = ValidationContext(
        trust_roots=[
            asn1_x509.Certificate.load(anchor.public_bytes(Encoding.DER)) for anchor in anchors.certificates
        ],
        crls=[asn1_crl.CertificateList.load(revoked.public_bytes(Encoding.DER))],
        moment=now + timedelta(seconds=1),
        allow_fetching=False,
        revocation_mode="require",
    )
    subject = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    validator = CertificateValidator(subject, validation_context=context)
    try:
        asyncio.run(validator.async_validate_path())
        accepted = True
    except (PathBuildingError, PathValidationError):
        accepted = False
    if refusal is None:
        assert accepted
    elif not isinstance(refusal, OURS_ALONE):
        assert not accepted


REAL = Path(__file__).parents[3] / "shared" / "jpki-ca"


@pytest.mark.skipif(not REAL.is_dir(), reason="the CA files of the real JPKI are not on this machine")
def test_the_real_cas_are_anchors(now: datetime) -> None:
    """The published CA files load; generation 1 is past its end, so nobody it certified is believed any more."""
    files = {path.name: path.read_bytes() for path in sorted(REAL.glob("*.pem"))}
    assert len(files) == 4
    anchors = Anchors.from_pem(files.values())
    assert len(anchors.certificates) == 4
    for name, pem in files.items():
        certificate = x509.load_pem_x509_certificate(pem)
        assert certificate.subject == certificate.issuer
        assert (certificate.not_valid_after_utc < now) is ("2015" in name)
        with pytest.raises(TrustError):
            verify(certificate, anchors, now)
    purposes = {anchor.subject.rfc4514_string() for anchor in anchors.certificates}
    assert len(purposes) == 2

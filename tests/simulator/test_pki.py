"""The test hierarchy, as `cryptography` and `openssl` see it."""

import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from appliance.card.cvc import Certificate, Shape, check_chain
from appliance.errors import ConfigInvalid, CvcMalformed
from appliance.simulator.card_data import CardData
from appliance.simulator.certificate_parts import CPS
from appliance.simulator.holder_pki import USER_AUTHENTICATION, CrlOptions, HolderOptions, crl_name
from appliance.simulator.key_files import private_pem
from appliance.simulator.people import AOBA, MIDORI
from appliance.simulator.pki import Hierarchy
from appliance.simulator.signing_pki import DIGITAL_SIGNATURE

CA_NAME = (
    "OU=Japan Agency for Local Authority Information Systems,OU=JPKI for user authentication,O=JPKI-TEST,C=JP"
)


def openssl(*arguments: str | Path) -> str:
    """Return what *openssl* prints, and insist that it succeeds."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def critical(certificate: x509.Certificate) -> list[tuple[x509.ObjectIdentifier, bool]]:
    """Return which extensions *certificate* has, in order, and which are critical."""
    return [(extension.oid, extension.critical) for extension in certificate.extensions]


@pytest.fixture(scope="module")
def key(holder_key: rsa.RSAPrivateKey) -> rsa.RSAPublicKey:
    """The holder's public key."""
    return holder_key.public_key()


def test_generations(hierarchy: Hierarchy, now: datetime) -> None:
    """Two generations of the CA have one name and two keys, and both are valid now."""
    first, second = hierarchy.ca_certificates
    assert first.subject == second.subject == first.issuer == second.issuer
    assert first.subject.rfc4514_string() == CA_NAME
    assert first.public_key() != second.public_key()
    for certificate in (first, second):
        certificate.verify_directly_issued_by(certificate)
        assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc


def test_ca_extensions(hierarchy: Hierarchy) -> None:
    """A CA certificate has the extensions of card facts 3.1, in particular no path length."""
    certificate = hierarchy.ca_certificates[-1]
    assert critical(certificate) == [
        (ExtensionOID.KEY_USAGE, True),
        (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, False),
        (ExtensionOID.BASIC_CONSTRAINTS, True),
        (ExtensionOID.CRL_DISTRIBUTION_POINTS, False),
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False),
    ]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints == x509.BasicConstraints(ca=True, path_length=None)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.crl_sign
    assert not usage.digital_signature


def test_holder_extensions(hierarchy: Hierarchy, key: rsa.RSAPublicKey, now: datetime) -> None:
    """A holder's certificate has the extensions of card facts 3.2 and ruling 26, and tells nothing of the person."""
    certificate = hierarchy.holders.certificate(key, now=now)
    certificate.verify_directly_issued_by(hierarchy.ca_certificates[1])
    assert critical(certificate) == [
        (ExtensionOID.KEY_USAGE, True),
        (ExtensionOID.CERTIFICATE_POLICIES, True),
        (ExtensionOID.CRL_DISTRIBUTION_POINTS, False),
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
    ]
    (policy,) = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert policy.policy_identifier.dotted_string == USER_AUTHENTICATION
    assert policy.policy_qualifiers == [CPS]
    (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name == [x509.DirectoryName(crl_name(AOBA))]
    common_name, country = certificate.subject.rfc4514_string().split(",")
    assert country == "C=JP"
    assert common_name.startswith("CN=TEST")
    assert AOBA.code in common_name
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc


def test_printable_country(hierarchy: Hierarchy) -> None:
    """C is a PrintableString and everything else a UTF8String, as in the real ones (ruling 25)."""
    encoded = hierarchy.ca_certificates[0].subject.public_bytes()
    assert bytes.fromhex("0603550406 1302") + b"JP" in encoded
    assert bytes.fromhex("060355040A 0C09") + b"JPKI-TEST" in encoded


@pytest.mark.parametrize(
    ("defect", "issued_by"),
    [
        ({"generation": 1}, 0),
        ({"generation": 2}, 1),
        ({"municipality": MIDORI}, 1),
        ({"foreign": True}, None),
    ],
)
def test_issuer(
    hierarchy: Hierarchy, key: rsa.RSAPublicKey, now: datetime, defect: HolderOptions, issued_by: int | None
) -> None:
    """The issuer's name is always the same; its signature tells which generation it was, or that it was none."""
    certificate = hierarchy.holders.certificate(key, now=now, **defect)
    found = None
    for number, ca in enumerate(hierarchy.ca_certificates):
        try:
            certificate.verify_directly_issued_by(ca)
        except InvalidSignature:
            continue
        found = number
    assert found == issued_by
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc


def test_defects(hierarchy: Hierarchy, key: rsa.RSAPublicKey, now: datetime) -> None:
    """Each defect is there when it is asked for."""

    def holder(**options: object) -> x509.Certificate:
        return hierarchy.holders.certificate(key, now=now, **options)  # type: ignore[arg-type]  # shorter to write

    assert holder(expired=True).not_valid_after_utc < now
    assert holder(not_yet_valid=True).not_valid_before_utc > now
    (policy,) = (
        holder(policy=DIGITAL_SIGNATURE).extensions.get_extension_for_class(x509.CertificatePolicies).value
    )
    assert policy.policy_identifier.dotted_string == DIGITAL_SIGNATURE
    assert ExtensionOID.CERTIFICATE_POLICIES not in dict(critical(holder(policy=None)))
    assert ExtensionOID.KEY_USAGE not in dict(critical(holder(without_usage=True)))
    assert holder(authority=True).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(ValueError, match="no generation 3"):
        holder(generation=3)


def test_openssl_accepts_the_holder(
    hierarchy: Hierarchy, hierarchy_folder: Path, tmp_path: Path, now: datetime
) -> None:
    """OpenSSL builds the chain by name alone from both generations, and checks the revocation list with it."""
    card = hierarchy.issue_card(now=now)
    certificate = x509.load_der_x509_certificate(card.certificate)
    (tmp_path / "holder.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    verify = ("verify", "-x509_strict", "-CAfile", hierarchy_folder / "holders" / "ca-2.pem")
    assert "OK" in openssl(*verify, tmp_path / "holder.pem")
    for revoked, expected in (([], 0), ([certificate.serial_number], 2)):
        crl = hierarchy.crl(AOBA, revoked, now=now)
        (tmp_path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
        done = subprocess.run(
            ["openssl", *verify, "-crl_check", "-CRLfile", tmp_path / "crl.pem", tmp_path / "holder.pem"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expected, done.stderr
    assert "certificate revoked" in done.stderr


def test_openssl_verifies_the_list(
    hierarchy: Hierarchy, hierarchy_folder: Path, tmp_path: Path, now: datetime
) -> None:
    """A list verifies with the generation that signed it, and not with the other."""
    (tmp_path / "crl.pem").write_bytes(
        hierarchy.crl(MIDORI, [7], now=now, generation=1).public_bytes(Encoding.PEM)
    )
    check = ("crl", "-in", tmp_path / "crl.pem", "-noout", "-CAfile")
    assert "verify OK" in openssl(*check, hierarchy_folder / "holders" / "ca-1.pem")
    done = subprocess.run(
        ["openssl", *check, hierarchy_folder / "holders" / "ca-2.pem"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "verify failure" in done.stderr


def test_list(hierarchy: Hierarchy, now: datetime) -> None:
    """A list has AKI, number, next update and, critically, the one municipality it speaks for (rulings 26, 27)."""
    crl = hierarchy.crl(MIDORI, [7, 8], now=now, number=5, life=timedelta(hours=3))
    assert [(extension.oid, extension.critical) for extension in crl.extensions] == [
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
        (ExtensionOID.CRL_NUMBER, False),
        (ExtensionOID.ISSUING_DISTRIBUTION_POINT, True),
    ]
    point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    assert point.full_name == [x509.DirectoryName(crl_name(MIDORI))]
    assert not point.indirect_crl
    assert point.only_some_reasons is None
    assert crl.last_update_utc == now
    assert crl.next_update_utc == now + timedelta(hours=3)
    assert {entry.serial_number for entry in crl} == {7, 8}


@pytest.mark.parametrize(
    "options",
    [{"names": None}, {"names": AOBA}, {"indirect": True}, {"split_by_reason": True}, {"foreign": True}],
)
def test_list_defects(hierarchy: Hierarchy, now: datetime, options: CrlOptions) -> None:
    """Each defect makes a list that ruling 27 does not let count."""
    crl = hierarchy.crl(MIDORI, now=now, **options)
    try:
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        point = None
    assert (
        point is None
        or point.full_name != [x509.DirectoryName(crl_name(MIDORI))]
        or point.indirect_crl
        or point.only_some_reasons is not None
        or not crl.is_signature_valid(hierarchy.holders.generations[1].key.public_key())
    )


def test_responder(hierarchy: Hierarchy) -> None:
    """Each generation has authorised the OCSP responder by a certificate for that alone."""
    for generation in hierarchy.holders.generations:
        responder = generation.responder
        responder.verify_directly_issued_by(generation.certificate)
        assert responder.public_key() == hierarchy.holders.responder_key.public_key()
        usage = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.OCSP_SIGNING]
        assert ExtensionOID.OCSP_NO_CHECK in dict(critical(responder))


def test_institution_chain(hierarchy: Hierarchy, key: rsa.RSAPublicKey) -> None:
    """A leaf for a key made elsewhere chains to the root, and its code is the one asked for."""
    leaf = hierarchy.issue_institution(key, "9987654")
    chain = check_chain(hierarchy.institution.intermediate, leaf, hierarchy.root_key)
    assert chain.institution_code == "9987654"
    assert chain.public_key == key
    assert chain.intermediate.body.issuer.octets == b"0200073\x08\x050010000"
    with pytest.raises(CvcMalformed):
        hierarchy.issue_institution(key, "12345")


def test_folder(hierarchy: Hierarchy, hierarchy_folder: Path) -> None:
    """A hierarchy that was saved is the same when it is loaded; private keys are for their owner alone."""
    loaded = Hierarchy.load(hierarchy_folder)
    assert loaded.ca_certificates == hierarchy.ca_certificates
    assert loaded.institution.intermediate == hierarchy.institution.intermediate
    assert loaded.root_key == hierarchy.root_key
    assert loaded.next_institution.intermediate == hierarchy.next_institution.intermediate
    assert loaded.surface_root_key == hierarchy.surface_root_key
    assert loaded.signing.ca == hierarchy.signing.ca
    assert private_pem(loaded.holders.responder_key) == private_pem(hierarchy.holders.responder_key)
    modes = {path.name: path.stat().st_mode & 0o777 for path in hierarchy_folder.rglob("*-key.pem")}
    assert len(list(hierarchy_folder.rglob("*-key.pem"))) == 11
    assert set(modes.values()) == {0o600}
    encoded = (hierarchy_folder / "institution" / "intermediate.cvc").read_bytes()
    assert len(encoded) == Shape.RSA_2048.length
    assert Certificate.from_bytes(encoded) == hierarchy.institution.intermediate
    assert "Public-Key" in openssl(
        "pkey", "-pubin", "-noout", "-text", "-in", hierarchy_folder / "institution" / "root.pem"
    )


@pytest.mark.parametrize("missing", ["surface", "institution-next", "holders/signing-ca.pem"])
def test_older_folder(hierarchy_folder: Path, tmp_path: Path, missing: str) -> None:
    """A hierarchy from before it had all its parts is refused, and not made up for."""
    folder = tmp_path / "hierarchy"
    shutil.copytree(hierarchy_folder, folder)
    (folder / missing).rename(tmp_path / "gone")
    with pytest.raises(ConfigInvalid, match="no usable test hierarchy"):
        Hierarchy.load(folder)


def test_no_folder(tmp_path: Path) -> None:
    """A folder without a hierarchy is refused."""
    with pytest.raises(ConfigInvalid, match="no usable test hierarchy"):
        Hierarchy.load(tmp_path)


def test_card(hierarchy: Hierarchy, tmp_path: Path, now: datetime) -> None:
    """A card issued into a folder has a key of its own, its certificate, and the CA's."""
    card = hierarchy.issue_card(tmp_path / "card", now=now, pin="4711", generation=1)
    certificate = x509.load_der_x509_certificate(card.certificate)
    ca = x509.load_der_x509_certificate(card.ca_certificate)
    certificate.verify_directly_issued_by(ca)
    assert ca == hierarchy.ca_certificates[0]
    assert certificate.public_key() == card.private_key.public_key()
    assert CardData.load(tmp_path / "card").secrets.pin == "4711"
    assert len(card.certificate) < 2000


def test_secrets_are_not_shown(hierarchy: Hierarchy) -> None:
    """No private key appears in what is printed of a hierarchy."""
    assert "PrivateKey" not in repr(hierarchy)


def test_leaf_signature(hierarchy: Hierarchy, key: rsa.RSAPublicKey) -> None:
    """A certificate's signature is RSA PKCS#1 v1.5 with SHA-256 over its 297 body bytes."""
    leaf = hierarchy.issue_institution(key)
    body = leaf.to_bytes()[10:307]
    issuer_key = hierarchy.institution.intermediate_key.public_key()
    assert isinstance(issuer_key, rsa.RSAPublicKey)
    issuer_key.verify(leaf.signature, body, padding.PKCS1v15(), SHA256())

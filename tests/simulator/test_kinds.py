"""The kinds of cards and phones, as a driver meets them."""

from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtensionOID

from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.kinds import Kind
from appliance.simulator.people import Person
from appliance.simulator.pki import Hierarchy
from appliance.simulator.signing_pki import DIGITAL_SIGNATURE
from tests.simulator.conversation import (
    JPKI,
    NONCE,
    SURFACE,
    TEXT,
    Institution,
    query,
    read,
    say,
    select,
    sign,
    statuses,
    verify,
)

LABELS = {
    Kind.MY_NUMBER: b"JPKIAPICCTOKEN2",
    Kind.FACE_ONLY: b"JPKIAPICCTOKEN2",
    Kind.NO_CERTIFICATE: b"JPKIAPICCTOKEN2",
    Kind.ANDROID: b"JPKIAPGPSETOKEN",
    Kind.IPHONE: b"JPKIAPIOSTOKEN",
    Kind.BASIC_RESIDENT: b"JPKIAPICCTOKEN",
    Kind.NEXT: b"JPKIAPICCTOKEN2",
}

COMMANDS = [
    (Kind.MY_NUMBER, [JPKI, read(0x0A), select(0x16), query(0x18), SURFACE, TEXT], "9000 9000 9000 63C3 9000 9000"),
    (Kind.FACE_ONLY, [JPKI, read(0x0A), select(0x16), query(0x18)], "9000 9000 9000 63C0"),
    (Kind.FACE_ONLY, [JPKI, verify(0x18, "1234"), sign(0x03, NONCE)], "9000 6984 6982"),
    (Kind.FACE_ONLY, [TEXT, query(0x11), query(0x15), SURFACE, query(0x12)], "9000 63C0 63CA 9000 63CA"),
    (Kind.NO_CERTIFICATE, [JPKI, read(0x0A), query(0x18), verify(0x18, "1234")], "9000 9000 63C3 9000"),
    (Kind.NO_CERTIFICATE, [JPKI, verify(0x18, "1234"), sign(0x03, NONCE)], "9000 9000 6982"),
    (Kind.ANDROID, [JPKI, read(0x0A), verify(0x18, "1234"), read(0x0A)], "9000 6982 9000 9000"),
    (Kind.ANDROID, [JPKI, read(0x0B), select(0x16), SURFACE, TEXT], "9000 9000 6A82 6A82 6A82"),
    (Kind.IPHONE, [JPKI, read(0x0A), verify(0x18, "1234"), sign(0x03, NONCE)], "9000 9000 9000 9000"),
    (Kind.IPHONE, [JPKI, select(0x16), SURFACE, TEXT], "9000 6A82 6A82 6A82"),
    (Kind.BASIC_RESIDENT, [JPKI, *map(select, (0x0A, 0x0B, 0x16, 0x17, 0x18))], "9000" + " 6A82" * 5),
    (Kind.BASIC_RESIDENT, [JPKI, read(0x01), query(0x1B), SURFACE], "9000 6982 63C0 6A82"),
    (Kind.OTHER, [JPKI, SURFACE, TEXT, "0084000010"], "6A82 6A82 6A82 9000"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "commands", "expected"), COMMANDS)
def test_kinds(
    hierarchy: Hierarchy,
    holder_key: rsa.RSAPrivateKey,
    card_key: rsa.RSAPrivateKey,
    now: datetime,
    kind: Kind,
    commands: list[str],
    expected: str,
) -> None:
    """Each kind has what it has, and answers accordingly."""
    data = hierarchy.issue_card(now=now, kind=kind, private_key=holder_key, card_key=card_key)
    assert statuses(SoftwareCard(data), *commands) == expected


@pytest.mark.parametrize(("kind", "label"), LABELS.items())
def test_labels(
    hierarchy: Hierarchy, card_key: rsa.RSAPrivateKey, now: datetime, kind: Kind, label: bytes
) -> None:
    """EF 0006 tells the kinds apart as far as it does on real ones (card facts 1.4)."""
    card = SoftwareCard(hierarchy.issue_card(now=now, kind=kind, card_key=card_key))
    assert statuses(card, JPKI) == "9000"
    assert say(card, read(0x06)).data[:32] == label.ljust(32)


@pytest.mark.parametrize(
    ("kind", "signing", "presence"),
    [
        (Kind.MY_NUMBER, False, "008F00"),
        (Kind.MY_NUMBER, True, "8F8F00"),
        (Kind.FACE_ONLY, False, "008F00"),
        (Kind.NO_CERTIFICATE, False, "000000"),
        (Kind.BASIC_RESIDENT, False, "000000"),
    ],
)
def test_presence(
    hierarchy: Hierarchy,
    card_key: rsa.RSAPrivateKey,
    now: datetime,
    kind: Kind,
    presence: str,
    *,
    signing: bool,
) -> None:
    """EF 0008 says which certificates there are."""
    card = SoftwareCard(hierarchy.issue_card(now=now, kind=kind, signing=signing, card_key=card_key))
    statuses(card, JPKI)
    assert say(card, read(0x08)).data == bytes.fromhex(presence)


def test_no_certificate_is_all_filler(
    hierarchy: Hierarchy, card_key: rsa.RSAPrivateKey, now: datetime
) -> None:
    """Where there is no certificate its file is there, and nothing in it."""
    card = SoftwareCard(hierarchy.issue_card(now=now, kind=Kind.NO_CERTIFICATE, card_key=card_key))
    statuses(card, JPKI)
    assert set(say(card, read(0x0A)).data) == {0xFF}


def test_face_only_serves_institutions(
    hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, institution: Institution, now: datetime
) -> None:
    """A card without usable PIN signs for an institution: that is what it is for."""
    card = SoftwareCard(hierarchy.issue_card(now=now, kind=Kind.FACE_ONLY, private_key=holder_key))
    institution.enter(card)
    signature = say(card, sign(0x03, NONCE)).data
    holder_key.public_key().verify(signature, NONCE + b"9912345", padding.PKCS1v15(), SHA256())


@pytest.fixture(scope="module")
def signing_data(
    hierarchy: Hierarchy, card_key: rsa.RSAPrivateKey, person: Person, now: datetime
) -> CardData:
    """A card with a signing certificate."""
    return hierarchy.issue_card(now=now, signing=True, person=person, card_key=card_key)


def test_signing_certificate(hierarchy: Hierarchy, signing_data: CardData, person: Person) -> None:
    """A signing certificate says who somebody is, under another policy and by another CA (card facts 3.2)."""
    assert signing_data.signing is not None
    certificate = x509.load_der_x509_certificate(signing_data.signing.certificate)
    certificate.verify_directly_issued_by(hierarchy.signing.ca)
    (policy,) = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert policy.policy_identifier.dotted_string == DIGITAL_SIGNATURE
    usage = certificate.extensions.get_extension_for_oid(ExtensionOID.KEY_USAGE)
    assert usage.critical
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    values = {
        each.type_id.dotted_string[-1]: each.value for each in names if isinstance(each, x509.OtherName)
    }
    assert values["1"][2:].decode() == person.name
    assert values["4"][2:] == b"319800217"


def test_signing_password(signing_data: CardData) -> None:
    """The password opens certificate and key for signing, and has five tries for attempts of 6 to 16 characters."""
    card = SoftwareCard(signing_data)
    assert statuses(card, JPKI, read(0x01), read(0x02), query(0x1B)) == "9000 6982 9000 63C5"
    wrong, short, long = (verify(0x1B, text) for text in ("WRONG1", "SHORT", "A" * 17))
    assert statuses(card, wrong, short, long, query(0x1B)) == "63C4 6700 6700 63C4"
    assert statuses(card, sign(0x03, NONCE, 0x9A), verify(0x1B, "TEST1234")) == "6982 9000"
    assert statuses(card, read(0x01), sign(0x03, NONCE, 0x9A), sign(0x03, NONCE, 0x97)) == "9000 9000 6982"
    assert signing_data.signing is not None
    signature = say(card, sign(0x03, NONCE, 0x9A)).data
    signing_data.signing.private_key.public_key().verify(signature, NONCE, padding.PKCS1v15(), SHA256())


def test_signing_card_in_a_folder(signing_data: CardData, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a card has for signing is kept with it, its key for the owner alone."""
    folder = tmp_path_factory.mktemp("signing")
    signing_data.save(folder)
    loaded = CardData.load(folder)
    assert loaded.signing is not None
    assert signing_data.signing is not None
    assert loaded.signing.certificate == signing_data.signing.certificate
    assert (folder / "signing" / "key.pem").stat().st_mode & 0o777 == 0o600

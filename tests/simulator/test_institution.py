"""特定機関認証 against the card: rulings 1 to 8 and 10."""

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.apdu import Command
from appliance.card.cvc import Certificate, KeyReference
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.institution_pki import INTERMEDIATE, ROOT, certify
from appliance.simulator.pki import Hierarchy
from tests.simulator.conversation import (
    ANCHOR,
    CHALLENGE,
    JPKI,
    KEY,
    NONCE,
    PIN,
    VERIFY,
    Institution,
    authenticate,
    block,
    load,
    say,
    sign,
    statuses,
)

CODE = b"9912345"


def signed_by(card: SoftwareCard, key: rsa.RSAPrivateKey, message: bytes) -> None:
    """Insist that *card* now signs the nonce as *message*."""
    response = say(card, sign(0x03, NONCE))
    assert response.status == 0x9000
    key.public_key().verify(response.data, message, padding.PKCS1v15(), SHA256())


def test_code_is_appended(
    card: SoftwareCard, institution: Institution, holder_key: rsa.RSAPrivateKey
) -> None:
    """The authenticated institution gets its nonce signed together with its code, without PIN, and more than once."""
    institution.enter(card)
    signed_by(card, holder_key, NONCE + CODE)
    signed_by(card, holder_key, NONCE + CODE)


@pytest.mark.parametrize("operation", [0x00, 0x01, 0x02, 0x04, 0x05])
def test_no_other_operation(card: SoftwareCard, institution: Institution, operation: int) -> None:
    """An institution gets no digest of its own choosing signed: every other operation stays shut."""
    institution.enter(card)
    assert statuses(card, sign(operation, NONCE)) == "6982"


def test_institution_before_pin(
    card: SoftwareCard, institution: Institution, holder_key: rsa.RSAPrivateKey
) -> None:
    """With PIN and institution at once, P1 03 appends the code, and P1 00 works by the PIN (ruling 10)."""
    institution.enter(card)
    assert statuses(card, PIN, VERIFY) == "9000 9000"
    signed_by(card, holder_key, NONCE + CODE)
    assert statuses(card, sign(0x00, NONCE)) == "9000"


def test_code_belongs_to_the_key(
    card: SoftwareCard, institution: Institution, other_institution: Institution
) -> None:
    """Loading another's public chain after authenticating ends the authentication (ruling 1)."""
    institution.enter(card)
    assert statuses(card, ANCHOR, *load(other_institution.intermediate)) == "9000 9000 9000"
    assert statuses(card, *load(other_institution.leaf)) == "9000 9000"
    assert statuses(card, sign(0x03, NONCE)) == "6982"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("80A206C10100", "6700"),
        ("80A200C10100", "6700"),
        (authenticate(bytes(256)), "6985"),
    ],
)
def test_what_ends_the_authentication(
    card: SoftwareCard, institution: Institution, command: str | Command, expected: str
) -> None:
    """Any block, and any EXTERNAL AUTHENTICATE of the right length, ends the authentication, failed or not (ruling 1)."""
    institution.enter(card)
    assert statuses(card, ANCHOR, command, sign(0x03, NONCE)) == f"9000 {expected} 6982"


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([ANCHOR, "80A200C00100"], "9000 6A86"),
        ([ANCHOR, authenticate(bytes(255))], "9000 6700"),
        ([KEY, "80A206C10100"], "9000 6985"),
        ([KEY, authenticate(bytes(256))], "9000 6985"),
        ([CHALLENGE], "9000"),
        (["00A4020C02000A"], "9000"),
    ],
)
def test_what_does_not(
    card: SoftwareCard, institution: Institution, commands: list[str | Command], expected: str
) -> None:
    """What fails before those checks, a challenge and another file leave the authentication as it is."""
    institution.enter(card)
    assert statuses(card, *commands, sign(0x03, NONCE)) == f"{expected} 9000"


def test_challenge_serves_once(card: SoftwareCard, institution: Institution) -> None:
    """The same answer a second time finds no challenge."""
    institution.load_chain(card)
    answer = institution.answer(say(card, CHALLENGE).data)
    assert statuses(card, answer, answer, sign(0x03, NONCE)) == "9000 6985 6982"


def test_wrong_answer_consumes_the_challenge(card: SoftwareCard, institution: Institution) -> None:
    """A wrong signature is 6300, and the right one is then too late."""
    institution.load_chain(card)
    answer = institution.answer(say(card, CHALLENGE).data)
    assert statuses(card, authenticate(bytes(256)), answer) == "6300 6985"


def test_other_institutions_answer(
    card: SoftwareCard, institution: Institution, other_institution: Institution
) -> None:
    """Only the key in the loaded leaf answers."""
    institution.load_chain(card)
    assert statuses(card, other_institution.answer(say(card, CHALLENGE).data)) == "6300"


def test_wrong_length_keeps_the_challenge(card: SoftwareCard, institution: Institution) -> None:
    """An answer of the wrong length, or with a strange Le, is 6700 and the challenge still waits (ruling 7)."""
    institution.load_chain(card)
    answer = institution.answer(say(card, CHALLENGE).data)
    strange = Command(0x00, 0x82, 0x00, 0x80, answer.data, 2, extended=True)
    assert (
        statuses(card, authenticate(bytes(255)), authenticate(bytes(257)), strange, answer)
        == "6700 6700 6700 9000"
    )


def test_new_challenge_replaces_the_old(card: SoftwareCard, institution: Institution) -> None:
    """Whatever its length, a new challenge replaces the old; one of not 16 bytes serves nothing."""
    institution.load_chain(card)
    answer = institution.answer(say(card, CHALLENGE).data)
    assert statuses(card, CHALLENGE, answer) == "9000 6300"
    short = institution.answer(say(card, "0084000008").data)
    assert statuses(card, short) == "6985"
    kept = institution.answer(say(card, CHALLENGE).data)
    assert statuses(card, "00840000", kept) == "6700 9000"


def test_challenge_falls_with_the_application(card: SoftwareCard, institution: Institution) -> None:
    """A challenge from before the application was selected is gone."""
    challenge = say(card, CHALLENGE).data
    institution.load_chain(card)
    assert statuses(card, institution.answer(challenge)) == "6985"


def test_chain_must_be_complete(card: SoftwareCard, institution: Institution) -> None:
    """The intermediate alone authenticates nobody."""
    statuses(card, JPKI, ANCHOR, *load(institution.intermediate))
    assert statuses(card, institution.answer(say(card, CHALLENGE).data)) == "6985"


def test_state_falls(card: SoftwareCard, institution: Institution) -> None:
    """Selecting the application again ends authentication and chain."""
    institution.enter(card)
    assert statuses(card, JPKI, sign(0x03, NONCE), ANCHOR, load(institution.leaf)[0]) == "9000 6982 9000 9000"
    assert statuses(card, load(institution.leaf)[1]) == "6A88"


def test_leaf_certifies_nobody(card: SoftwareCard, institution: Institution) -> None:
    """A certificate that a leaf issued is refused (ruling 2)."""
    institution.load_chain(card)
    code = institution.leaf.body.holder
    third = certify(code, institution.key, KeyReference.of("0000001"), institution.key.public_key())
    assert statuses(card, *load(third)) == "9000 6A88"


def test_issuer_reference_decides(card: SoftwareCard, hierarchy: Hierarchy, institution: Institution) -> None:
    """The last holder continues, the anchor begins again, anything else is 6A88 and changes nothing (ruling 3)."""
    stranger = certify(
        KeyReference.of("0111111"), institution.key, INTERMEDIATE, institution.key.public_key()
    )
    statuses(card, JPKI, ANCHOR)
    assert statuses(card, *load(institution.leaf)) == "9000 6A88"
    assert statuses(card, *load(institution.intermediate)) == "9000 9000"
    assert statuses(card, *load(stranger)) == "9000 6A88"
    assert statuses(card, *load(institution.leaf)) == "9000 9000"
    assert statuses(card, *load(institution.intermediate), *load(institution.leaf)) == "9000 9000 9000 9000"
    direct = certify(
        ROOT, hierarchy.institution.root_key, KeyReference.of("0000002"), institution.key.public_key()
    )
    assert statuses(card, *load(direct)) == "9000 9000"


def test_bad_signature(card: SoftwareCard, institution: Institution) -> None:
    """A certificate with a wrong signature is 6A80, and the chain is as before."""
    wrong = Certificate(institution.leaf.body, bytes(256))
    statuses(card, JPKI, ANCHOR, *load(institution.intermediate))
    assert statuses(card, *load(wrong), *load(institution.leaf)) == "9000 6A80 9000 9000"


def test_block_2_consumes_block_1(card: SoftwareCard, institution: Institution) -> None:
    """Any block 2 consumes the pending body, also one of the wrong shape; without one it is 6985 (ruling 4)."""
    first, last = load(institution.intermediate)
    statuses(card, JPKI, ANCHOR)
    assert statuses(card, last, first, last, last) == "6985 9000 9000 6985"
    assert statuses(card, first, block(0x00, bytes(261)), last) == "9000 6700 6985"
    assert statuses(card, first, "80A200C10100", last) == "9000 6700 6985"


def test_new_block_1_replaces_the_old(card: SoftwareCard, institution: Institution) -> None:
    """The last good block 1 counts; one of the wrong shape leaves the one before."""
    first, last = load(institution.intermediate)
    statuses(card, JPKI, ANCHOR)
    assert (
        statuses(card, load(institution.leaf)[0], first, block(0x06, bytes(307)), last)
        == "9000 9000 6700 9000"
    )


def test_file_selection_keeps_the_rest(card: SoftwareCard, institution: Institution) -> None:
    """Selecting files touches neither chain, nor pending block, nor challenge (ruling 3)."""
    first, last = load(institution.intermediate)
    assert statuses(card, JPKI, ANCHOR, first, KEY, ANCHOR, last, *load(institution.leaf))[-4:] == "9000"
    answer = institution.answer(say(card, CHALLENGE).data)
    assert statuses(card, KEY, ANCHOR, answer, KEY, sign(0x03, NONCE, 0x80)) == "9000 9000 9000 9000 9000"


def test_le_with_blocks(card: SoftwareCard, institution: Institution) -> None:
    """Blocks and signature may come with Le 0000 and with no other (ruling 5)."""
    statuses(card, JPKI, ANCHOR)
    for part, expected in ((65_536, "9000 9000"), (256, "6700 6700")):
        commands = [
            Command(0x80, 0xA2, command.p1, 0xC1, command.data, part, extended=True)
            for command in load(institution.intermediate)
        ]
        assert statuses(card, *commands) == expected


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([JPKI, "80A206C0"], "9000 6A86"),
        ([JPKI, "80A206C1"], "9000 6986"),
        ([JPKI, KEY, "80A206C1"], "9000 9000 6985"),
        ([JPKI, ANCHOR, "80A206C1"], "9000 9000 6700"),
        ([JPKI, ANCHOR, "80A207C1"], "9000 9000 6A86"),
        ([JPKI, "00820080"], "9000 6986"),
        ([JPKI, KEY, "00820080"], "9000 9000 6985"),
        ([JPKI, ANCHOR, "00820080"], "9000 9000 6700"),
        ([JPKI, ANCHOR, "00820096"], "9000 9000 6A86"),
        ([JPKI, ANCHOR, authenticate(bytes(256))], "9000 9000 6985"),
        ([authenticate(bytes(256))], "6986"),
    ],
)
def test_order_of_checks(card: SoftwareCard, commands: list[str | Command], expected: str) -> None:
    """Parameters come first, then the current file, then the shape (rulings 4 and 7)."""
    assert statuses(card, *commands) == expected


def test_references_begin_with_digits(card: SoftwareCard, institution: Institution) -> None:
    """A body whose references do not begin with seven digits has a bad shape (ruling 9)."""
    first = bytearray(institution.leaf.blocks[0])
    first[10 + 16] = ord("A")
    assert statuses(card, JPKI, ANCHOR, block(0x06, bytes(first))) == "9000 9000 6700"


@given(position=st.integers(0, 567), bit=st.integers(0, 7))
def test_any_flipped_bit(card_data: CardData, institution: Institution, position: int, bit: int) -> None:
    """No certificate with a single wrong bit is accepted."""
    encoded = bytearray(institution.intermediate.to_bytes())
    encoded[position] ^= 1 << bit
    card = SoftwareCard(card_data)
    answers = statuses(
        card, JPKI, ANCHOR, block(0x06, bytes(encoded[:307])), block(0x00, bytes(encoded[307:]))
    )
    assert not answers.endswith("9000")


def test_challenges_come_from_the_source(card_data: CardData) -> None:
    """Challenges are what the given source of randomness gives."""
    card = SoftwareCard(card_data, random=lambda length: b"\x42" * length)
    assert say(card, CHALLENGE).data == b"\x42" * 16

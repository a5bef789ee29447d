"""Does the card's answer prove what was asked, in the mode that was asked for."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.algorithm import Algorithm
from appliance.card.jpki import HolderProof, Mode
from appliance.card.nonce import Nonce
from appliance.errors import CertificateUntrusted, ProofInvalid, WrongMode
from appliance.simulator.card_data import CardData
from appliance.simulator.keys import sign_message
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors
from appliance.trust.proof import Expectation, verify

NONCE = Nonce(bytes(31) + b"\x80")
CODE = "9912345"
RSA = Algorithm.RSA_2048_PKCS1_SHA256


@pytest.fixture(scope="session")
def card(hierarchy: Hierarchy, now: datetime) -> CardData:
    """Return a made-up person's card."""
    return hierarchy.issue_card(now=now)


@pytest.fixture(scope="session")
def anchors(hierarchy: Hierarchy) -> Anchors:
    """Return both generations of the CA."""
    return Anchors(hierarchy.ca_certificates)


def proof(card: CardData, message: bytes, nonce: Nonce = NONCE) -> HolderProof:
    """Return what *card* would answer had it signed *message*."""
    signature = sign_message(card.private_key, message)
    return HolderProof(nonce, signature, card.certificate)


MESSAGES = {Mode.PINLESS: NONCE.octets + CODE.encode(), Mode.PIN: NONCE.octets}


@pytest.mark.parametrize("mode", Mode)
def test_exactly_the_message_of_the_mode_proves_it(
    mode: Mode, card: CardData, anchors: Anchors, now: datetime
) -> None:
    """Without a PIN the card signs nonce and institution code, with it the nonce alone."""
    expected = Expectation(mode, NONCE, CODE, RSA)
    holder = verify(proof(card, MESSAGES[mode]), expected, anchors, now)
    assert holder.proved == expected


@pytest.mark.parametrize("mode", Mode)
def test_a_proof_in_the_other_mode_is_an_error_of_its_own(
    mode: Mode, card: CardData, anchors: Anchors, now: datetime
) -> None:
    """A proof that would do in the other mode is never a success; it is `wrong_mode`."""
    (other,) = set(Mode) - {mode}
    with pytest.raises(WrongMode) as caught:
        verify(proof(card, MESSAGES[other]), Expectation(mode, NONCE, CODE, RSA), anchors, now)
    assert caught.value.code == "wrong_mode"


@given(st.binary(max_size=60))
def test_no_other_message_proves_anything(
    card: CardData, anchors: Anchors, now: datetime, message: bytes
) -> None:
    """A signature over anything else is no proof in either mode."""
    for mode in Mode:
        with pytest.raises(ProofInvalid):
            verify(proof(card, message), Expectation(mode, NONCE, CODE, RSA), anchors, now)


@given(st.binary(max_size=300))
def test_no_other_bytes_are_a_signature(
    card: CardData, anchors: Anchors, now: datetime, signature: bytes
) -> None:
    """Any bytes in the signature's place are refused."""
    answer = replace(proof(card, MESSAGES[Mode.PIN]), signature=signature)
    with pytest.raises(ProofInvalid):
        verify(answer, Expectation(Mode.PIN, NONCE, CODE, RSA), anchors, now)


def test_another_institutions_code_proves_nothing(card: CardData, anchors: Anchors, now: datetime) -> None:
    """A proof made for another institution is refused."""
    answer = proof(card, NONCE.octets + b"9900001")
    with pytest.raises(ProofInvalid):
        verify(answer, Expectation(Mode.PINLESS, NONCE, CODE, RSA), anchors, now)


def test_an_old_proof_proves_nothing(card: CardData, anchors: Anchors, now: datetime) -> None:
    """A proof for another nonce is refused, also where it says so itself."""
    old = Nonce(b"\x01" + NONCE.octets[1:])
    for answer in (proof(card, old.octets, old), proof(card, old.octets)):
        with pytest.raises(ProofInvalid):
            verify(answer, Expectation(Mode.PIN, NONCE, CODE, RSA), anchors, now)


def test_another_holders_certificate_proves_nothing(
    hierarchy: Hierarchy, card: CardData, anchors: Anchors, now: datetime
) -> None:
    """A signature by one card with the certificate of another is refused."""
    other = hierarchy.issue_card(now=now)
    answer = replace(proof(card, MESSAGES[Mode.PIN]), certificate=other.certificate)
    with pytest.raises(ProofInvalid):
        verify(answer, Expectation(Mode.PIN, NONCE, CODE, RSA), anchors, now)


def test_the_certificate_is_checked_before_its_key_is_used(
    hierarchy: Hierarchy, card: CardData, now: datetime
) -> None:
    """A perfect signature by a key that no configured CA vouches for proves nothing."""
    others = Anchors(hierarchy.ca_certificates[:1])
    with pytest.raises(CertificateUntrusted):
        verify(proof(card, MESSAGES[Mode.PIN]), Expectation(Mode.PIN, NONCE, CODE, RSA), others, now)

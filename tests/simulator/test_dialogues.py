"""The appliance's own dialogues with the software card: each side was written from the same pages, and judges the other."""

from datetime import datetime
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.card.algorithm import Algorithm, verified
from appliance.card.apdu import Response
from appliance.card.cvc import Chain
from appliance.card.dialogue import Dialogue, Exchange, Request, VerifyHolder
from appliance.card.jpki import HolderProof, inspect, pinless, with_pin
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.card.surface import FrontReading, read_front
from appliance.card.token_info import Kind as ToldKind
from appliance.card.verification_number import VerificationNumber
from appliance.errors import (
    ApplianceError,
    CardNotJpki,
    CardStatusUnexpected,
    CardWithoutFront,
    CardWithoutInstitutionMode,
    CardWithoutPin,
    FrontNotGenuine,
)
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import (
    Answer,
    Fault,
    FaultyCard,
    ForeignFront,
    WrongFrontSignature,
    WrongSignature,
)
from appliance.simulator.key_files import new_curve_key
from appliance.simulator.keys import sign_message
from appliance.simulator.kinds import Kind
from appliance.simulator.people import Person
from appliance.simulator.pki import Hierarchy
from appliance.trust import front
from tests.simulator.conversation import NONCE, Institution

T = TypeVar("T")
CODE = b"9912345"


def converse(dialogue: Dialogue[T], card: FaultyCard, institution: Institution | None = None) -> T:
    """Hold *dialogue* with *card*, whose holder knows the PIN 1234, and return what it ends with."""
    try:
        request: Request = next(dialogue)
        while True:
            if isinstance(request, Exchange):
                request = dialogue.send(_exchange(request, card))
            else:
                assert institution is not None
                request = dialogue.send(sign_message(institution.key, request.challenge))
    except StopIteration as end:
        result: T = end.value
        return result


def _exchange(exchange: Exchange, card: FaultyCard) -> tuple[Response, ...]:
    responses: list[Response] = []
    for step in exchange.steps:
        command = step.header.command(b"1234") if isinstance(step, VerifyHolder) else step.command
        outcome = card.respond(command.to_bytes())
        assert isinstance(outcome, Answer)
        responses.append(Response.from_bytes(outcome.octets))
        if responses[-1].status not in step.expect:
            break
    return tuple(responses)


@pytest.fixture(scope="module")
def other_data(hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, now: datetime) -> CardData:
    """Another person's card."""
    return hierarchy.issue_card(now=now, private_key=holder_key)


def read(data: CardData, number: str, *faults: Fault) -> FrontReading:
    """Read the front of the card made of *data*, with *faults*."""
    dialogue = read_front(shipped("jpki-reference"), VerificationNumber(number), Nonce(NONCE))
    return converse(dialogue, FaultyCard(SoftwareCard(data), faults))


def test_front(hierarchy: Hierarchy, card_data: CardData, person: Person) -> None:
    """照合番号B, computed from what is printed, opens a front that is genuine and says who it is."""
    number = VerificationNumber.of(person.birth, person.expires.year, person.security_code)
    read_one = front.verify(read(card_data, number.digits), Nonce(NONCE), hierarchy.surface_root_key)
    assert (read_one.birth, read_one.sex, read_one.expiry) == (person.birth, person.sex.value, person.expires)


@pytest.mark.parametrize("fault", ["wrong-front", "foreign-front", "copy"])
def test_front_that_is_not_genuine(
    hierarchy: Hierarchy, card_data: CardData, other_data: CardData, fault: str
) -> None:
    """An altered front, the front of another card, and a card that cannot prove itself are noticed."""
    faults: dict[str, Fault] = {
        "wrong-front": WrongFrontSignature(),
        "foreign-front": ForeignFront(other_data.surface[0x02]),
        "copy": WrongSignature(),
    }
    reading = read(card_data, card_data.secrets.number_b, faults[fault])
    with pytest.raises(FrontNotGenuine):
        front.verify(reading, Nonce(NONCE), hierarchy.surface_root_key)


@pytest.mark.parametrize("kind", [Kind.MY_NUMBER, Kind.NEXT])
def test_authentication(
    hierarchy: Hierarchy, card_key: rsa.RSAPrivateKey, institution: Institution, now: datetime, kind: Kind
) -> None:
    """Today's card and tomorrow's authenticate by their profiles, with an institution and with the PIN."""
    data = hierarchy.issue_card(now=now, kind=kind, card_key=card_key)
    if kind is Kind.NEXT:
        profile, algorithm = shipped("jpki-next"), Algorithm.ECDSA_P384_SHA384
        institution = Institution.certified_by(hierarchy, "9912345", new_curve_key())
    else:
        profile, algorithm = shipped("jpki-reference"), Algorithm.RSA_2048_PKCS1_SHA256
    chain = Chain(institution.intermediate, institution.leaf)
    card, key = FaultyCard(SoftwareCard(data)), data.private_key.public_key()
    proof = converse(pinless(profile, chain, Nonce(NONCE)), card, institution)
    assert verified(algorithm, key, proof.signature, NONCE + CODE)
    assert proof.certificate == data.certificate
    proof = converse(with_pin(profile, Nonce(NONCE)), card)
    assert verified(algorithm, key, proof.signature, NONCE)


def _authenticate(card: FaultyCard, institution: Institution) -> HolderProof:
    chain = Chain(institution.intermediate, institution.leaf)
    return converse(pinless(shipped("jpki-reference"), chain, Nonce(NONCE)), card, institution)


@pytest.mark.parametrize(
    ("kind", "told", "without_institution", "without_pin", "without_front"),
    [
        (Kind.MY_NUMBER, ToldKind.MY_NUMBER_CARD, None, None, None),
        (Kind.FACE_ONLY, ToldKind.MY_NUMBER_CARD, None, CardWithoutPin, None),
        (Kind.ANDROID, ToldKind.ANDROID, CardWithoutInstitutionMode, None, CardWithoutFront),
        (Kind.IPHONE, ToldKind.IPHONE, CardWithoutInstitutionMode, None, CardWithoutFront),
        (
            Kind.BASIC_RESIDENT,
            ToldKind.BASIC_RESIDENT_CARD,
            CardWithoutInstitutionMode,
            CardStatusUnexpected,
            CardWithoutFront,
        ),
        (Kind.OTHER, None, CardNotJpki, CardNotJpki, CardWithoutFront),
    ],
)
def test_kinds(
    hierarchy: Hierarchy,
    holder_key: rsa.RSAPrivateKey,
    card_key: rsa.RSAPrivateKey,
    institution: Institution,
    now: datetime,
    kind: Kind,
    told: ToldKind | None,
    without_institution: type[ApplianceError] | None,
    without_pin: type[ApplianceError] | None,
    without_front: type[ApplianceError] | None,
) -> None:
    """Each kind is told from the others, and what it cannot do ends with the error that says so."""
    data = hierarchy.issue_card(now=now, kind=kind, private_key=holder_key, card_key=card_key)
    profile = shipped("jpki-reference")
    number = VerificationNumber(data.secrets.number_b)
    attempts = (
        (CardNotJpki if told is None else None, lambda card: converse(inspect(profile), card)),
        (without_institution, lambda card: _authenticate(card, institution)),
        (without_pin, lambda card: converse(with_pin(profile, Nonce(NONCE)), card)),
        (without_front, lambda card: converse(read_front(profile, number, Nonce(NONCE)), card)),
    )
    for error, attempt in attempts:
        card = FaultyCard(SoftwareCard(data))
        if error is None:
            attempt(card)
        else:
            with pytest.raises(error):
                attempt(card)
    if told is not None:
        assert converse(inspect(profile), FaultyCard(SoftwareCard(data))).token.kind is told

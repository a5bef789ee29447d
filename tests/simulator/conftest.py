"""What the tests of the simulator share: a card's data, a fresh card for each test, an institution."""

from datetime import date, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.key_files import new_key
from appliance.simulator.people import Person, Sex, own_number
from appliance.simulator.pki import Hierarchy
from tests.simulator.conversation import Institution


@pytest.fixture(scope="session")
def holder_key() -> rsa.RSAPrivateKey:
    """The key of every card in these tests."""
    return new_key()


@pytest.fixture(scope="session")
def card_key() -> rsa.RSAPrivateKey:
    """The key by which every card in these tests proves to be no copy."""
    return new_key()


@pytest.fixture(scope="session")
def person() -> Person:
    """Whose card it is: 照合番号B is the example of card facts 4.1."""
    return Person(
        name="テスト　太郎",
        drawn_name="TEST TARO",
        address="テスト県あおば市1番地2",
        drawn_address="1-2 Aoba-shi, TEST-ken",
        birth=date(1980, 2, 17),
        sex=Sex.MALE,
        expires=date(2035, 2, 17),
        security_code="2285",
        my_number=own_number(1234567),
    )


@pytest.fixture(scope="session")
def card_data(
    hierarchy: Hierarchy,
    holder_key: rsa.RSAPrivateKey,
    card_key: rsa.RSAPrivateKey,
    person: Person,
    now: datetime,
) -> CardData:
    """A card with PIN 1234."""
    return hierarchy.issue_card(now=now, person=person, private_key=holder_key, card_key=card_key)


@pytest.fixture
def card(card_data: CardData) -> SoftwareCard:
    """A card with power and nothing selected."""
    card = SoftwareCard(card_data)
    card.power_on()
    return card


@pytest.fixture(scope="session")
def institution(hierarchy: Hierarchy) -> Institution:
    """An institution with code 9912345."""
    return Institution.certified_by(hierarchy, "9912345")


@pytest.fixture(scope="session")
def other_institution(hierarchy: Hierarchy) -> Institution:
    """Another institution, with code 9954321."""
    return Institution.certified_by(hierarchy, "9954321")

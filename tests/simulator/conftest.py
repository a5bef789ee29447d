"""What the tests of the simulator share: a card's data, a fresh card for each test, an institution."""

from datetime import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.key_files import new_key
from appliance.simulator.pki import Hierarchy
from tests.simulator.conversation import Institution


@pytest.fixture(scope="session")
def holder_key() -> rsa.RSAPrivateKey:
    """The key of every card in these tests."""
    return new_key()


@pytest.fixture(scope="session")
def card_data(hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, now: datetime) -> CardData:
    """A card with PIN 1234."""
    return hierarchy.issue_card(now=now, private_key=holder_key)


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

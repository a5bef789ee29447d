"""Reading the front for the staff's eyes, with a software card and nothing between."""

from datetime import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.authentication import converse
from appliance.card.apdu import Response
from appliance.card.dialogue import Dialogue, Exchange, institution_signature
from appliance.card.profile import shipped
from appliance.card.verification_number import VerificationNumber
from appliance.errors import CardWithoutFront, FrontNotGenuine
from appliance.front_reading import FrontReader, _no_signature
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.kinds import Kind
from appliance.simulator.people import AOBA, Person, made_up
from appliance.simulator.pki import Hierarchy
from appliance.terminals.steps import perform


class Terminal:
    """A software card behind the far end of exchanges."""

    def __init__(self, data: CardData) -> None:
        self.card = SoftwareCard(data)
        self.card.power_on()

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps on the card."""
        return perform(exchange, self.card.transmit)


@pytest.fixture(scope="session")
def person(now: datetime) -> Person:
    """Return somebody made up."""
    return made_up(AOBA, now.date())


@pytest.fixture
def reader(hierarchy: Hierarchy) -> FrontReader:
    """Return a reader that believes the test hierarchy's surface root."""
    return FrontReader(shipped("jpki-reference"), hierarchy.surface_root_key, lambda length: b"\x11" * length)


def number(person: Person) -> VerificationNumber:
    """Return 照合番号B as the clerk reads it off the card."""
    return VerificationNumber.of(person.birth, person.expires.year, person.security_code)


async def test_the_front_of_the_card_on_the_reader_is_read(
    reader: FrontReader, hierarchy: Hierarchy, person: Person, now: datetime
) -> None:
    """What comes back is genuine, the card's own, and the person's."""
    front = await reader.read(Terminal(hierarchy.issue_card(now=now, person=person)), number(person))
    assert front.birth == person.birth


async def test_a_card_of_another_hierarchy_is_not_believed(
    hierarchy: Hierarchy, person: Person, now: datetime
) -> None:
    """A front that another root vouches for is refused although all of it fits together."""
    stranger = rsa.generate_private_key(65_537, 2_048).public_key()
    other = FrontReader(shipped("jpki-reference"), stranger, lambda length: b"\x11" * length)
    with pytest.raises(FrontNotGenuine):
        await other.read(Terminal(hierarchy.issue_card(now=now, person=person)), number(person))


async def test_a_phone_has_no_front(
    reader: FrontReader, hierarchy: Hierarchy, person: Person, now: datetime
) -> None:
    """A token without the surface application is named as such."""
    phone = hierarchy.issue_card(now=now, person=person, kind=Kind.ANDROID)
    with pytest.raises(CardWithoutFront):
        await reader.read(Terminal(phone), number(person))


async def test_the_institution_key_has_no_part_in_it(hierarchy: Hierarchy, now: datetime) -> None:
    """A dialogue that asked for the institution's signature here would be a bug, and gets none."""

    def asking() -> Dialogue[bytes]:
        return (yield from institution_signature(bytes(16)))

    with pytest.raises(TypeError):
        await converse(asking(), Terminal(hierarchy.issue_card(now=now)), _no_signature)

"""A gateway with somebody's card at its desks."""

import tempfile
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.simulator.card_data import CardData
from appliance.simulator.people import AOBA, Person, made_up
from appliance.simulator.pki import Hierarchy
from tests.gateway.reception import Reception, open_reception


@pytest.fixture(scope="module")
def person(now: datetime) -> Person:
    """Return somebody made up."""
    return made_up(AOBA, now.date())


@pytest.fixture(scope="module")
def data(hierarchy: Hierarchy, now: datetime, person: Person) -> CardData:
    """Return what the person's cards at the desks are made of."""
    return hierarchy.issue_card(now=now, person=person)


@pytest.fixture
async def reception(hierarchy: Hierarchy, data: CardData, now: datetime) -> AsyncIterator[Reception]:
    """Give a gateway."""
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        async with open_reception(Path(folder), hierarchy, data, now) as opened:
            yield opened


@pytest.fixture
def front(person: Person) -> dict[str, Any]:
    """Return what a clerk enters off the person's card."""
    return {
        "birth": person.birth.isoformat(),
        "expiry_year": person.expires.year,
        "security_code": person.security_code,
    }

"""A rotation of the institution key while patients are at the desk."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime

from appliance import config
from appliance.authentication import Authenticator
from appliance.card.cvc import Chain
from appliance.card.profile import shipped
from appliance.chains import Chains
from appliance.config import Configuration
from appliance.daemon import hsms, load_chains
from appliance.hsm.pool import Pool
from appliance.revocation.policy import Sources
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import FaultyCard
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors
from tests.ceremony.conftest import NEXT_CHAIN, NEXT_OUTPUT, ROTATION, Place
from tests.test_authentication import PINLESS, Memory, Terminal, Written


async def test_authentications_go_on_while_a_rotation_is_held(
    received: Place, hierarchy: Hierarchy, now: datetime
) -> None:
    """Key made, certified, imported and taken into use: not one authentication fails, and the last use the new key."""
    received.import_chain()
    received.edit("appliance.toml", "challenges_per_minute = 600", "challenges_per_minute = 100_000")
    card = hierarchy.issue_card(now=now)
    configuration = loaded(received)
    (first,) = load_chains(configuration)
    async with Pool(hsms(configuration), state=received.folder / "state") as pool:
        desk = Desk(hierarchy, card, now, pool)
        await desk.busy_during(lambda: asyncio.to_thread(_rotate, received, hierarchy), first)
        configuration = loaded(received)
        new, kept = load_chains(configuration)
        assert kept == first
        await desk.busy_during(lambda: pool.reconfigure(hsms(configuration)), first)
        assert desk.used == [first.public_key] * len(desk.used)
        for _ in range(5):
            await desk.authenticate(new, kept)
        assert desk.used[-5:] == [new.public_key] * 5
    assert len(desk.used) > 15


class Desk:
    """Authenticates one card again and again, and remembers with which institution key."""

    def __init__(self, hierarchy: Hierarchy, card: CardData, now: datetime, pool: Pool) -> None:
        self.hierarchy, self.card, self.now, self.pool = hierarchy, card, now, pool
        self.used: list[object] = []

    async def busy_during(self, work: Callable[[], Awaitable[object]], chain: Chain) -> None:
        """Authenticate with *chain* until *work* is done; whatever fails, of either, comes out."""
        working = asyncio.ensure_future(work())
        while not working.done():
            await self.authenticate(chain)
        await working

    async def authenticate(self, *chains: Chain) -> None:
        """Do one authentication, from card to token."""
        powered = FaultyCard(SoftwareCard(self.card))
        powered.power_on()
        offered = Chains(*chains)
        authenticator = Authenticator(
            shipped("jpki-reference"),
            offered,
            Anchors(self.hierarchy.ca_certificates),
            self.pool,
            Written(),
            lambda: self.now,
            secrets.token_bytes,
            Sources([]),
            Memory(),
        )
        _, words = await authenticator.authenticate(PINLESS, Terminal(powered))
        assert words.startswith("pinless")
        self.used.append(offered.preferred.public_key)


def loaded(place: Place) -> Configuration:
    """Return the configuration as it is now."""
    return config.load(place.folder / "appliance.toml")


def _rotate(place: Place, hierarchy: Hierarchy) -> None:
    held = place.hold(ROTATION)
    assert held.returncode == 0, held.stderr
    place.receive(hierarchy, place.public_key("institution-2027", NEXT_OUTPUT))
    with (place.folder / "appliance.toml").open("a", encoding="utf-8") as configuration:
        configuration.write(NEXT_CHAIN)
    imported = place.import_chain(ROTATION, "--next")
    assert imported.returncode == 0, imported.stderr

"""The check by the staff's eyes through the real daemon, SoftHSM and pcscd: one power-up of one card, or nothing."""

import asyncio
from datetime import date
from typing import Any

import aiohttp

from appliance.card.verification_number import VerificationNumber
from appliance.errors import VerificationNumberInvalid
from appliance.simulator.card_data import CardData
from tests.daemon.process import SECONDS, Daemon, Site, session

PATH = "/v1/authentications"
CHECK = {"method": "visual", "operator": "operator-1"}
_ERAS = (2019, 1989, 1926)


def printed(site: Site) -> dict[str, Any]:
    """Return what a clerk reads off the site's card: any birth date that comes to the same number."""
    number = CardData.load(site.folder / "card").secrets.number_b
    for first in _ERAS:
        year, code = int(number[6:10]), number[10:]
        birth = date(first + int(number[:2]) - 1, int(number[2:4]), int(number[4:6]))
        try:
            if VerificationNumber.of(birth, year, code).digits == number:
                return {"birth": birth.isoformat(), "expiry_year": year, "security_code": code}
        except VerificationNumberInvalid:
            continue
    raise AssertionError("the card's number is of no era")


async def shown(client: aiohttp.ClientSession, site: Site) -> str:
    """Begin, and return where the authentication is, once its front is shown."""
    order = {"desk": "desk-1", "mode": "pinless", "identity_check": CHECK, "front": printed(site)}
    async with client.post(PATH, json=order) as answer:
        assert answer.status == 201, await answer.text()
        at = answer.headers["Location"]
    async with asyncio.timeout(SECONDS), client.get(f"{at}/events") as events:
        async for line in events.content:
            assert not line.startswith(b"event: done"), await events.content.read(4096)
            if b'"awaiting-decision"' in line:
                return at
    raise AssertionError("the events end without a front")


async def decided(client: aiohttp.ClientSession, at: str) -> dict[str, Any]:
    """Say that it is the same person, and return how it ended."""
    async with client.post(f"{at}/decision?wait=20", json={"same_person": True}) as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def test_the_card_stays_on_the_reader_from_front_to_proof(daemon: Daemon) -> None:
    """Its front is shown, somebody says yes, and its holder is proved to the institution."""
    with daemon.site.card():
        async with session(daemon.site) as client:
            at = await shown(client, daemon.site)
            async with client.get(f"{at}/front") as answer:
                assert (answer.status, len((await answer.json())["photo_png"]) > 1000) == (200, True)
            job = await decided(client, at)
    assert job["state"] == "authenticated", job
    assert job["claims"]["identity_check"] == CHECK


async def test_a_card_that_was_away_in_between_proves_nothing(daemon: Daemon) -> None:
    """Taken off and put back while somebody looks at its front, even the same card is another power-up."""
    async with session(daemon.site) as client:
        with daemon.site.card():
            at = await shown(client, daemon.site)
        with daemon.site.card():
            job = await decided(client, at)
    assert (job["state"], job["problem"]["code"]) == ("refused", "card_removed"), job

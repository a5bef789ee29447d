"""Bad days of the daemon as it runs: crowds that come back at once, terminals that go or lie, a clock that jumps."""

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from appliance import config
from appliance.ledger import place
from appliance.ledger.entries import Entry, Finished, decode
from appliance.ledger.store import stored_entries
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.terminals import scenarios
from appliance.terminals.messages import SUBPROTOCOL, Card, CardState, Scenario, Start
from appliance.terminals.steps import perform
from tests.cli.conftest import run
from tests.daemon.process import ORDER, SECONDS, Daemon, Site, session, started
from tests.daemon.tls import client_context
from tests.terminals.wire import R1, Wire, hello, play

TERMINALS: Final = int(os.environ.get("SOAK_TERMINALS", "100"))
"""`make soak` takes 2,000."""
FAKETIME: Final = "faketime/libfaketime.so.1"
PRESENT: Final = Card(reader="r1", state=CardState.PRESENT, insertion=1)


def name_of(number: int) -> str:
    """Return what a terminal of the crowd is called."""
    return f"crowd-{number}"


@pytest.fixture(scope="module")
def crowded(site: Site) -> Site:
    """Have peers and certificates for the whole crowd."""
    site.change(("heartbeat_seconds = 20.0", "heartbeat_seconds = 60.0"))
    peers = []
    for name in map(name_of, range(TERMINALS)):
        site.authority.issue_client(site.folder / "tls" / f"{name}.pem", f"{name}.example.jp")
        peers.append(
            f'[[peer]]\nalias = "{name}"\nrole = "terminal"\ncertificate_name = "{name}.example.jp"\n'
            'face_device = "kiosk-1"\n'
        )
    site.add("\n".join(peers))
    return site


@dataclass(frozen=True, slots=True)
class Network:
    """How terminals of a *site* come in."""

    site: Site
    client: aiohttp.ClientSession

    async def connect(self, tls: ssl.SSLContext) -> Wire:
        """Connect a terminal with a card, and introduce it; where there is no room yet, come again as terminals do."""
        url = f"wss://localhost:{self.site.port}/v1/terminal"
        pause = 0.1
        while True:
            try:
                wire = Wire(
                    await self.client.ws_connect(url, protocols=(SUBPROTOCOL,), ssl=tls, max_msg_size=0)
                )
                await wire.introduced(hello(R1), PRESENT)
            except (aiohttp.ClientError, OSError, AssertionError):
                await asyncio.sleep(pause)
                pause = min(2 * pause, 2.0)
            else:
                return wire


@asynccontextmanager
async def network(site: Site) -> AsyncIterator[Network]:
    """Give the network of *site*."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        yield Network(site, client)


@asynccontextmanager
async def known(client: aiohttp.ClientSession, *desks: str, state: str = "card") -> AsyncIterator[None]:
    """Begin once the daemon says that all *desks* are in *state*."""
    async with asyncio.timeout(SECONDS):
        while True:
            async with client.get("/v1/terminals") as answer:
                there = {one["desk"]: one["state"] for one in (await answer.json())["desks"]}
            if all(there.get(desk) == state for desk in desks):
                break
            await asyncio.sleep(0.05)
    yield


async def ask(client: aiohttp.ClientSession, desk: str) -> dict[str, Any]:
    """Return the authentication at *desk* when it is over."""
    async with client.post("/v1/authentications?wait=20", json={**ORDER, "desk": desk}) as answer:
        said: dict[str, Any] = await answer.json()
    assert "state" in said, said
    return said


def chip(site: Site) -> SoftwareCard:
    """Return the site's card."""
    return SoftwareCard(CardData.load(site.folder / "card"))


def entries(site: Site) -> list[Entry]:
    """Return what the ledger has."""
    with place.store(config.load(site.file)).reading() as reader:
        return [decode(content) for _, content in stored_entries(reader, 0, reader.head().size)]


async def test_all_terminals_come_back_at_once(crowded: Site, folder: Path) -> None:
    """After the network was away everybody is back, nobody is forgotten, and a desk is served meanwhile."""
    contexts = [client_context(crowded, name_of(number)) for number in range(TERMINALS)]
    desks = [f"{name_of(number)}.r1" for number in range(TERMINALS)]
    with started(crowded, folder) as daemon, crowded.card():
        async with network(crowded) as there, session(crowded) as client, AsyncExitStack() as stack:
            wires = await asyncio.gather(*map(there.connect, contexts))
            await stack.enter_async_context(known(client, *desks))
            for wire in wires:
                wire.cut()
            coming = [asyncio.create_task(there.connect(tls)) for tls in contexts]
            assert (await ask(client, "desk-1"))["state"] == "authenticated"
            wires = await asyncio.gather(*coming)
            await stack.enter_async_context(known(client, *desks))
            playing = asyncio.create_task(play(wires[-1], chip(crowded).transmit))
            assert (await ask(client, desks[-1]))["state"] == "authenticated"
            await playing
            for wire in wires:
                wire.cut()
            await stack.enter_async_context(known(client, *desks, state="absent"))
        assert "Traceback" not in daemon.log.read_text()


@pytest.fixture(scope="module")
def faketime() -> str:
    """Return the library that gives a process another time."""
    found = next(Path("/usr/lib").glob(f"*/{FAKETIME}"), None)
    assert found is not None, "libfaketime is not installed (Debian package libfaketime)"
    return str(found)


async def test_a_clock_that_jumps_ends_nothing(crowded: Site, folder: Path, faketime: str) -> None:
    """
    What waits goes on waiting; what is decided by the time is refused while the time is wrong, and not after.

    The log says how often the clock went back, and verifies.
    """
    file = folder / "clock"
    file.write_text("+0")
    environment = {
        "LD_PRELOAD": faketime,
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with started(crowded, folder, environment):
        async with network(crowded) as there, session(crowded) as client:
            wire = await there.connect(client_context(crowded, name_of(1)))
            async with known(client, "crowd-1.r1"):
                async with client.post("/v1/authentications", json=ORDER) as answer:
                    waiting = (await answer.json())["id"]
                file.write_text("+3d")
                async with client.get(f"/v1/authentications/{waiting}?wait=1") as answer:
                    assert (await answer.json())["state"] == "running"
                with crowded.card():
                    async with client.get(f"/v1/authentications/{waiting}?wait=20") as answer:
                        job = await answer.json()
                    assert (job["state"], job["problem"]["code"]) == ("refused", "revocation_stale"), job
                    file.write_text("+0")
                    assert (await ask(client, "desk-1"))["state"] == "authenticated"
                playing = asyncio.create_task(play(wire, chip(crowded).transmit))
                assert (await ask(client, "crowd-1.r1"))["state"] == "authenticated"
                await playing
                wire.cut()
    said = await asyncio.to_thread(run, "ledger", "--config", str(crowded.file), "verify", "--contents")
    assert said.returncode == 0, said.stderr
    assert "clock went back 1 times" in said.stdout


@contextmanager
def open_entries(site: Site) -> Iterator[list[Entry]]:
    """Give a list that has, after the block, what was written in it."""
    before = len(entries(site))
    written: list[Entry] = []
    yield written
    written += entries(site)[before:]


@pytest.fixture(scope="module")
def bad_day(crowded: Site) -> Iterator[Daemon]:
    """A daemon that the tests of this module share."""
    with tempfile.TemporaryDirectory(prefix="daemon-") as folder, started(crowded, Path(folder)) as running:
        yield running


async def test_who_connects_and_says_nothing_keeps_nobody_out(bad_day: Daemon) -> None:
    """A terminal gets in past all the others, who are counted where Prometheus asks, as is what is no TLS."""
    site = bad_day.site
    crowd = [await asyncio.open_connection("localhost", site.port) for _ in range(40)]
    async with network(site) as there, session(site) as client:
        wire = await there.connect(client_context(site, name_of(2)))
        async with known(client, "crowd-2.r1"):
            reader, writer = await asyncio.open_connection("localhost", site.port)
            writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(SECONDS):
                assert b"HTTP" not in await reader.read()
            async with aiohttp.ClientSession() as prometheus, prometheus.get(bad_day.metrics) as answer:
                counted = {
                    name: float(value)
                    for name, value in (
                        line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if line[0] != "#"
                    )
                }
        wire.cut()
    for _, end in (*crowd, (reader, writer)):
        end.transport.abort()
    assert counted["jpki_connections_open"] >= 1
    assert counted["jpki_connections_waiting"] + counted['jpki_connections_refused_total{cause="late"}'] >= 40
    assert counted['jpki_connections_refused_total{cause="failed"}'] >= 1


@pytest.mark.parametrize("what", ["gone", "another-card", "another-cards-answers"])
async def test_a_terminal_that_goes_or_changes_the_card_between_the_exchanges(
    bad_day: Daemon, what: str
) -> None:
    """Nothing is authenticated, at once and with a code; the entry that was reserved is closed, and the desk serves on."""
    site, desk = bad_day.site, "crowd-0.r1"
    tls = client_context(site, name_of(0))
    card, other = chip(site), chip(site)
    async with network(site) as there, session(site) as client:
        wire = await there.connect(tls)
        async with known(client, desk):
            with open_entries(site) as written:
                asking = asyncio.create_task(ask(client, desk))
                await wire.hear(Start)
                first = await wire.hear(Scenario)
                answers = perform(scenarios.exchange_of(first), card.transmit)
                await wire.say(scenarios.responses(first.session, first.seq, answers))
                second = await wire.hear(Scenario)
                expected: str | None = None
                match what:
                    case "gone":
                        wire.cut()
                        expected = "terminal_lost"
                    case "another-card":
                        await wire.say(Card(reader="r1", state=CardState.PRESENT, insertion=2))
                        expected = "card_removed"
                    case _:
                        # The challenge was the first card's: this one has never given any.
                        other.power_on()
                        answers = perform(scenarios.exchange_of(second), other.transmit)
                        await wire.say(scenarios.responses(second.session, second.seq, answers))
                job = await asking
        problem = job["problem"]
        assert job["state"] == "refused"
        assert expected is None or problem["code"] == expected, problem
        *_, last = written
        assert isinstance(last, Finished)
        assert (last.outcome, last.code) == ("refused", problem["code"])
        wire.cut()
        wire = await there.connect(tls)
        async with known(client, desk):
            playing = asyncio.create_task(play(wire, chip(site).transmit))
            assert (await ask(client, desk))["state"] == "authenticated"
            await playing
        wire.cut()

"""A reload means what it says: who is taken out is gone at once, and what is under way ends as it began."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import pytest

from appliance import config
from appliance.daemon.keys import load_profile
from appliance.daemon.places import hsms
from appliance.hsm.messages import Terms
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.network_pki import CA, NetworkAuthority
from appliance.terminals import scenarios
from appliance.terminals.messages import SUBPROTOCOL, Card, CardState, Result, Scenario, Start
from appliance.terminals.steps import perform
from tests.daemon.process import ORDER, SECONDS, Daemon, Site, session, started
from tests.daemon.tls import client_context
from tests.terminals.wire import R1, Wire, hello

DESK: Final = "ward-1.r1"
PRESENT: Final = Card(reader="r1", state=CardState.PRESENT, insertion=1)
KEYS: Final = "/.well-known/jwks.json"
"""For everybody who is known."""
OTHERS: Final = "other-clients.pem"
"""The CAs of clients, where there are two."""


@pytest.fixture(scope="module")
def two_authorities(site: Site) -> Site:
    """A site whose clients have certificates of one CA or another: `auditor-1` and `ward-1` have the other one's."""
    other = NetworkAuthority.create(datetime.now(UTC), "TEST other CA")
    tls = site.folder / "tls"
    for name in ("auditor-1", "ward-1"):
        other.issue_client(tls / f"{name}.pem", f"{name}.example.jp")
    other.save(site.folder / "other")
    both = (tls / CA).read_text() + (site.folder / "other" / CA).read_text()
    (tls / OTHERS).write_text(both)
    site.change(('clients = "tls/ca.pem"', f'clients = "tls/{OTHERS}"'))
    # As long as a test needs that stands there with an exchange that is not answered.
    site.change(
        (
            "exchange_seconds = 30.0\ncard_seconds = 120.0\npin",
            "exchange_seconds = 50.0\ncard_seconds = 120.0\npin",
        )
    )
    site.add('[[peer]]\nalias = "auditor-1"\nrole = "auditor"\ncertificate_name = "auditor-1.example.jp"\n')
    return site


@pytest.fixture(scope="module")
def daemon(two_authorities: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that the tests of this module share."""
    with started(two_authorities, tmp_path_factory.mktemp("daemon")) as running:
        yield running


@dataclass
class Caller:
    """Somebody on the network with a connection that stays open."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, path: str) -> bytes:
        """Return the first line of the answer to a request for *path*, and read its head."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: appliance\r\n\r\n".encode())
        async with asyncio.timeout(SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            if b"Content-Length: " in head:
                length = head.split(b"Content-Length: ")[1].split(b"\r\n")[0]
                await self.reader.readexactly(int(length))
        return head.split(b"\r\n")[0]

    async def ended(self) -> None:
        """Wait until the connection is gone."""
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionError):
                await self.reader.read()


@contextlib.asynccontextmanager
async def calling(site: Site, name: str) -> AsyncIterator[Caller]:
    """Have the client called *name* connected."""
    reader, writer = await asyncio.open_connection(
        "localhost", site.port, ssl=client_context(site, name), server_hostname="localhost"
    )
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def terminal(site: Site) -> AsyncIterator[Wire]:
    """Have the terminal connected, with a card on its reader."""
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(
            f"wss://localhost:{site.port}/v1/terminal",
            protocols=(SUBPROTOCOL,),
            ssl=client_context(site, "ward-1"),
            max_msg_size=0,
        ) as socket,
    ):
        wire = Wire(socket)
        await wire.introduced(hello(R1), PRESENT)
        yield wire
        wire.cut()


async def at_desk(client: aiohttp.ClientSession, state: str) -> None:
    """Wait until the terminal's desk is in *state*."""
    async with asyncio.timeout(SECONDS):
        while True:
            async with client.get("/v1/terminals") as answer:
                desks: dict[str, Any] = {one["desk"]: one for one in (await answer.json())["desks"]}
            if desks.get(DESK, {}).get("state") == state:
                return
            await asyncio.sleep(0.05)


def reloads(daemon: Daemon) -> list[str]:
    """Return what the daemon has logged of reading its configuration again."""
    return [event for event in events(daemon) if event.startswith("configuration ")]


def events(daemon: Daemon) -> list[str]:
    """Return what the daemon has logged."""
    return [line["event"] for line in daemon.logged()]


async def test_who_came_in_by_a_ca_that_is_taken_away_is_gone(daemon: Daemon) -> None:
    """Between requests, in the middle of one, or as a terminal: others stay, and nobody comes in by it again."""
    site = daemon.site
    async with (
        calling(site, "auditor-1") as idle,
        calling(site, "auditor-1") as halfway,
        calling(site, "operator-1") as other,
        terminal(site) as wire,
        session(site) as client,
    ):
        for caller in (idle, other):
            assert await caller.ask(KEYS) == b"HTTP/1.1 200 OK"
        halfway.writer.write(b"POST /v1/tokens/verify HTTP/1.1\r\nHost: appliance\r\nContent-Length: 9\r\n")
        await halfway.writer.drain()
        await at_desk(client, "card")
        with site.changed((f'clients = "tls/{OTHERS}"', 'clients = "tls/ca.pem"')):
            await asyncio.to_thread(daemon.reload)
            await idle.ended()
            await halfway.ended()
            await wire.closed()
            await at_desk(client, "absent")
            assert await other.ask(KEYS) == b"HTTP/1.1 200 OK"
            with pytest.raises((OSError, EOFError)):
                async with calling(site, "auditor-1") as again:
                    await again.ask("/healthz")
        await asyncio.to_thread(daemon.reload)
        async with calling(site, "auditor-1") as again:
            assert await again.ask(KEYS) == b"HTTP/1.1 200 OK"
    assert any(
        event.startswith("connections ended cause=authority-removed count=") for event in events(daemon)
    )


async def test_who_is_no_peer_any_more_waits_for_nothing(daemon: Daemon) -> None:
    """A request that is under way for somebody who is taken out of the configuration ends with the connection."""
    site = daemon.site
    renamed = ('alias = "auditor-1"\nrole = "auditor"', 'alias = "auditor-1"\nrole = "operator"')
    async with calling(site, "auditor-1") as theirs, calling(site, "operator-1") as other:
        assert await theirs.ask(KEYS) == b"HTTP/1.1 200 OK"
        assert await other.ask(KEYS) == b"HTTP/1.1 200 OK"
        with site.changed(renamed):
            await asyncio.to_thread(daemon.reload)
            await theirs.ended()
            assert await other.ask(KEYS) == b"HTTP/1.1 200 OK"
        await asyncio.to_thread(daemon.reload)
    assert any(event.startswith("connections ended cause=peer-removed count=") for event in events(daemon))


async def test_what_is_under_way_ends_with_the_issuer_it_began_with(daemon: Daemon) -> None:
    """
    Issuer and lifetime change in the middle of an authentication: its result is of the old ones, and verifies.

    The next one is of the new ones, although the workers that serve have been there for the old one, too.
    """
    site = daemon.site
    changes = (
        ('issuer = "', 'issuer = "renewed.'),
        ("lifetime_seconds = 300", "lifetime_seconds = 77"),
    )
    card = SoftwareCard(CardData.load(site.folder / "card"))
    order = {**ORDER, "desk": DESK, "nonce": "n" * 16}
    with site.card():
        async with terminal(site) as wire, session(site) as client:
            await at_desk(client, "card")
            async with client.post("/v1/authentications", json=order) as answer:
                begun = (await answer.json())["id"]
            await wire.hear(Start)
            first = await wire.hear(Scenario)
            with site.changed(*changes):
                told = len(daemon.messages)
                daemon.process.send_signal(signal.SIGHUP)
                async with asyncio.timeout(SECONDS):
                    while True:
                        claims = await claimed(client, ORDER)
                        if claims["iss"].startswith("renewed."):
                            break
                assert claims["exp"] - claims["iat"] == 77
                # The reload is done, whoever is still under way.
                await asyncio.to_thread(daemon.hear, "READY=1", told)
                said: Scenario | None = first
                while said is not None:
                    answers = perform(scenarios.exchange_of(said), card.transmit)
                    await wire.say(scenarios.responses(said.session, said.seq, answers))
                    said = await wire.hear(Scenario) if said.seq == 0 else None
                await wire.hear(Result)
                async with client.get(f"/v1/authentications/{begun}?wait=20") as answer:
                    job = await answer.json()
                assert job["state"] == "authenticated", job
                assert not job["claims"]["iss"].startswith("renewed.")
                assert job["claims"]["exp"] - job["claims"]["iat"] == 300
                async with client.post("/v1/tokens/verify", json={"token": job["token"]}) as answer:
                    assert (await answer.json())["valid"] is True
    await asyncio.to_thread(daemon.reload)
    async with session(site) as client:
        with site.card():
            assert not (await claimed(client, ORDER))["iss"].startswith("renewed.")


async def test_who_is_to_go_does_not_stay_for_the_workers_that_leave(daemon: Daemon) -> None:
    """
    While an authentication holds up the workers of the set-up before, the next reload counts at once.

    One that changes the set-up once more is put off, but for who may ask, and comes by itself when they have left.
    """
    site = daemon.site
    renamed = ('alias = "auditor-1"\nrole = "auditor"', 'alias = "auditor-1"\nrole = "operator"')
    async with (
        terminal(site) as wire,
        session(site) as client,
        calling(site, "auditor-1") as theirs,
    ):
        assert await theirs.ask(KEYS) == b"HTTP/1.1 200 OK"
        await at_desk(client, "card")
        async with client.post(
            "/v1/authentications", json={**ORDER, "desk": DESK, "nonce": "n" * 16}
        ) as answer:
            begun = (await answer.json())["id"]
        await wire.hear(Start)
        await wire.hear(Scenario)
        with site.changed(("lifetime_seconds = 300", "lifetime_seconds = 77")):
            await asyncio.to_thread(daemon.reload)
            with site.changed(renamed):
                await asyncio.to_thread(daemon.reload)
                await theirs.ended()
            with site.changed(("lifetime_seconds = 77", "lifetime_seconds = 78")):
                told = len(reloads(daemon))
                # Who is an operator since the reload before is one no more by this one.
                async with calling(site, "auditor-1") as again:
                    assert await again.ask("/v1/live") == b"HTTP/1.1 200 OK"
                    await asyncio.to_thread(daemon.reload)
                    await again.ended()
                assert reloads(daemon)[told:] == ["configuration put off cause=hsm-workers-leaving"]
                with site.card():
                    claims = await claimed(client, ORDER)
                assert claims["exp"] - claims["iat"] == 77
                heard = len(daemon.messages)
                async with client.delete(f"/v1/authentications/{begun}") as answer:
                    assert answer.status == 200
                await asyncio.to_thread(daemon.hear, "READY=1", heard)
                assert reloads(daemon)[told + 1 :] == ["configuration read again"]
                with site.card():
                    claims = await claimed(client, ORDER)
                assert claims["exp"] - claims["iat"] == 78
    await asyncio.to_thread(daemon.reload)


async def claimed(client: aiohttp.ClientSession, order: dict[str, Any]) -> dict[str, Any]:
    """Return what the result of *order* says."""
    async with client.post("/v1/authentications?wait=20", json=order) as answer:
        job = await answer.json()
    assert job["state"] == "authenticated", job
    said: dict[str, Any] = job["claims"]
    return said


def test_the_terms_of_a_generation_are_those_of_its_workers(site: Site) -> None:
    """Both are made of one configuration, each where it is needed."""
    configuration = config.load(site.file)
    settings = configuration.settings.result
    length = load_profile(configuration).institution.challenge_length
    (hsm,) = hsms(configuration)
    assert hsm.setup.terms == Terms(settings.issuer, settings.lifetime_seconds, length)

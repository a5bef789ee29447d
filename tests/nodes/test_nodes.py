"""Several nodes: a real balancer, a real database, and nodes that go in every way there is. The tests build on one another."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from appliance.gateway import token as tokens
from appliance.ledger import place
from appliance.ledger.entries import Finished, Reserved
from appliance.ledger.proof import prove
from appliance.ledger.store import fetching, stored_entries
from appliance.terminals.agent.status import Link
from tests.daemon.process import ORDER, SECONDS, begun, free_port, session
from tests.daemon.tls import client_context
from tests.nodes.balancer import program
from tests.nodes.clinic import Clinic, Node, verified
from tests.nodes.people import FrontDesk, Ward, at_work, front_desk

AUDIENCE = "reception.example.jp"


@asynccontextmanager
async def front_desks(clinic: Clinic, first: int, count: int = 4) -> AsyncIterator[list[FrontDesk]]:
    """Give receptions at machines of their own, from number *first* on: the balancer remembers who it has seen."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(front_desk(clinic, number))
            for number in range(first, first + count)
        ]


@asynccontextmanager
async def crowd(desks: list[FrontDesk], wards: tuple[Ward, ...]) -> AsyncIterator[None]:
    """Have somebody ask at every ward again and again for the length of a block."""
    enough = asyncio.Event()
    asking = [
        asyncio.create_task(desks[number % len(desks)].keep_asking(ward.desk, enough))
        for number, ward in enumerate(wards)
    ]
    try:
        yield
    finally:
        enough.set()
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*asking)


async def more(desks: list[FrontDesk], each: int = 2) -> None:
    """Wait until every reception has got so many more results."""
    before = [len(desk.acknowledged) for desk in desks]
    async with asyncio.timeout(SECONDS):
        while any(  # noqa: ASYNC110 - receptions tell nobody
            len(desk.acknowledged) < had + each for desk, had in zip(desks, before, strict=True)
        ):
            await asyncio.sleep(0.02)


def origins(desks: list[FrontDesk], since: int = 0) -> Counter[str]:
    """Return in which logs the results stand that came after the first *since* of each reception."""
    return Counter(job["claims"]["log"]["origin"] for desk in desks for job in desk.acknowledged[since:])


def outcomes(desks: list[FrontDesk]) -> Counter[str]:
    """Return how often requests ended in which way."""
    return Counter(outcome for desk in desks for outcome in desk.outcomes)


def test_the_configuration_that_ships_is_one(clinic: Clinic) -> None:
    """HAProxy takes the annotated file without a warning; only addresses, files and intervals are others here."""
    done = subprocess.run(
        (program(), "-c", "-f", str(clinic.balancer.file)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr + done.stdout


async def test_any_reception_reaches_any_desk(clinic: Clinic) -> None:
    """Whichever node the balancer takes: every terminal is there. A machine stays with its node, on new connections, too."""
    async with at_work(clinic) as wards, front_desks(clinic, 10) as desks:
        for desk in desks:
            for ward in wards[:2]:
                assert (await desk.served(ward.desk))["state"] == "authenticated", desk.outcomes
        assert len(origins(desks)) == 2
        for desk in desks:
            assert len(origins([desk])) == 1
            job = await desk.served(wards[0].desk, wait=0)
            async with (
                front_desk(clinic, int(desk.source.rpartition(".")[2])) as again,
                again.client.get(f"{desk.url}/{job['id']}?wait=20") as answer,
            ):
                assert answer.status == 200, (clinic.balancer.folder / "said").read_text()
                assert (await answer.json())["state"] == "authenticated"


async def test_a_token_of_one_node_counts_at_the_other(clinic: Clinic) -> None:
    """Both have the same token key: whoever verifies needs the published keys of either."""
    async with at_work(clinic) as wards, front_desks(clinic, 20, 2) as desks:
        for desk in desks:
            await desk.served(wards[0].desk)
        for node in clinic.nodes:
            async with session(node.site) as client, client.get("/.well-known/jwks.json") as answer:
                jwks = await answer.read()
            for desk in desks:
                (job,) = desk.acknowledged
                tokens.verify(job["token"], jwks, AUDIENCE, datetime.now(UTC))


@pytest.mark.parametrize("number", [1, 2])
def test_a_terminal_reaches_each_node_through_the_balancer(clinic: Clinic, number: int) -> None:
    """By the node's own name, TLS ends at that node; what is no TLS ends at the balancer."""
    name = f"node-{number}.clinic.example.jp"
    context = client_context(clinic.site, "ward-2")
    where = ("127.0.0.1", clinic.balancer.port)
    with (
        socket.create_connection(where, SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    pem = (clinic.nodes[number - 1].site.folder / "tls" / "server.pem").read_text()
    assert shown == ssl.PEM_cert_to_DER_cert(pem)
    with socket.create_connection(where, SECONDS) as plain:
        plain.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(100) == b""


async def test_the_balancer_s_certificate_opens_nothing_else(clinic: Clinic) -> None:
    """What health checks use is nobody: it sees whether a node is ready, and no more."""
    context = client_context(clinic.site, "balancer")
    async with aiohttp.ClientSession() as client:
        for path, status in (("readyz", 200), ("v1/status", 403), ("v1/terminals", 403)):
            url = f"https://localhost:{clinic.site.port}/{path}"
            async with client.get(url, ssl=context) as answer:
                assert answer.status == status


async def test_a_node_that_ends_in_order_is_missed_by_nobody(clinic: Clinic) -> None:
    """What is under way ends, who comes meanwhile is refused with a code and served elsewhere, no connection breaks."""
    _, leaving = clinic.nodes
    async with at_work(clinic) as wards, front_desks(clinic, 30) as desks, crowd(desks, wards):
        await more(desks)
        await asyncio.to_thread(leaving.end)
        since = min(len(desk.acknowledged) for desk in desks)
        await more(desks)
        assert set(outcomes(desks)) <= {"authenticated", "gateway_draining", "reader_busy"}, outcomes(desks)
        assert clinic.nodes[0].origin in origins(desks, since)
        await asyncio.to_thread(leaving.begin)
        for ward in wards:
            await ward.connected(2)
        await asyncio.to_thread(clinic.balancer.await_states, "UP", "UP")


async def test_a_node_without_its_hsm_is_left(clinic: Clinic) -> None:
    """Refused with the HSM's code, a reception is served by the other node; the first one comes back by itself."""
    broken, other = clinic.nodes
    async with at_work(clinic) as wards, front_desks(clinic, 40) as desks, crowd(desks, wards):
        await more(desks)
        with broken.site.without_hsm():
            await asyncio.to_thread(clinic.balancer.await_states, "DOWN", "UP")
            # What was on its way to the first node when that was found out is over by now, or refused.
            await more(desks)
            since = [len(desk.acknowledged) for desk in desks]
            await more(desks)
            for desk, had in zip(desks, since, strict=True):
                assert set(origins([desk], had)) == {other.origin}
        await asyncio.to_thread(clinic.balancer.await_states, "UP", "UP")
    refused = set(outcomes(desks)) - {"authenticated", "reader_busy"}
    assert all(code.startswith("hsm_") for code in refused), outcomes(desks)


async def test_without_the_database_nothing_is_signed(clinic: Clinic) -> None:
    """Both nodes refuse with the ledger's code, the balancer sees it; with the database everything goes on by itself."""
    async with at_work(clinic) as wards, front_desks(clinic, 50) as desks, crowd(desks, wards):
        await more(desks)
        await asyncio.to_thread(clinic.database.stop, "immediate")
        try:
            await asyncio.to_thread(clinic.balancer.await_states, "DOWN", "DOWN")
        finally:
            await asyncio.to_thread(clinic.database.start)
        await asyncio.to_thread(clinic.balancer.await_states, "UP", "UP")
        await more(desks)
    # Where no node is ready, the balancer has nobody to connect to.
    codes = set(outcomes(desks)) - {"authenticated", "broken", "reader_busy"}
    assert codes == {"ledger_unavailable"}, outcomes(desks)


async def test_a_killed_node_takes_no_result_with_it(clinic: Clinic) -> None:
    """
    Killed under load, a node leaves its desks to the other one, and every result that was told stands in its log.

    What it had reserved and not finished is closed as interrupted when it comes back.
    """
    dying, staying = clinic.nodes
    async with at_work(clinic) as wards, front_desks(clinic, 60) as desks, session(dying.site) as client:
        held, *others = wards
        # One authentication is between its two exchanges when the node dies.
        held.reader.held = 2
        asking = asyncio.create_task(client.post("/v1/authentications?wait=20", json=order(held)))
        async with asyncio.timeout(SECONDS):
            await held.reader.reached.wait()
        async with crowd(desks, tuple(others)):
            await more(desks)
            await asyncio.to_thread(dying.kill)
            with pytest.raises(aiohttp.ClientError):
                await asking
            held.reader.held = None
            since = [len(desk.acknowledged) for desk in desks]
            await more(desks, each=3)
            for desk, had in zip(desks, since, strict=True):
                # The first of them may have been on its way from the node that died.
                assert set(origins([desk], had + 1)) == {staying.origin}
            assert all(ward.board.status.link is Link.CONNECTED for ward in wards)
            await asyncio.to_thread(dying.begin)
            for ward in wards:
                await ward.connected(2)
            await asyncio.to_thread(clinic.balancer.await_states, "UP", "UP")
            assert (await desks[0].served(held.desk))["state"] == "authenticated"
    assert set(outcomes(desks)) <= {"authenticated", "broken", "reader_busy"}, outcomes(desks)
    told = [job["claims"] for desk in desks for job in desk.acknowledged]
    assert {claims["log"]["origin"] for claims in told} == {dying.origin, staying.origin}
    for node in clinic.nodes:
        await asyncio.to_thread(covered, node)
        entries = node.entries()
        finished = {entry.reserved: entry for entry in entries.values() if isinstance(entry, Finished)}
        for claims in told:
            if claims["log"]["origin"] == node.origin:
                index = claims["log"]["index"]
                assert isinstance(entries[index], Reserved)
                assert (finished[index].outcome, finished[index].evidence) == (
                    "authenticated",
                    claims["evidence"],
                )
                proved(node, index)
        assert "0 unfinished" in await asyncio.to_thread(verified, node)
        closed = [entry for entry in finished.values() if entry.outcome == "interrupted"]
        assert closed or node is staying


def test_two_nodes_cannot_have_one_origin(clinic: Clinic) -> None:
    """The second one of that name does not begin, and says why; the first one does not notice."""
    first, second = clinic.nodes
    folder = clinic.folder / "twin"
    shutil.copytree(second.site.folder, folder, ignore=shutil.ignore_patterns("*.sock"))
    for path in (folder / "softhsm").glob("*.conf"):
        path.write_text(path.read_text().replace(str(second.site.folder), str(folder)))
    twin = replace(second.site, folder=folder, port=free_port())
    twin.change(
        ("/ledger/node-2", "/ledger/node-1"), (f"\nport = {second.site.port}\n", f"\nport = {twin.port}\n")
    )
    (folder / "life").mkdir()
    with begun(twin, folder / "life") as daemon:
        assert daemon.process.wait(SECONDS) != 0
        assert "[ledger_contended]" in daemon.log.read_text()
    assert first.daemon is not None
    assert first.daemon.process.poll() is None
    clinic.balancer.await_states("UP", "UP")


async def test_the_terminal_that_ships_has_all_nodes(clinic: Clinic) -> None:
    """One `url` for each node in its configuration: either gets the card that lies there."""
    site = clinic.site
    file = site.folder / "terminal.toml"
    urls = ", ".join(f'"wss://localhost:{node.site.port}/v1/terminal"' for node in clinic.nodes)
    one = f'url = "wss://localhost:{site.port}/v1/terminal"'
    text = file.read_text()
    assert text.count(one) == 1
    file.write_text(text.replace(one, f"url = [{urls}]"))
    terminal = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "appliance", "terminal", "--config", str(file), "--language", "en"),
        env=site.environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert terminal.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            while b"2/2" not in await terminal.stdout.readline():
                pass
        with site.card():
            for node in clinic.nodes:
                async with session(node.site) as client:
                    # A desk is known when its terminal has said so; the card may still be on its way.
                    job = await asked(client, {**ORDER, "desk": "ward-1.reader-1"})
                    assert job["claims"]["log"]["origin"] == node.origin
    finally:
        terminal.terminate()
        await terminal.communicate()
    assert terminal.returncode == 0


async def asked(client: aiohttp.ClientSession, order: dict[str, Any]) -> dict[str, Any]:
    """Return the finished authentication."""
    async with client.post("/v1/authentications?wait=20", json=order) as answer:
        job: dict[str, Any] = await answer.json()
    assert job.get("state") == "authenticated", job
    return job


def order(ward: Ward) -> dict[str, Any]:
    """Return what a reception asks for at *ward*."""
    return {**ORDER, "desk": ward.desk}


def covered(node: Node) -> None:
    """Wait until a checkpoint is over everything in the log of *node*, and nothing in it is open."""
    deadline = time.monotonic() + SECONDS
    while True:
        with place.store(node.configuration).reading() as reader:
            newest, size = reader.newest_checkpoint(), reader.head().size
        entries = node.entries().values()
        reserved = sum(isinstance(entry, Reserved) for entry in entries)
        finished = sum(isinstance(entry, Finished) for entry in entries)
        if newest is not None and newest.size == size and reserved == finished:
            return
        assert time.monotonic() < deadline, (newest, size, reserved, finished)
        time.sleep(0.1)


def proved(node: Node, index: int) -> None:
    """Prove the entry *index* to be under the newest checkpoint of *node*."""
    with place.store(node.configuration).reading() as reader:
        newest = reader.newest_checkpoint()
        assert newest is not None
        ((_, entry),) = stored_entries(reader, index, index + 1)
        proof = prove(index, entry, newest.note, fetching(reader))
    proof.verify(place.verifier_key(node.configuration))

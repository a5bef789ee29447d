"""The terminal on a network: TLS to the appliance and nobody else, and whatever frames come out of it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType, web
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.card.profile import shipped
from appliance.errors import CardAbsent
from appliance.simulator.network_pki import NetworkAuthority
from appliance.terminals import messages
from appliance.terminals.agent.backoff import Backoff
from appliance.terminals.agent.connection import Connection, Parting
from appliance.terminals.agent.node import Address
from appliance.terminals.agent.places import Places
from appliance.terminals.agent.session import Equipment
from appliance.terminals.agent.settings import load
from appliance.terminals.agent.status import Board, Link, Status
from appliance.terminals.agent.terminal import Terminal
from appliance.terminals.messages import (
    SUBPROTOCOL,
    Abort,
    ApplianceProblem,
    Drain,
    Hello,
    HolderVerification,
    Mode,
    Outcome,
    PinEntry,
    Reader,
    Result,
    Scenario,
    ScenarioStep,
    SignedScenario,
    Start,
    Welcome,
)

PATIENCE = 20.0
PROFILE = shipped("jpki-reference")
NAME = "appliance.test"
SETTINGS = """
[appliance]
url = "wss://localhost:{port}/v1/terminal"
authorities = "{authorities}/ca.pem"
certificate = "ward-3.pem"
key_file = "ward-3-key.pem"
[[reader]]
name = "No such reader"
alias = "desk-1"
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, now: datetime) -> Path:
    """Return a folder with the certificates of an appliance, a terminal and a stranger's CA."""
    folder = tmp_path_factory.mktemp("network")
    authority, stranger = NetworkAuthority.create(now), NetworkAuthority.create(now)
    authority.save(folder)
    stranger.save(folder / "stranger")
    authority.issue_server(folder / "server.pem", ["localhost"])
    authority.issue_server(folder / "elsewhere.pem", ["elsewhere.test"])
    authority.issue_client(folder / "ward-3.pem", "ward-3.test")
    return folder


@asynccontextmanager
async def listening(network: Path, certificate: str = "server") -> AsyncIterator[tuple[int, list[str]]]:
    """Have an appliance listen as the daemon does, and tell its port and the clients it has welcomed."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=network / "ca.pem")
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(network / f"{certificate}.pem", network / f"{certificate}-key.pem")
    welcomed: list[str] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        if request.query_string:
            raise web.HTTPFound(f"http://localhost:{port}/")
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,))
        await socket.prepare(request)
        assert isinstance(messages.decode_from_terminal((await socket.receive()).data), Hello)
        certified: dict[str, Any] = request.get_extra_info("peercert")
        welcomed.append(certified["subjectAltName"][0][1])
        await socket.send_str(messages.encode(Welcome(terminal="ward-3", heartbeat_ms=60_000, issuer=NAME)))
        await socket.receive()
        return socket

    application = web.Application()
    application.router.add_get("/v1/terminal", serve)
    runner = web.AppRunner(application, shutdown_timeout=0.5, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=tls)
    await site.start()
    port: int = runner.addresses[0][1]
    try:
        yield port, welcomed
    finally:
        await runner.cleanup()


async def attempt(address: Address) -> Status:
    """Return how the first attempt of a terminal at *address* ends: connected, or away."""
    seen: asyncio.Queue[Status] = asyncio.Queue()
    terminal = Terminal(
        (address,), {}, PROFILE, Backoff(30.0, 30.0, lambda: 0.5), lambda: 0.0, bytes, show=seen.put_nowait
    )
    running = asyncio.create_task(terminal.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while (status := await seen.get()).link is Link.CONNECTING:
                pass
            return status
    finally:
        terminal.stop()
        await running


def address(network: Path, port: int, authorities: str = ".", query: str = "") -> Address:
    """Return where the appliance is, as the terminal's configuration says it."""
    path = network / "terminal.toml"
    path.write_text(SETTINGS.format(port=port, authorities=authorities), "utf-8")
    configuration = load(path)
    (url,) = configuration.settings.appliance.urls
    return Address(url + query, configuration.tls())


@pytest.mark.usefixtures("private_pcscd")
async def test_it_shows_its_certificate_to_an_appliance_that_has_one(network: Path) -> None:
    """Both sides know each other by TLS before anything is said."""
    async with listening(network) as (port, welcomed):
        assert (await attempt(address(network, port))).link is Link.CONNECTED
        assert welcomed == ["ward-3.test"]


@pytest.mark.usefixtures("private_pcscd")
@pytest.mark.parametrize(("certificate", "authorities"), [("server", "stranger"), ("elsewhere", ".")])
async def test_it_says_nothing_to_anybody_else(network: Path, certificate: str, authorities: str) -> None:
    """A server of another CA or another name is not spoken to, and the person is told what is wrong."""
    async with listening(network, certificate) as (port, welcomed):
        status = await attempt(address(network, port, authorities))
    assert (status.link, "certificate" in status.reason, welcomed) == (Link.AWAY, True, [])


@pytest.mark.usefixtures("private_pcscd")
async def test_it_does_not_let_itself_be_sent_elsewhere(network: Path) -> None:
    """A redirect is no answer: it could lead out of TLS."""
    async with listening(network) as (port, welcomed):
        status = await attempt(address(network, port, query="?away"))
    assert (status.link, welcomed) == (Link.AWAY, [])


@pytest.mark.usefixtures("private_pcscd")
async def test_nobody_there_is_one_clear_reason(tmp_path: Path) -> None:
    """No socket, no server: the reason is told without the library's own text."""
    status = await attempt(Address("ws://appliance/v1/terminal", socket=str(tmp_path / "none")))
    assert status.reason.startswith("the appliance cannot be reached")


# --- any frames at all ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Frames:
    """A socket on which *said* comes, and then its end."""

    said: list[WSMessage]
    sent: list[str] = field(default_factory=list)
    close_code: int | None = None

    async def receive(self, timeout: float) -> WSMessage:  # noqa: ASYNC109  # as aiohttp's
        """Return the next frame."""
        assert timeout > 0
        await asyncio.sleep(0)
        return self.said.pop(0) if self.said else WSMessage(WSMsgType.CLOSED, None, None)

    async def send_str(self, text: str) -> None:
        """Take a frame that a terminal may say."""
        messages.decode_from_terminal(text)
        self.sent.append(text)

    async def pong(self, data: bytes) -> None:
        """Take a pong."""
        assert len(data) <= 125

    async def close(self, *, code: int = 1000) -> None:
        """Take note of the end."""
        self.close_code = code


@asynccontextmanager
async def no_card(_reader: str, **_manner: object) -> AsyncIterator[None]:
    """Be a reader without card."""
    await asyncio.sleep(0)
    raise CardAbsent("no card was put on the reader in time")
    yield


@asynccontextmanager
async def never_a_card(_reader: str, **_manner: object) -> AsyncIterator[None]:
    """Be a reader at which everybody waits."""
    await asyncio.Event().wait()
    yield


IDS = st.sampled_from(["0" * 32, "1" * 32])
STEPS = st.lists(
    st.builds(
        ScenarioStep,
        name=st.just("step"),
        expect=st.sampled_from([("9000",), ("63C2", "9000")]),
        command=st.sampled_from(["00A4040C0AD392F000260100000001", "00A40000", "0020008004313233", "00"]),
    )
    | st.just(
        ScenarioStep(
            name="pin", expect=("9000",), verify_holder=HolderVerification(header="00200080", digits=4)
        )
    ),
    min_size=1,
    max_size=4,
).map(tuple)
SAID = st.one_of(
    st.just(Welcome(terminal="ward-3", heartbeat_ms=1_000, issuer=NAME)),
    st.builds(
        Start,
        session=IDS,
        reader=st.sampled_from(["desk-1", "desk-2"]),
        mode=st.sampled_from(Mode),
        wait_ms=st.just(1_000),
    ),
    st.builds(Scenario, session=IDS, seq=st.integers(0, 2), deadline_ms=st.just(1_000), steps=STEPS),
    st.builds(SignedScenario, jws=st.sampled_from(["a.b.c", "e30.e30.AAAA"])),
    st.builds(Result, session=IDS, outcome=st.sampled_from(Outcome), code=st.sampled_from([None, "hsm_busy"])),
    st.builds(ApplianceProblem, code=st.just("internal"), session=st.none() | IDS),
    st.builds(Abort, session=IDS),
    st.just(Drain(retry_ms=1_000)),
)  # fmt: skip
FRAMES = st.lists(
    SAID.map(lambda said: WSMessage(WSMsgType.TEXT, messages.encode(said), None))
    | st.text(max_size=20).map(lambda text: WSMessage(WSMsgType.TEXT, text, None))
    | st.binary(max_size=20).map(lambda data: WSMessage(WSMsgType.BINARY, data, None))
    | st.just(WSMessage(WSMsgType.PING, b"", None))
    | st.just(WSMessage(WSMsgType.ERROR, None, None)),
    max_size=12,
)


def beginnings() -> Iterator[list[WSMessage]]:
    """Yield nothing, and a welcome: most of what can go wrong comes after it."""
    welcome = Welcome(terminal="ward-3", heartbeat_ms=1_000, issuer=NAME)
    yield []
    yield [WSMessage(WSMsgType.TEXT, messages.encode(welcome), None)]


@settings(max_examples=150, deadline=None)
@given(
    frames=FRAMES,
    beginning=st.sampled_from(list(beginnings())),
    card=st.sampled_from([no_card, never_a_card]),
    signed=st.booleans(),
)
def test_any_frames_end_a_connection_and_nothing_else(
    frames: list[WSMessage], beginning: list[WSMessage], card: object, *, signed: bool
) -> None:
    """Whatever comes in whatever order, the connection ends with a reason and a code; nothing is raised or left behind."""

    async def play() -> tuple[Parting, Frames]:
        unhandled: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
        socket = Frames([*beginning, *frames])
        board = Board(("desk-1",))
        equipment = Equipment(
            SimpleNamespace(card=card),  # type: ignore[arg-type]  # the one thing that is asked of readers
            PROFILE,
            board,
            PinEntry.SCREEN,
            lambda _reader, _given_up, _silent: None,
            lambda: 0.0,
        )
        hello = Hello(
            software="test",
            version="0",
            nonce="0" * 32,
            readers=(Reader(alias="desk-1"),),
            require_signed=signed,
        )
        connection = Connection(socket, equipment, Places(("desk-1",), lambda *_: None), hello, None)  # type: ignore[arg-type]  # a fake
        async with asyncio.timeout(PATIENCE):
            parting = await connection.run()
        assert unhandled == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return parting, socket

    parting, socket = asyncio.run(play())
    assert parting.reason
    assert socket.close_code in {1000, 4001, 4002, 4003, 4005}

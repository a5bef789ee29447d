"""How the daemon begins, what keeps it from beginning, how it bears what happens, and how it ends."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance import config
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.note import KeyType, Note, VerifierKey
from appliance.ledger.place import store
from tests.daemon.process import ORDER, SECONDS, UNPRIVILEGED, Daemon, Site, begun, session, started

CONFIG_STATUS = 78


async def until(ready: Callable[[int, Any], bool], site: Site) -> dict[str, Any]:
    """Ask `/readyz` until its status and body are as *ready* wants; return the body."""
    async with asyncio.timeout(SECONDS), session(site) as client:
        while True:
            async with client.get("/readyz") as answer:
                body: dict[str, Any] = await answer.json()
                if ready(answer.status, body):
                    return body
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def waiting(client: aiohttp.ClientSession) -> AsyncIterator[str]:
    """Have an authentication wait for a card; give its address."""
    async with client.post("/v1/authentications", json=ORDER) as answer:
        assert answer.status == 201, await answer.text()
        yield answer.headers["Location"]


def test_root_is_refused() -> None:
    """With all privileges it does not start, whatever the configuration; the status says that a restart won't help."""
    mapped = ("unshare", "--user", "--map-root-user", "--") if os.geteuid() else ()
    done = subprocess.run(
        (*mapped, sys.executable, "-m", "appliance", "serve", "--config", "/nowhere.toml"),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == CONFIG_STATUS
    assert done.stderr.startswith("[root_refused]")


def test_a_bad_configuration_ends_it_before_anything_is_touched(site: Site, folder: Path) -> None:
    """The code is told, the status is 78, and no worker, socket or ledger was begun."""
    with site.changed((' = "pseudonym.key"', ' = "nowhere.key"')), begun(site, folder) as daemon:
        assert daemon.process.wait(SECONDS) == CONFIG_STATUS
        assert "[config_invalid]" in daemon.log.read_text()
    assert not site.socket.exists()
    assert not (site.folder / "ledger").exists()


def test_a_refused_pin_is_not_tried_again(site: Site, folder: Path) -> None:
    """The status says that a restart won't help, and a marker keeps the next start from trying."""
    pin = site.folder / "softhsm" / "user.pin"
    right = pin.read_bytes()
    tokens = shutil.copytree(site.folder / "softhsm" / "tokens", folder / "tokens")
    pin.write_bytes(b"00000000")
    try:
        for _ in range(2):
            with begun(site, folder) as daemon:
                assert daemon.process.wait(SECONDS) == CONFIG_STATUS
                assert "[hsm_pin_rejected]" in daemon.log.read_text()
    finally:
        pin.write_bytes(right)
        # The token remembers the wrong PIN, too.
        shutil.copytree(tokens, site.folder / "softhsm" / "tokens", dirs_exist_ok=True)
        (marker,) = (site.folder / "state").glob("pin-rejected-*")
        marker.unlink()


async def test_an_hsm_that_is_away_at_the_start_is_waited_for(site: Site, folder: Path) -> None:
    """It serves all the same, says that it is not ready, and is once the HSM is back; nobody restarts anything."""
    with contextlib.ExitStack() as stack:
        with site.without_hsm():
            daemon = stack.enter_context(begun(site, folder))
            await asyncio.to_thread(daemon.hear, "READY=1")
            body = await until(lambda status, _: status == 503, site)
            assert body == {"ready": False, "causes": ["hsm"]}
            async with session(site) as client, client.get("/healthz") as answer:
                assert answer.status == 200
        await until(lambda status, _: status == 200, site)
        with site.without_hsm():
            await until(lambda status, _: status == 503, site)
        await until(lambda status, _: status == 200, site)


async def test_what_is_under_way_ends_before_it_does(site: Site, folder: Path) -> None:
    """After SIGTERM the patient at the desk is still served, the next one is sent on, and systemd knows."""
    with started(site, folder) as daemon:
        async with session(site) as client, waiting(client) as address:
            daemon.process.terminate()
            await asyncio.to_thread(daemon.hear, "STOPPING=1")
            async with client.post("/v1/authentications", json=ORDER) as answer:
                assert (answer.status, (await answer.json())["code"]) == (503, "gateway_draining")
                assert int(answer.headers["Retry-After"]) > 0
            body = await until(lambda status, _: status == 503, site)
            assert "draining" in body["causes"]
            with site.card():
                async with client.get(f"{address}?wait=20") as answer:
                    job = await answer.json()
        assert job["state"] == "authenticated", job
        assert daemon.process.wait(SECONDS) == 0
    assert not site.socket.exists()


async def test_asked_twice_it_does_not_wait(site: Site, folder: Path) -> None:
    """A second SIGTERM cancels what is under way."""
    with started(site, folder) as daemon:
        async with session(site) as client, waiting(client) as address:
            daemon.process.terminate()
            await asyncio.to_thread(daemon.hear, "STOPPING=1")
            asking = asyncio.create_task(client.get(f"{address}?wait=20"))
            await until(lambda status, _: status == 503, site)
            daemon.process.terminate()
            async with await asking as answer:
                job = await answer.json()
        assert (job["state"], job["problem"]["code"]) == ("cancelled", "gateway_draining")
        assert daemon.process.wait(SECONDS) == 0


async def test_the_last_checkpoint_leaves_though_a_place_is_slow(site: Site, folder: Path) -> None:
    """Who ends in the evening leaves no entry without a copy, though the one before it is on its way still."""
    sizes: list[int] = []
    slow, asked = asyncio.Event(), asyncio.Event()

    async def witness(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = await reader.readexactly(int(head.split("content-length:")[1].split()[0]))
        sizes.append(Checkpoint.from_text(Note.from_bytes(body.partition(b"\n\n")[2]).text).size)
        if slow.is_set() and not asked.is_set():
            asked.set()
            await reader.read()  # it answers nothing until that is given up
        else:
            writer.write(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    key = VerifierKey("witness.example.jp", KeyType.COSIGNATURE, Ed25519PrivateKey.generate().public_key())
    server = await asyncio.start_server(witness, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        with site.changed(), site.card():
            site.add(f'[[ledger.witness]]\nurl = "{url}"\nkey = "{key.to_text()}"\n')
            with begun(site, folder) as daemon:
                await asyncio.to_thread(daemon.hear, "READY=1")
                slow.set()
                async with session(site) as client:
                    for wanted in (asked.wait(), asyncio.sleep(0)):
                        async with client.post("/v1/authentications?wait=20", json=ORDER) as answer:
                            assert (await answer.json())["state"] == "authenticated"
                        await asyncio.wait_for(wanted, SECONDS)
                assert await asyncio.to_thread(daemon.end) == 0
    with store(config.load(site.file)).reading() as log:
        assert sizes[-1] == log.head().size > 0


async def test_the_watchdog_starves_when_the_ledger_cannot_write(site: Site, folder: Path) -> None:
    """Signs of life come as long as entries can be made durable; then systemd hears why not, and so does `/readyz`."""
    with started(site, folder, {"WATCHDOG_USEC": "900000"}) as daemon:
        await asyncio.to_thread(daemon.hear, "WATCHDOG=1")
        database = sqlite3.connect(site.folder / "ledger" / "ledger.sqlite3", isolation_level=None)
        database.execute("BEGIN EXCLUSIVE")
        try:
            told = len(daemon.messages)
            await asyncio.to_thread(daemon.hear, "STATUS=the ledger does not write: ledger_unavailable", told)
            told = len(daemon.messages)
            body = await until(lambda status, _: status == 503, site)
            assert body["causes"] == ["ledger"]
            assert "WATCHDOG=1" not in daemon.messages[told:]
        finally:
            database.execute("ROLLBACK")
            database.close()
        await asyncio.to_thread(daemon.hear, "WATCHDOG=1", len(daemon.messages))
        await until(lambda status, _: status == 200, site)


async def test_a_daemon_that_hangs_gives_no_sign_of_life(site: Site, folder: Path) -> None:
    """Stopped as a whole, it is silent: no thread feeds the watchdog on its own."""
    with started(site, folder, {"WATCHDOG_USEC": "300000"}) as daemon:
        await asyncio.to_thread(daemon.hear, "WATCHDOG=1")
        daemon.process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, daemon.process.pid, os.WSTOPPED | os.WNOWAIT)
        told = len(daemon.messages)
        await asyncio.sleep(0.5)
        assert daemon.messages[told:] == []
        daemon.process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(daemon.hear, "WATCHDOG=1", told)


LAUNCHER = """
import os, socket, sys
path, *command = sys.argv[1:]
own = socket.socket(socket.AF_UNIX)
own.bind(path)
own.listen()
os.dup2(own.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="jpki-appliance.socket")
os.execv(command[0], command)
"""


async def test_a_socket_that_systemd_hands_over_is_used(site: Site, folder: Path) -> None:
    """It takes the place of the configured one, and is left alone at the end: it is systemd's."""
    path = folder / "handed.sock"
    launcher = (sys.executable, "-c", LAUNCHER, str(path))
    with started(site, folder, launcher=launcher) as daemon:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
            client.get("http://appliance/v1/terminals") as answer,
        ):
            assert answer.status == 200
        assert not site.socket.exists()
        assert daemon.end() == 0
    assert path.is_socket()


def test_two_at_one_socket_are_one_too_many(site: Site, folder: Path) -> None:
    """A second daemon does not take the first one's socket; one that a killed daemon left behind is replaced."""
    with started(site, folder) as first:
        first.process.kill()
        first.process.wait()
        assert site.socket.is_socket()
    with started(site, folder), socket.socket(socket.AF_UNIX) as client:
        assert site.socket.stat().st_mode & 0o777 == 0o660
        client.connect(str(site.socket))
        other = folder / "other"
        other.mkdir()
        # The ledger, which is its own too, is what a second one meets first.
        with begun(site, other) as second:
            assert second.process.wait(SECONDS) != 0


def test_ended_before_it_is_ready_it_ends_in_order(site: Site, folder: Path) -> None:
    """SIGTERM while the HSM is still being opened ends it, with nothing left behind."""
    with begun(site, folder) as daemon:
        daemon.hear("STATUS=starting")
        assert daemon.end() == 0
    assert not site.socket.exists()


def test_the_account_is_not_root(daemon: Daemon) -> None:
    """What these tests rest on: the daemon they speak with has no privilege."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    assert [line for line in status.splitlines() if line.startswith("CapEff:")] == [
        "CapEff:\t0000000000000000"
    ]
    assert UNPRIVILEGED or os.geteuid()

"""
A ward with everything that alerts are about, and ways to make each part ill.

One site, whose daemon runs on a machine of its own as far as alerts go (`machine`): its ledger lies on a small file
system, its HSM is reached through a module that misbehaves on demand, a terminal is connected, an eligibility service
is configured where nobody listens. A Prometheus watches it.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.hsm import softhsm
from appliance.simulator.card import SoftwareCard
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import Fault, FaultyCard
from appliance.simulator.holder_pki import HolderAuthority
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.people import AOBA
from appliance.simulator.reader import inserted
from tests.daemon.process import (
    NOBODY,
    ORDER,
    SECONDS,
    UNPRIVILEGED,
    Daemon,
    Site,
    free_port,
    session,
    started,
)
from tests.daemon.tls import client_context
from tests.eligibility.fhir_service import certify
from tests.monitoring.machine import Machine
from tests.monitoring.prometheus import prometheus
from tests.shim.rules import Action, Function, Rules, compiled

LOCAL, REMOTE = "desk-1", "ward-1.reader-1"
_WORKERS: Final = 2
_CONNECTIONS: Final = 32
_SHORT_LIFE: Final = 8
"""Seconds for which a list counts that is to end while somebody waits for that."""
_SIZE: Final = 32 << 20
"""Of the ledger's file system: more than hundreds of refusals need, since the write-ahead log grows until 64 MiB."""
_ON_ITS_OWN: Final = 'mount -t tmpfs -o size={size},mode=700 none "$0" && exec unshare --user --map-user={user} --map-group={group} -- "$@"'
_OPERATOR: Final = """
[[peer]]
alias = "operator-2"
role = "operator"
certificate_name = "operator-2.example.jp"
"""
_ELIGIBILITY: Final = """
[eligibility]
url = "https://127.0.0.1:{port}/fhir"
authorities = "eligibility/ca.pem"
client_certificate = "eligibility/client.pem"
client_key_file = "eligibility/client-key.pem"
"""


@dataclass
class Ward:
    """The *site*, its *daemon* in *folder*, and the address of its Prometheus."""

    site: Site
    folder: Path
    machine: Machine
    rules: Rules
    holders: HolderAuthority
    """The third generation of the holders' CA."""
    target: str
    prometheus: str = ""
    daemon: Daemon = field(init=False)
    _is_small: bool = False
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    # --- the daemon ------------------------------------------------------------------------------------------

    def start(self, *, small_disk: bool = False) -> None:
        """Have the daemon run, with its ledger on a *small disk*, or where it is."""
        launcher: tuple[str, ...] = ()
        copies = self.site.folder / "copies"
        if not small_disk and self._is_small:
            # The small disk is gone with its ledger; copies of that one's checkpoints would forbid another.
            shutil.rmtree(copies)
        copies.mkdir(mode=0o700, exist_ok=True)
        self._is_small = small_disk
        if small_disk:
            user, group = (NOBODY, NOBODY) if UNPRIVILEGED else (os.geteuid(), os.getegid())
            script = _ON_ITS_OWN.format(size=_SIZE, user=user, group=group)
            ledger = self.site.folder / "ledger"
            launcher = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(ledger))
        folder = Path(tempfile.mkdtemp(prefix="daemon-", dir=self.folder))
        environment = self.machine.environment
        self.daemon = self._running.enter_context(started(self.site, folder, environment, launcher=launcher))

    def end(self) -> None:
        """End it as systemd does."""
        self._running.close()

    def kill(self) -> None:
        """Have it end without a word."""
        self.daemon.process.kill()
        self.daemon.process.wait(SECONDS)
        self._running.close()

    @property
    def workers(self) -> list[int]:
        """The daemon's processes that log in to the HSM."""
        process = self.daemon.process.pid
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [
            int(pid)
            for pid in children
            if b"appliance.hsm.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    # --- cards -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def card(self, *faults: Fault, **changes: Any) -> Iterator[None]:  # noqa: ANN401  # what a card has, of several types
        """Have a card with *faults*, and *changes* to what is on it, on the reader for the length of a block."""
        (reader,) = self.site.pcscd.readers
        data = replace(CardData.load(self.site.folder / "card"), **changes)
        with inserted(FaultyCard(SoftwareCard(data), faults), reader.host, reader.port):
            yield

    @property
    def of_the_new_generation(self) -> dict[str, bytes]:
        """What a card has whose certificate the third generation of the CA has signed."""
        key = CardData.load(self.site.folder / "card").private_key.public_key()
        certificate = self.holders.certificate(key, now=datetime.now(UTC))
        authority = self.holders.generations[-1].certificate
        return {
            "certificate": certificate.public_bytes(Encoding.DER),
            "ca_certificate": authority.public_bytes(Encoding.DER),
        }

    # --- what becomes ill --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Have no room on the ledger's file system for the length of a block."""
        # The file system is in the daemon's own view of the machine.
        ballast = Path(f"/proc/{self.daemon.process.pid}/root{self.site.folder}/ledger/ballast")
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        try:
            yield
        finally:
            ballast.unlink()

    @contextlib.contextmanager
    def no_copies(self) -> Iterator[None]:
        """Have no way into the folder for copies of checkpoints for the length of a block."""
        copies = self.site.folder / "copies"
        copies.chmod(0)
        try:
            yield
        finally:
            copies.chmod(0o700)

    @contextlib.contextmanager
    def token_kept(self) -> Iterator[None]:
        """Have the token afterwards as it was before. The block ends the daemon."""
        tokens = self.site.folder / "softhsm" / "tokens"
        kept = Path(shutil.copytree(tokens, tokens.with_name("kept")))
        yield
        shutil.rmtree(tokens)
        kept.rename(tokens)

    @contextlib.contextmanager
    def hsm(self, function: Function, action: Action, value: int = 0) -> Iterator[None]:
        """Have the HSM's module do *action* with calls of *function* for the length of a block."""
        self.rules.set(function, action, value)
        try:
            yield
        finally:
            self.rules.lift(function)

    async def workers_ready(self) -> None:
        """Wait until both workers are there and none is logging in: only then may the token or they be touched."""
        wanted = re.compile(
            r'^jpki_hsm_workers\{hsm="hsm-1",state="(?:ready|busy)"\} ([0-9.]+)$', re.MULTILINE
        )
        async with asyncio.timeout(3 * SECONDS), aiohttp.ClientSession() as client:
            while True:
                async with client.get(f"http://{self.target}/metrics") as answer:
                    found = wanted.findall(await answer.text())
                # One that was given up may not have ended yet.
                if sum(map(float, found)) == len(self.workers) == _WORKERS:
                    return
                await asyncio.sleep(0.1)

    async def lose_workers(self, number: int) -> None:
        """Have so many workers killed."""
        await self.workers_ready()
        for pid in self.workers[:number]:
            os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def silent_pcscd(self) -> Iterator[None]:
        """Have pcscd hang for the length of a block."""
        process = self.site.pcscd.process_id
        assert process is not None
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    def certify_server(self, left: timedelta) -> None:
        """Have a certificate for the listener of which so much is *left*."""
        authority = self.site.authority
        long_ago = replace(authority, now=datetime.now(UTC) + left - timedelta(days=365))
        long_ago.issue_server(self.site.folder / "tls" / "server.pem", ("localhost",))

    def certify_operator(self, left: timedelta) -> None:
        """Have a certificate for an operator of which so much is *left*."""
        long_ago = replace(self.site.authority, now=datetime.now(UTC) + left - timedelta(days=365))
        long_ago.issue_client(self.site.folder / "tls" / "operator-2.pem", "operator-2.example.jp")

    async def look(self) -> None:
        """Have that operator ask how the appliance is."""
        url = f"https://localhost:{self.site.port}/v1/status"
        tls = client_context(self.site, "operator-2")
        async with aiohttp.ClientSession() as client, client.get(url, ssl=tls) as answer:
            assert answer.ok

    def trust_the_new_generation(self) -> None:
        """Have the configuration name the third generation of the CA, of which no list has come."""
        self.site.change(('"authorities/ca-2.pem"]', '"authorities/ca-2.pem", "authorities/ca-3.pem"]'))

    def deliver_list(self, life: timedelta) -> None:
        """Have the new generation's list, which counts for so long, and name no other after it."""
        crl = self.holders.crl(AOBA, now=datetime.now(UTC), life=life)
        folder = self.site.folder / "revocation" / "lists"
        unfinished = folder / ".generation-3"
        unfinished.write_bytes(crl.public_bytes(Encoding.DER))
        unfinished.rename(folder / "generation-3.crl")

    def deliver_lists_that_end(self) -> Callable[[], Awaitable[None]]:
        """Return what delivers a list that soon ends, and a longer one once that has: it may have come too late to be imported."""
        seconds, ends = _SHORT_LIFE, 0.0

        async def deliver() -> None:
            nonlocal seconds, ends
            if time.time() > ends + _SHORT_LIFE:
                self.deliver_list(timedelta(seconds=seconds))
                seconds, ends = 2 * seconds, time.time() + seconds
            await asyncio.sleep(0.1)

        return deliver

    def tool(self, *arguments: str) -> None:
        """Have OpenSC's pkcs11-tool do something with the token."""
        token = self.site.folder / "softhsm"
        pin = (token / softhsm.USER_PIN).read_text().strip()
        module = ("pkcs11-tool", "--module", str(softhsm.MODULE), "--token-label", softhsm.TOKEN_LABEL)
        subprocess.run(
            (*module, "--login", "--pin", "env:TEST_PIN", *arguments),
            env={**os.environ, **softhsm.environment(token), "TEST_PIN": pin},
            check=True,
            capture_output=True,
        )

    # --- who asks ------------------------------------------------------------------------------------------------

    async def ask(self, desk: str = LOCAL, *, eligibility: bool = False) -> str:
        """Have somebody authenticated at *desk*; return how that ended."""
        async with self.reception() as client:
            order = {**ORDER, "desk": desk, "eligibility": eligibility}
            async with client.post("/v1/authentications?wait=30", json=order) as answer:
                job: Mapping[str, Any] = await answer.json()
        if job.get("state") == "authenticated":
            return "authenticated"
        return str(job.get("problem", job).get("code"))

    @contextlib.asynccontextmanager
    async def waiting(self, desk: str) -> AsyncIterator[None]:
        """Have somebody wait for a card at *desk* for the length of a block."""
        async with self.reception() as client:
            async with client.post("/v1/authentications", json={**ORDER, "desk": desk}) as answer:
                job = await answer.json()
            yield
            async with client.delete(f"/v1/authentications/{job['id']}") as answer:
                assert answer.ok

    @contextlib.contextmanager
    def strangers(self) -> Iterator[None]:
        """Have more connections than there is room for, of somebody who says nothing, for the length of a block."""
        with contextlib.ExitStack() as connections:
            for _ in range(2 * _CONNECTIONS):
                connections.enter_context(socket.create_connection(("127.0.0.1", self.site.port)))
            yield

    @contextlib.asynccontextmanager
    async def emergency(self) -> AsyncIterator[None]:
        """Have a window open in which nobody checks holders, for the length of a block."""
        until = (datetime.now(UTC) + timedelta(minutes=10)).isoformat()
        proposed = await self._operator("operator-1", "POST", "", {"reason": "drill", "until": until})
        await self._operator("operator-2", "POST", f"/{proposed['id']}/confirmation", {"confirm": True})
        yield
        await self._operator("operator-1", "DELETE", f"/{proposed['id']}", None)

    async def _operator(self, name: str, method: str, path: str, body: object) -> Mapping[str, Any]:
        url = f"https://localhost:{self.site.port}/v1/emergency-windows{path}"
        tls = client_context(self.site, name)
        async with (
            aiohttp.ClientSession() as client,
            client.request(method, url, json=body, ssl=tls, raise_for_status=True) as answer,
        ):
            told: Mapping[str, Any] = await answer.json()
        return told

    def reception(self) -> aiohttp.ClientSession:
        """Return a client of the daemon."""
        return session(self.site)

    @contextlib.asynccontextmanager
    async def terminal(self) -> AsyncIterator[None]:
        """Have the remote terminal connected for the length of a block."""
        command = (*UNPRIVILEGED, sys.executable, "-m", "appliance", "terminal", "--config")
        with (self.folder / "terminal").open("ab") as output:
            process = subprocess.Popen(  # noqa: ASYNC220 - it is not waited for
                (*command, str(self.site.folder / "terminal.toml")),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.site.environment(),
            )
        try:
            yield
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, SECONDS)


@contextlib.contextmanager
def ward() -> Iterator[Ward]:
    """Give a ward whose daemon is ready, and a Prometheus that watches it."""
    with (
        tempfile.TemporaryDirectory(prefix="ward-") as name,
        PrivatePcscd(["Virtual PCD"]) as pcscd,
        contextlib.ExitStack() as parts,
    ):
        folder = Path(name)
        site = Site.made(folder / "site", pcscd)
        machine = parts.enter_context(Machine(folder))
        rules = parts.enter_context(Rules(folder / "rules", str(softhsm.MODULE)))
        holders = HolderAuthority.create(datetime.now(UTC))
        port = free_port()
        _furnish(site, folder, rules, holders, port)
        made = Ward(site, folder, machine, rules, holders, f"127.0.0.1:{port}")
        made.start(small_disk=True)
        parts.callback(made.end)
        watch = folder / "prometheus"
        watch.mkdir()
        made.prometheus = parts.enter_context(prometheus(made.target, watch))
        yield made


def _furnish(site: Site, folder: Path, rules: Rules, holders: HolderAuthority, port: int) -> None:
    shim = compiled(folder)
    environment = "\n".join(f'{name} = "{value}"' for name, value in rules.environment.items())
    vendor = (Path(softhsm.__file__).parents[2] / "hsm-config" / "vendors" / "softhsm.toml").read_text()
    # One that waits for long before it gives a silent module up.
    (site.folder / "vendor.toml").write_text(f"{vendor}\n[limits]\noperation_seconds = 30.0\n")
    authority = holders.generations[-1].certificate
    (site.folder / "authorities" / "ca-3.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    site.change(
        ("\nport = 0\n", f"\nport = {port}\n"),
        ('\nvendor = "softhsm"\n', '\nvendor = "vendor.toml"\n'),
        (f'\nmodule = "{softhsm.MODULE}"\n', f'\nmodule = "{shim}"\n'),
        (
            '\nSOFTHSM2_CONF = "./softhsm/softhsm2.conf"\n',
            f'\nSOFTHSM2_CONF = "./softhsm/softhsm2.conf"\n{environment}\n',
        ),
        ("canary_seconds = 1.0", "canary_seconds = 2.0"),
        # Nothing else is to become ill because tests keep the machine busy.
        ("sign_seconds = 4.0", "sign_seconds = 30.0"),
        ("watch_seconds = 10.0", "watch_seconds = 1.0"),
        ('copies = "ledger/checkpoints"', 'copies = "copies"'),
        ("\nauthentications = 256\n", "\nauthentications = 2\n"),
        ("\nconnections = 4096\n", f"\nconnections = {_CONNECTIONS}\n"),
        ("\nemergency_hours = 0.0\n", "\nemergency_hours = 1.0\n"),
    )
    certify(site.folder / "eligibility", site.authority)
    site.authority.issue_client(site.folder / "tls" / "operator-2.pem", "operator-2.example.jp")
    site.add(_OPERATOR)
    site.add(_ELIGIBILITY.format(port=free_port()))
    (site.folder / "ledger").mkdir(mode=0o700, exist_ok=True)

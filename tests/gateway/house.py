"""A gateway to be asked: real sockets, real TLS, real log and keys; the desks and the appliance behind it are made up."""

import asyncio
import grp
import os
import pwd
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.authentication import Card
from appliance.config import PeerSettings
from appliance.errors import CardAbsent, LedgerEntryAbsent
from appliance.gateway.condition import (
    CertificateEnd,
    Condition,
    Copies,
    Hsm,
    HsmKey,
    Ledger,
    Revocation,
)
from appliance.gateway.connections import Limits, Runner, SecureSite
from appliance.gateway.desks import DeskState, DeskStatus, Progress, Work
from appliance.gateway.http import application
from appliance.gateway.keys import PublishedKeys
from appliance.gateway.peers import Directory
from appliance.gateway.resources import routes
from appliance.gateway.services import PublishedLog, Services
from appliance.trust.certificates import Anchors
from appliance.trust.decision import Trust

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
AUDIENCE: Final = "reception.test"
USER: Final = pwd.getpwuid(os.getuid()).pw_name
GROUP: Final = grp.getgrgid(os.getgid()).gr_name
KEY: Final = ec.generate_private_key(ec.SECP256R1())
STATUSES: Final = (
    DeskStatus("desk-1", "local", DeskState.EMPTY, 1_767_225_600.0),
    DeskStatus("desk-2", "local", DeskState.CARD, 1_767_225_600.0),
    DeskStatus("ward-3.left", "remote", DeskState.ABSENT, 1_767_225_600.0),
)


@dataclass(slots=True)
class FakeDesks:
    """Desks at which there is never a card."""

    statuses: tuple[DeskStatus, ...] = STATUSES

    def status(self) -> tuple[DeskStatus, ...]:
        """Return how they are said to be."""
        return self.statuses

    def state(self, desk: str) -> DeskState | None:
        """Return how one of them is said to be."""
        return next((one.state for one in self.status() if one.desk == desk), None)

    def card(self, desk: str, _work: Work, _progress: Progress) -> AbstractAsyncContextManager[Card]:
        """Give no card."""

        @asynccontextmanager
        async def nothing() -> AsyncIterator[Card]:
            raise CardAbsent(f"no card was put on {desk}")
            yield

        return nothing()


class NoLog:
    """A log without a checkpoint."""

    def checkpoint(self) -> bytes:
        """Refuse."""
        raise LedgerEntryAbsent("no checkpoint has been signed yet")

    def tile(self, _path: str) -> bytes:
        """Refuse."""
        return self.checkpoint()

    def entry(self, _index: int) -> bytes:
        """Refuse."""
        return self.checkpoint()

    def proof(self, _index: int) -> bytes:
        """Refuse."""
        return self.checkpoint()


def condition(*, hsm: bool = True, ledger: bool = True, revocation: bool = True) -> Condition:
    """Return how an appliance is of which these parts are usable."""
    return Condition(
        version="1.2.3",
        time=NOW,
        started_at=NOW.timestamp() - 60,
        hsms=(
            Hsm(
                alias="hsm-1",
                state="up" if hsm else "down",
                workers={"ready": 2},
                keys=(HsmKey(label="institution", canary_at=NOW.timestamp(), canary_seconds=0.001),),
                breaker_open=not hsm,
                last_failure=None,
                pin_marker=False,
            ),
        ),
        serving="hsm-1" if hsm else None,
        queued=0,
        ledger=Ledger(
            origin="ledger.test/node-1",
            usable=ledger,
            code=None if ledger else "ledger_unavailable",
            size=12,
            checkpoint_size=12,
            failures={"folder": 1},
            copies=Copies(place=True, covered=12, at=NOW.timestamp() - 30, waiting=None),
        ),
        revocation=Revocation(
            usable=revocation,
            sources=("crl",),
            this_update=NOW.timestamp() - 3_600,
            next_update=NOW.timestamp() + (90_000 if revocation else -60),
            longest_age_hours=48.0,
            missing=(),
        ),
        certificates=(CertificateEnd(name="tls-server", not_after=NOW.timestamp() + 365 * 86_400),),
        peer_certificates=(CertificateEnd(name="desk-pc", not_after=NOW.timestamp() + 365 * 86_400),),
        clock_synchronised=True,
        authentications=0,
    )


def peer(alias: str = "reception-1", role: str = "reception", **more: object) -> PeerSettings:
    """Return a peer, known by this process' own account where nothing else is said."""
    settings: dict[str, Any] = {"alias": alias, "role": role, **more}
    if not {"certificate_sha256", "certificate_name", "group"} & set(more):
        settings.setdefault("user", USER)
    return PeerSettings(**settings)


def services(
    peers: Iterable[PeerSettings],
    *,
    trust: Trust | None = None,
    log: PublishedLog | None = None,
    keys: PublishedKeys | None = None,
    how: Callable[[], Condition] = condition,
    clock: Callable[[], datetime] = lambda: NOW,
    monotonic: Callable[[], float] = lambda: 0.0,
) -> Services:
    """Return what a gateway is made of."""
    return Services(
        directory=Directory(peers, AUDIENCE),
        desks=FakeDesks(),
        condition=how,
        keys=keys or PublishedKeys(KEY.public_key()),
        trust=trust or Trust(Anchors((NOBODY,))),
        log=log or NoLog(),
        clock=clock,
        monotonic=monotonic,
    )


@dataclass(slots=True)
class House:
    """A gateway that is served: *session* asks it over the Unix socket at *path*, or over TLS at *port*."""

    services: Services
    runner: Runner
    path: Path
    port: int | None = None
    client: ssl.SSLContext | None = None
    _sessions: list[aiohttp.ClientSession] = field(default_factory=list)

    def session(self, client: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
        """Return a client on the Unix socket; with the TLS context *client*, on the network."""
        connector: aiohttp.BaseConnector = (
            aiohttp.UnixConnector(str(self.path)) if client is None else aiohttp.TCPConnector(ssl=client)
        )
        base = "http://appliance" if client is None else f"https://127.0.0.1:{self.port}"
        made = aiohttp.ClientSession(
            base, connector=connector, timeout=aiohttp.ClientTimeout(20), auto_decompress=False
        )
        self._sessions.append(made)
        return made

    async def raw(self, *sent: bytes, eof: bool = False) -> bytes:
        """Send bytes as they are, and return all that comes until the other side ends, within 20 seconds."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            for piece in sent:
                writer.write(piece)
                await writer.drain()
            if eof:
                writer.write_eof()
            async with asyncio.timeout(20):
                return await reader.read()
        except (BrokenPipeError, ConnectionResetError):
            return b""
        finally:
            writer.close()

    async def close(self) -> None:
        """End all clients."""
        for session in self._sessions:
            await session.close()


@asynccontextmanager
async def serving(
    offered: Services,
    folder: Path,
    *,
    more: Iterable[web.RouteDef] = (),
    limits: Limits | None = None,
    server: ssl.SSLContext | None = None,
) -> AsyncIterator[House]:
    """Serve *offered*, with *more* routes, on a Unix socket, and with the context *server* on TLS too."""
    runner = Runner(application(offered, [*routes(), *more]), limits or Limits(), seconds=1.0)
    await runner.setup()
    house = House(offered, runner, folder / "gateway.sock")
    try:
        await web.UnixSite(runner, house.path).start()
        if server is not None:
            listening = socket.create_server(("127.0.0.1", 0))
            await SecureSite(runner, listening, server).start()
            house.port = listening.getsockname()[1]
        yield house
    finally:
        await house.close()
        await runner.cleanup()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something *is_so*, for 20 seconds at most."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  # nobody tells when a socket has ended at the other side
            await asyncio.sleep(0.01)


class Ca:
    """A CA for TLS, and what it has certified, as files in *folder*."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _certificate(name, self.key, None, self.key, is_ca=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def server(self) -> ssl.SSLContext:
        """Return a server's context that asks for client certificates of this CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.load_cert_chain(*self.issue("localhost"))
        context.load_verify_locations(self.path)
        return context

    def client(self, name: str | None, *, own: bool = True, days: int = 30) -> ssl.SSLContext:
        """Return a client's context with a certificate for *name*: this CA's, or not its *own*; None for no certificate."""
        context = ssl.create_default_context(cafile=str(self.path))
        context.check_hostname = False
        if name is not None:
            issuer = self if own else Ca(self.folder, f"other-{name}")
            context.load_cert_chain(*issuer.issue(name, days=days))
        return context

    def issue(self, name: str, *, days: int = 30) -> tuple[Path, Path]:
        """Return the files of a certificate for *name* and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, self.certificate, self.key, days=days)
        paths = (self.folder / f"{name}.pem", self.folder / f"{name}.key")
        paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return paths


def pin(path: Path) -> str:
    """Return what pins the certificate in *path*."""
    return sha256(x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)).hexdigest()


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool = False,
    days: int = 30,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(_key_usage(is_ca=is_ca), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign")
    unused = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not is_ca, key_cert_sign=is_ca, **unused)


_NOBODYS_KEY: Final = ec.generate_private_key(ec.SECP384R1())
NOBODY: Final = _certificate("nobody", _NOBODYS_KEY, None, _NOBODYS_KEY, is_ca=True)
"""A CA that has certified nobody's card."""

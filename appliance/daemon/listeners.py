"""
The sockets on which requests come in: our own, or those that systemd hands over (sd_listen_fds(3)).

    local     Unix socket; who may connect is its mode, 0660, who may ask what is decided later
    network   TCP with TLS 1.3; without a client certificate nobody is heard
    metrics   TCP on this machine

A TLS context cannot be told to forget a certificate, so a reload makes a new one, for handshakes that begin after it.
Connections that are there stay, unless they rest on a CA that was taken away. Those end at once, with what is under way
on them: a CA is taken away because its clients have others by now, and lose at most one attempt, or because it cannot
be trusted, and then no result may reach them any more.
"""

import os
import socket
import ssl
import stat
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiohttp import web
from cryptography import x509

from appliance.config import Configuration, TlsSettings
from appliance.errors import ConfigInvalid
from appliance.gateway.authorities import Authorities
from appliance.gateway.connections import Connection, Runner, SecureSite
from appliance.gateway.peers import Directory

_FIRST: Final = 3
"""SD_LISTEN_FDS_START."""
_MOST: Final = 16
_MODE: Final = 0o660
_BACKLOG: Final = 1024
METRICS: Final = "metrics"
"""FileDescriptorName= of a socket that systemd hands over for Prometheus."""


@dataclass(slots=True)
class Handed:
    """What systemd has handed over, by what it is for."""

    local: list[socket.socket] = field(default_factory=list)
    network: list[socket.socket] = field(default_factory=list)
    metrics: list[socket.socket] = field(default_factory=list)


def handed_over(environment: MutableMapping[str, str]) -> Handed:
    """
    Take the sockets that systemd has opened for us, and what *environment* says of them.

    A Unix socket is local, any other one for TLS, unless it is called metrics. Raises ConfigInvalid for what is no
    listening stream socket.
    """
    process, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    handed = Handed()
    if process != str(os.getpid()) or not count.isdigit():
        return handed
    if int(count) > _MOST:
        raise ConfigInvalid(f"systemd hands over {count} sockets, more than {_MOST}")
    for number in range(int(count)):
        taken = _taken(_FIRST + number)
        if number < len(names) and names[number] == METRICS:
            handed.metrics.append(taken)
        else:
            (handed.local if taken.family is socket.AF_UNIX else handed.network).append(taken)
    return handed


def _taken(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - positional only
        taken = socket.socket(fileno=descriptor)
        listens = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigInvalid(f"descriptor {descriptor}, handed over by systemd, is no socket") from error
    if not listens or taken.type is not socket.SOCK_STREAM:
        raise ConfigInvalid(f"descriptor {descriptor}, handed over by systemd, is no listening stream socket")
    return taken


@dataclass(slots=True)
class UnixListener:
    """Our own Unix socket at *path*."""

    path: Path
    socket: socket.socket
    _inode: tuple[int, int]

    @classmethod
    def open(cls, path: Path) -> "UnixListener":
        """
        Listen at *path*; raise ConfigInvalid where that cannot be, or somebody else listens there.

        It appears under its name whole, with its mode, in the place of one that a dead process has left.
        """
        _require_free(path)
        own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                unfinished.unlink()
            own.bind(str(unfinished))
            unfinished.chmod(_MODE)
            own.listen(_BACKLOG)
            unfinished.replace(path)
            status = path.lstat()
        except OSError as error:
            own.close()
            with suppress(OSError):
                unfinished.unlink()
            raise ConfigInvalid(f"gateway.socket {path}: {error.strerror or error}") from error
        return cls(path, own, (status.st_dev, status.st_ino))

    def remove(self) -> None:
        """Take the socket's name away, unless it is another one's by now."""
        with suppress(OSError):
            status = self.path.lstat()
            if (status.st_dev, status.st_ino) == self._inode:
                self.path.unlink()


def _require_free(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigInvalid(f"gateway.socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise ConfigInvalid(f"gateway.socket {path} is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the method's only argument
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise ConfigInvalid(f"gateway.socket {path}: {error.strerror or error}") from error
    raise ConfigInvalid(f"gateway.socket {path}: another process listens there")


def tcp(address: str, port: int, key: str) -> socket.socket:
    """Return a socket that listens at *address* and *port*, which the setting *key* names; or raise ConfigInvalid."""
    try:
        family, kind, protocol, _name, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
        own = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigInvalid(f"{key} {address}: {error.strerror or error}") from error
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(where)
        own.listen(_BACKLOG)
    except OSError as error:
        own.close()
        raise ConfigInvalid(f"{key} {address}, port {port}: {error.strerror or error}") from error
    return own


def server_context(configuration: Configuration, tls: TlsSettings) -> tuple[ssl.SSLContext, Authorities]:
    """
    Return how clients on the network are spoken to, and what their certificates have to lead to.

    Raises ConfigInvalid where the files do not fit together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    authorities = Authorities.from_pem(configuration.read(tls.clients))
    # A pinned certificate is its own anchor, without its CA.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    # A ticket would let a client in later without showing that its certificate still counts.
    context.num_tickets = 0
    configuration.read_secret(tls.key_file)
    configuration.read(tls.certificate)
    try:
        context.load_cert_chain(
            configuration.path(tls.certificate), configuration.path(tls.key_file), _no_passphrase
        )
    except (OSError, ValueError) as error:
        raise ConfigInvalid(
            "gateway.tls.certificate and gateway.tls.key_file are not a certificate and its key"
        ) from error
    # What the TLS library trusts is what was read, not what the file says a moment later.
    context.load_verify_locations(cadata=authorities.der)
    _require_pins_sign_nobody(configuration, authorities)
    return context, authorities


def _require_pins_sign_nobody(configuration: Configuration, authorities: Authorities) -> None:
    """Raise ConfigInvalid where somebody who is pinned could make certificates for those who are known by a name."""
    peers = configuration.settings.peer
    if not any(one.certificate_name for one in peers):
        return
    pins = {one.certificate_sha256 for one in peers if one.certificate_sha256}
    try:
        can = any(digest.hex() in pins and may_sign(one) for digest, one in authorities.certificates.items())
    except ValueError as error:
        raise ConfigInvalid("gateway.tls.clients holds no PEM certificates") from error
    if can:
        raise ConfigInvalid(
            "gateway.tls.clients: a pinned certificate may sign others (CA:TRUE), and other peers are known by name"
        )


def may_sign(certificate: x509.Certificate) -> bool:
    """Return whether *certificate* may issue others, as TLS libraries have it; raise ValueError where it cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        # OpenSSL takes an old self-signed one for a CA.
        return True


def _no_passphrase() -> str:
    """Refuse: OpenSSL would ask for it, and wait."""
    raise ValueError("a key with a passphrase cannot be used")


class Front:
    """One application on several listening sockets; after a reload, `renew` and `dismiss` end what does not count any more."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._authorities = Authorities(())
        self._sites: list[SecureSite] = []

    async def open_local(self, sockets: Iterable[socket.socket]) -> None:
        """Serve on *sockets* without TLS."""
        for one in sockets:
            await web.SockSite(self._runner, one, backlog=_BACKLOG).start()

    async def open_network(
        self, sockets: Iterable[socket.socket], context: ssl.SSLContext, authorities: Authorities
    ) -> None:
        """Serve on *sockets* with TLS by *context*, to clients whose certificates lead to *authorities*."""
        self._authorities, self._runner.door.context = authorities, context
        for one in sockets:
            site = SecureSite(self._runner, one, context, backlog=_BACKLOG)
            await site.start()
            self._sites.append(site)

    async def renew(self, context: ssl.SSLContext, authorities: Authorities) -> None:
        """Shake hands by *context* from now on; end connections that rest on what is none of the *authorities* any more."""
        is_less = authorities.lack(self._authorities)
        self._authorities, door = authorities, self._runner.door
        door.context = context
        if is_less or door.authorities is not None:
            # Also where it was an earlier reload that took somebody away: a handshake may have begun before that one.
            door.authorities = authorities
        for site in self._sites:
            site.doorstep.context = context

        def rests_on_nothing(connection: Connection) -> bool:
            shown = connection.certificate
            return shown is not None and not authorities.vouch_for(shown)

        if is_less:
            await self._runner.end(rests_on_nothing, "authority-removed")

    async def dismiss(self, before: Directory, directory: Directory) -> None:
        """
        End the connections of those who are not by *directory* who they were *before*, with requests that are under way.

        Terminals' WebSockets are ended by `terminals.relay`, which tells them why.
        """
        now = datetime.now(UTC)
        await self._runner.end(
            lambda one: one.is_request and directory.is_another(before, one.credentials, now), "peer-removed"
        )

    @property
    def waiting(self) -> int:
        """How many have connected over the network and have not shown yet who they are."""
        return sum(site.doorstep.waiting for site in self._sites)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of the network."""
        return tuple(site.doorstep.listening.getsockname()[1] for site in self._sites)

"""
Who is asking.

    TLS          the client's certificate: pinned by its SHA-256, or by a DNS name in it. The TLS library has seen to it
                 that it leads to `gateway.tls.clients`.
    Unix socket  the account of the process that connected, as the kernel knows it: its user, or one of its groups

A pin is looked for before a name, a user before a group, and peers in the order of the configuration. Whoever is not
found is nobody, on every kind of connection. Credentials belong to a connection; who they stand for is looked up at each
request, so that a reload of the configuration counts from the next request on.
"""

import array
import grp
import pwd
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from ssl import SSLObject
from typing import Any, Final, Protocol, TypeAlias

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from appliance.config import BudgetSettings, PeerSettings
from appliance.errors import ConfigInvalid, PeerUnknown

_CREDENTIALS: Final = struct.Struct("iII")
"""struct ucred: process, user, group (unix(7))."""
_SO_PEERGROUPS: Final = getattr(socket, "SO_PEERGROUPS", 59)
_MOST_GROUP_BYTES: Final = 1024
"""What one call may return: 256 groups. Of a process that has more, none counts but its own."""


class Role(StrEnum):
    """What somebody is here for."""

    TERMINAL = "terminal"
    RECEPTION = "reception"
    OPERATOR = "operator"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody who is configured. Results are for *audience*; *desks* are those that may be used, all where none is named."""

    alias: str
    role: Role
    audience: str
    desks: frozenset[str] = frozenset()
    budget: BudgetSettings = field(default_factory=BudgetSettings)

    def may_use(self, desk: str) -> bool:
        """Return whether the peer may use *desk*."""
        return not self.desks or desk in self.desks


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client certificate that TLS has accepted: hash of its DER, DNS names in lower case, and its end."""

    sha256: str
    names: tuple[str, ...]
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """User and groups of the process at the other end of a Unix socket."""

    uid: int
    groups: frozenset[int]


Credentials: TypeAlias = Certificate | Account


class Transport(Protocol):
    """The part of a connection that knows of its other end."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  # asyncio's own signature
        """Return what is known under *name*."""


def credentials(transport: Transport | None) -> Credentials | None:
    """Return what the connection *transport* says of who is at its other end; None where it says nothing."""
    if transport is None:
        return None
    tls: SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is not None:
        der = tls.getpeercert(binary_form=True)
        return None if der is None else certificate(der)
    connection = transport.get_extra_info("socket")
    return account(connection) if connection is not None and connection.family == socket.AF_UNIX else None


def certificate(der: bytes) -> Certificate | None:
    """Return what counts of the certificate *der*; None where it cannot be read."""
    try:
        parsed = x509.load_der_x509_certificate(der)
        return Certificate(sha256(der).hexdigest(), _dns_names(parsed), parsed.not_valid_after_utc)
    except ValueError:
        return None


def _dns_names(parsed: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = parsed.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        return ()
    names = extension.value
    if not isinstance(names, x509.SubjectAlternativeName):
        return ()
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))


def account(connection: socket.socket) -> Account | None:
    """Return whose process is at the other end of the Unix socket *connection*."""
    try:
        # asyncio's and uvloop's own objects do not all know `getsockopt`; a duplicate of the descriptor does.
        with socket.socket(fileno=socket.dup(connection.fileno())) as own:
            raw = own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _process, uid, gid = _CREDENTIALS.unpack(raw)
            groups = {gid}
            with suppress(OSError):
                groups.update(
                    array.array("I", own.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUP_BYTES))
                )
    except OSError:
        return None
    return Account(uid, frozenset(groups))


class Directory:
    """All peers that are configured."""

    def __init__(self, peers: Iterable[PeerSettings], audience: str) -> None:
        """Take *peers* and the *audience* of those that name none; raise ConfigInvalid for an account that does not exist."""
        self._by_pin: dict[str, Peer] = {}
        self._by_name: dict[str, Peer] = {}
        self._by_user: dict[int, Peer] = {}
        self._by_group: dict[int, Peer] = {}
        self.peers: dict[str, Peer] = {}
        """Each by its alias."""
        for one in peers:
            peer = Peer(one.alias, Role(one.role), one.audience or audience, frozenset(one.desks), one.budget)
            self.peers[peer.alias] = peer
            if one.certificate_sha256 is not None:
                self._by_pin.setdefault(one.certificate_sha256, peer)
            if one.certificate_name is not None:
                self._by_name.setdefault(one.certificate_name.lower(), peer)
            if one.user is not None:
                self._by_user.setdefault(_uid(one.alias, one.user), peer)
            if one.group is not None:
                self._by_group.setdefault(_gid(one.alias, one.group), peer)

    @property
    def terminals(self) -> list[str]:
        """The aliases of all terminals, connected or not."""
        return [alias for alias, peer in self.peers.items() if peer.role is Role.TERMINAL]

    def identify(self, shown: Credentials | None, now: datetime) -> Peer:
        """Return who showed these credentials, or raise PeerUnknown."""
        match shown:
            case Certificate():
                if now >= shown.not_after:
                    # The connection may have outlived it.
                    raise PeerUnknown("the client certificate has ended")
                found = self.whose(shown)
            case Account():
                found = self._by_user.get(shown.uid) or _first(self._by_group, shown.groups)
            case None:
                found = None
        if found is None:
            raise PeerUnknown("no peer of the configuration has this certificate or account")
        return found

    def whose(self, shown: Certificate) -> Peer | None:
        """Return whom the certificate stands for, whether or not it has ended; None for nobody."""
        return self._by_pin.get(shown.sha256) or _first(self._by_name, shown.names)

    def is_another(self, before: "Directory", shown: Credentials | None, now: datetime) -> bool:
        """Return whether who showed these credentials was somebody *before*, and is nobody now, or somebody else."""
        try:
            was = before.identify(shown, now)
        except PeerUnknown:
            return False
        try:
            found = self.identify(shown, now)
        except PeerUnknown:
            return True
        return (found.alias, found.role) != (was.alias, was.role)


def _first(known: dict[Any, Peer], shown: Iterable[Any]) -> Peer | None:
    """Return the peer that is configured first among those of which something in *shown* is *known*."""
    offered = set(shown)
    return next((peer for key, peer in known.items() if key in offered), None) if known else None


def _uid(alias: str, user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise ConfigInvalid(f"peer '{alias}': there is no account '{user}'") from error


def _gid(alias: str, group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ConfigInvalid(f"peer '{alias}': there is no group '{group}'") from error

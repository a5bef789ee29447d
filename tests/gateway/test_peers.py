"""Who is asking: certificates and accounts, by real TLS and real sockets."""

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import PeerSettings
from appliance.errors import ConfigInvalid, PeerUnknown
from appliance.gateway.connections import Limits
from appliance.gateway.doorstep import Patience
from appliance.gateway.peers import Account, Certificate, Credentials, Directory, Role, account, certificate
from tests.gateway.house import AUDIENCE, GROUP, NOW, USER, Ca, House, peer, pin, services, serving

HASH = "ab" * 32
LATER = NOW + timedelta(days=1)


def found(shown: Credentials | None, *peers: PeerSettings) -> str:
    """Return the alias of who shows these credentials."""
    return Directory(peers, AUDIENCE).identify(shown, NOW).alias


def test_a_certificate_is_known_by_its_pin_or_by_a_name_in_it() -> None:
    """The pin counts before the name; names are compared without case and as a whole."""
    pinned = peer("pinned", certificate_sha256=HASH)
    named = peer("named", certificate_name="Ward-3.clinic.test")
    assert found(Certificate(HASH, ("ward-3.clinic.test",), LATER), named, pinned) == "pinned"
    assert (
        found(Certificate("cd" * 32, ("other.test", "ward-3.clinic.test"), LATER), named, pinned) == "named"
    )


@pytest.mark.parametrize(
    "shown",
    [
        None,
        Account(os.getuid(), frozenset()),
        Certificate("cd" * 32, (), LATER),
        Certificate("cd" * 32, ("ward-3.clinic.test.evil.test", "*.clinic.test", "clinic.test"), LATER),
        Certificate(HASH, ("ward-3.clinic.test",), NOW),
    ],
)
def test_everybody_else_is_nobody(shown: Credentials | None) -> None:
    """No credentials, those of another kind, names that only look alike, and a certificate that has ended."""
    with pytest.raises(PeerUnknown):
        found(shown, peer("a", certificate_sha256=HASH), peer("b", certificate_name="ward-3.clinic.test"))


def test_an_account_is_known_by_its_user_or_by_a_group() -> None:
    """The user counts before the group, and groups in the order of the configuration."""
    user, group = peer("user", user=USER), peer("group", group=GROUP)
    shown = Account(os.getuid(), frozenset({os.getgid()}))
    assert found(shown, group, user) == "user"
    assert found(shown, group) == "group"
    assert found(Account(54_321, frozenset({7, os.getgid()})), group, user) == "group"
    with pytest.raises(PeerUnknown):
        found(Account(54_321, frozenset({54_321})), group, user)


def test_without_peers_nobody_is_known() -> None:
    """A configuration that names nobody lets nobody in, not even who runs the appliance."""
    with pytest.raises(PeerUnknown):
        found(Account(os.getuid(), frozenset({os.getgid()})))


@pytest.mark.parametrize("settings", [{"user": "no-such-account"}, {"group": "no-such-group"}])
def test_an_account_that_does_not_exist_is_a_mistake(settings: dict[str, str]) -> None:
    """It is told when the configuration is read, not at the first request."""
    with pytest.raises(ConfigInvalid, match="no-such"):
        Directory([peer("a", **settings)], AUDIENCE)


def test_a_peer_is_what_the_configuration_says() -> None:
    """Role, audience and desks come from its section; without an audience the results' usual one counts."""
    shown = Account(os.getuid(), frozenset())
    one = Directory([peer("a", "operator", audience="ward.test", desks=("desk-1",))], AUDIENCE).identify(
        shown, NOW
    )
    assert (one.role, one.audience, one.may_use("desk-1"), one.may_use("desk-2")) == (
        Role.OPERATOR,
        "ward.test",
        True,
        False,
    )
    other = Directory([peer("a")], AUDIENCE).identify(shown, NOW)
    assert (other.audience, other.may_use("any.desk")) == (AUDIENCE, True)


def test_the_kernel_says_whose_process_is_at_the_other_end() -> None:
    """User and all groups of a Unix socket's other end are read."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert account(ours) == Account(os.getuid(), frozenset({os.getgid(), *os.getgroups()}))


@given(der=st.binary(max_size=200))
def test_any_bytes_are_a_certificate_or_nothing(der: bytes) -> None:
    """What cannot be read stands for nobody."""
    assert certificate(der) is None


# --- on the wire ---------------------------------------------------------------------------------------------------


async def asked(house: House, client: ssl.SSLContext) -> tuple[int, str]:
    """Ask for the desks with *client*; return status and code, or what TLS said."""
    try:
        async with house.session(client).get("/v1/terminals") as answer:
            content = await answer.json(content_type=None)
            return answer.status, str(content.get("code"))
    except aiohttp.ClientError as error:
        return 0, type(error).__name__


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    """Return the CA of the clients."""
    return Ca(tmp_path_factory.mktemp("tls"))


async def test_tls_lets_in_who_is_configured(ca: Ca, tmp_path: Path) -> None:
    """By pin and by name; a certificate of the same CA that nobody named is nobody's."""
    pinned = ca.client("pinned.test")
    offered = services(
        [
            peer("a", "operator", certificate_sha256=pin(ca.folder / "pinned.test.pem")),
            peer("b", "reception", certificate_name="named.test"),
        ],
        clock=lambda: datetime.now(UTC),
    )
    async with serving(offered, tmp_path, server=ca.server()) as house:
        assert await asked(house, pinned) == (200, "None")
        assert await asked(house, ca.client("named.test")) == (200, "None")
        assert await asked(house, ca.client("stranger.test")) == (403, "peer_unknown")


async def test_tls_hears_nobody_without_a_certificate_that_counts(ca: Ca, tmp_path: Path) -> None:
    """None at all, one of another CA with the right name, and one that has ended: there is no answer."""
    offered = services([peer("b", certificate_name="named.test")], clock=lambda: datetime.now(UTC))
    async with serving(offered, tmp_path, server=ca.server()) as house:
        for client in (
            ca.client(None),
            ca.client("named.test", own=False),
            ca.client("named.test", days=-1),
        ):
            status, what = await asked(house, client)
            assert status == 0, what
        old = ca.client("named.test")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert (await asked(house, old))[0] == 0


async def test_a_handshake_that_does_not_come_ends_the_connection(ca: Ca, tmp_path: Path) -> None:
    """Who connects to the TLS port and says nothing, or something else, is let go before long."""
    limits = Limits(patience=Patience(seconds=0.2))
    async with serving(services([]), tmp_path, server=ca.server(), limits=limits) as house:
        for sent in (b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(sent)
            async with asyncio.timeout(10):
                with suppress(ConnectionError):
                    assert b"HTTP" not in await reader.read()
            writer.close()
        assert house.runner.door.inside == 0


async def test_a_connection_does_not_outlive_its_certificate(ca: Ca, tmp_path: Path) -> None:
    """The certificate's end counts at each request, not at the handshake alone."""
    now = datetime.now(UTC)
    offered = services([peer("b", certificate_name="named.test")], clock=lambda: now)
    async with serving(offered, tmp_path, server=ca.server()) as house:
        session = house.session(ca.client("named.test"))
        async with session.get("/v1/terminals") as answer:
            assert answer.status == 200
        now += timedelta(days=31)
        async with session.get("/v1/terminals") as answer:
            assert (await answer.json(content_type=None))["code"] == "peer_unknown"


async def test_on_the_unix_socket_nobody_is_known_who_is_not_named(tmp_path: Path) -> None:
    """Without a peer for the account there is 403 for everything but whether it lives and is ready."""
    async with serving(services([peer("b", certificate_name="named.test")]), tmp_path) as house:
        session = house.session()
        for path, status in (("/v1/terminals", 403), ("/nowhere", 403), ("/healthz", 200), ("/readyz", 200)):
            async with session.get(path) as answer:
                assert answer.status == status


async def test_a_reload_counts_from_the_next_request_on(tmp_path: Path) -> None:
    """A peer that is taken out of the configuration is nobody on the connection that it has open."""
    async with serving(services([peer("a")]), tmp_path) as house:
        session = house.session()
        async with session.get("/v1/terminals") as answer:
            assert answer.status == 200
        house.services.directory = Directory([], AUDIENCE)
        async with session.get("/v1/terminals") as answer:
            assert answer.status == 403

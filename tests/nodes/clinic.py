"""Two nodes on one PostgreSQL, behind a balancer: each a daemon of its own, with its own origin and its own token."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlencode

import psycopg

from appliance import config
from appliance.config import Configuration
from appliance.ledger import place
from appliance.ledger.entries import Entry, decode
from appliance.ledger.store import stored_entries
from appliance.simulator.network_pki import CA
from appliance.simulator.pcscd import PrivatePcscd
from tests.cli.conftest import run
from tests.daemon.process import SECONDS, Daemon, Site, begun, free_port
from tests.ledger.server import Server
from tests.nodes import balancer
from tests.nodes.balancer import Balancer

WARDS = tuple(f"ward-{number}" for number in range(2, 7))
"""Terminals beside the site's own one, ward-1."""
SHARED_NAME = "appliance.clinic.example.jp"
_PEER = (
    '[[peer]]\nalias = "{0}"\nrole = "{1}"\ncertificate_name = "{0}.example.jp"\n'
    "budget = {{ per_minute = 60000, at_once = 64 }}\n"
)
_READER = re.compile(r"\n\[\[reader\]\]\n(?:(?!\n\[).)*", re.DOTALL)


@dataclass(slots=True)
class Node:
    """One node: its *site*, and its daemon while it runs."""

    site: Site
    folder: Path
    lives: int = 0
    daemon: Daemon | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def begin(self) -> None:
        """Start the daemon, and wait until it serves."""
        self.lives += 1
        folder = self.folder / str(self.lives)
        folder.mkdir()
        self.daemon = self._stack.enter_context(begun(self.site, folder, {"WATCHDOG_USEC": "3000000"}))
        self.daemon.hear("READY=1")

    def end(self) -> None:
        """End the daemon in order, if it runs."""
        self._stack.close()
        self.daemon = None

    def kill(self) -> None:
        """Kill the daemon; its workers see that and end."""
        assert self.daemon is not None
        self.daemon.process.kill()
        self.daemon.process.wait(SECONDS)
        self.end()

    @property
    def configuration(self) -> Configuration:
        """What it runs with."""
        return config.load(self.site.file)

    @property
    def origin(self) -> str:
        """What its log is called."""
        return self.configuration.settings.ledger.origin

    def entries(self) -> dict[int, Entry]:
        """Return what its log has."""
        with place.store(self.configuration).reading() as reader:
            size = reader.head().size
            return {index: decode(content) for index, content in stored_entries(reader, 0, size)}


@dataclass(frozen=True, slots=True)
class Clinic:
    """Both *nodes*, the *database* server that they share, and the *balancer* before them."""

    folder: Path
    database: Server
    nodes: tuple[Node, Node]
    balancer: Balancer

    @property
    def site(self) -> Site:
        """The first node's site, which has everybody's certificates."""
        return self.nodes[0].site


def _first(folder: Path, pcscd: PrivatePcscd, database: str) -> Site:
    site = Site.made(folder / "node-1", pcscd)
    tls = site.folder / "tls"
    for name in (*WARDS, "front-desk", "balancer"):
        site.authority.issue_client(tls / f"{name}.pem", f"{name}.example.jp")
    site.change(
        ('"ledger/ledger.sqlite3"', f'"{database}"'),
        ("notice_seconds = 0.0", "notice_seconds = 3.0"),
        ("sign_seconds = 4.0", "sign_seconds = 5.0"),
    )
    for name in WARDS:
        site.add(_PEER.format(name, "terminal") + 'face_device = "kiosk-1"\n')
    site.add(_PEER.format("front-desk", "reception"))
    # Nodes of this kind have no readers of their own.
    text, removed = _READER.subn("\n", site.file.read_text())
    assert removed == 1
    site.file.write_text(text)
    return site


def _second(first: Site, folder: Path) -> Site:
    """Return the site of another node: a copy in which only origin, port and certificate are others."""
    shutil.copytree(first.folder, folder)
    site = replace(first, folder=folder, port=free_port())
    for path in (folder / "softhsm").glob("*.conf"):
        path.write_text(path.read_text().replace(str(first.folder), str(folder)))
    site.change((f"\nport = {first.port}\n", f"\nport = {site.port}\n"), ("/ledger/node-1", "/ledger/node-2"))
    return site


def _uri(server: Server) -> str:
    """Return a new database as the configuration names one."""
    parts = psycopg.conninfo.conninfo_to_dict(server.database())
    return f"postgresql:///{parts['dbname']}?{urlencode({'host': parts['host'], 'user': parts['user']})}"


@contextlib.contextmanager
def opened(folder: Path, server: Server, pcscd: PrivatePcscd) -> Iterator[Clinic]:
    """Give a clinic in *folder* whose nodes and balancer run."""
    # The daemons have another account than the server.
    server.folder.chmod(0o711)
    first = _first(folder, pcscd, _uri(server))
    second = _second(first, folder / "node-2")
    nodes = []
    for number, site in enumerate((first, second), 1):
        names = ("localhost", f"node-{number}.clinic.example.jp", SHARED_NAME)
        site.authority.issue_server(site.folder / "tls" / "server.pem", names)
        (folder / f"lives-{number}").mkdir()
        nodes.append(Node(site, folder / f"lives-{number}"))
    front = balancer.new(folder / "haproxy")
    front.folder.mkdir()
    tls = first.folder / "tls"
    shutil.copy(tls / CA, front.folder / "ca.pem")
    (front.folder / "balancer.pem").write_bytes(
        (tls / "balancer.pem").read_bytes() + (tls / "balancer-key.pem").read_bytes()
    )
    front.configure((first.port, second.port))
    one, two = nodes
    clinic = Clinic(folder, server, (one, two), front)
    with ExitStack() as stack:
        stack.callback(_end, clinic)
        for node in clinic.nodes:
            node.begin()
        stack.enter_context(front.running())
        front.await_states("UP", "UP")
        yield clinic


def _end(clinic: Clinic) -> None:
    """End both nodes, side by side; asked a second time, they give nobody any notice."""
    for node in clinic.nodes:
        if node.daemon is not None:
            node.daemon.process.terminate()
    for node in clinic.nodes:
        node.end()


def verified(node: Node) -> str:
    """Return what `ledger verify` says of the node's log, which it finds to be whole."""
    done = run("ledger", "--config", str(node.site.file), "verify", "--contents")
    assert done.returncode == 0, done.stderr
    return done.stdout

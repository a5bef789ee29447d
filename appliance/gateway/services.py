"""What the gateway's resources are made of. `daemon` joins it, and may replace parts of it while requests are served."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from aiohttp import web

from appliance.gateway.aside import Aside
from appliance.gateway.budgets import Budgets
from appliance.gateway.checks import Offered
from appliance.gateway.condition import Condition
from appliance.gateway.desks import Desks
from appliance.gateway.keys import PublishedKeys
from appliance.gateway.peers import Directory, Peer
from appliance.gateway.shown import ShownCertificates
from appliance.trust.decision import Trust


class PublishedLog(Protocol):
    """
    What the ledger shows to others. Its methods block.

    They raise LedgerUnavailable and LedgerDamaged, and LedgerEntryAbsent for what there is not, or not yet, or no longer.
    """

    def checkpoint(self) -> bytes:
        """Return the newest signed note."""

    def tile(self, path: str) -> bytes:
        """Return what is published under *path*, which begins with `tile/` (C2SP tlog-tiles)."""

    def entry(self, index: int) -> bytes:
        """Return one entry, which is JSON."""

    def proof(self, index: int) -> bytes:
        """Return the proof that an entry is under the newest checkpoint (C2SP tlog-proof)."""


@dataclass(slots=True)
class Services:
    """
    Everything that the resources share.

    *trust* is what evidence is verified with, without lists: they may be large. *clock* tells the time, and *monotonic*,
    in seconds, how much has passed.
    """

    directory: Directory
    desks: Desks
    condition: Callable[[], Condition]
    keys: PublishedKeys
    trust: Trust
    log: PublishedLog
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    is_draining: bool = False
    """Whether nothing new is begun."""
    offered: Offered | None = None
    """Who knows which checks are offered where; None where no authentications are made."""
    shown: ShownCertificates = field(default_factory=ShownCertificates)
    budgets: Budgets = field(init=False)
    verifying: Aside = field(init=False)
    reading: Aside = field(init=False)

    def __post_init__(self) -> None:
        self.budgets = Budgets(self.monotonic)
        # A single thread verifies: whoever sends evidence must not take the CPU that authentications need.
        self.verifying = Aside("verifying")
        self.reading = Aside("reading", workers=2)

    def close(self) -> None:
        """Give the threads up."""
        self.verifying.close()
        self.reading.close()


SERVICES: Final = web.AppKey("services", Services)
PEER: Final = web.RequestKey("peer", Peer)
"""Who is asking; on every request but those for open resources."""

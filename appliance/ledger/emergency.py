"""What operators do with emergency windows, as entries of a log."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never

from msgspec import UNSET

from appliance.emergency import Cause, Proposal, Reason
from appliance.ledger.entries import WindowClosed, WindowConfirmed, WindowProposed, milliseconds
from appliance.ledger.recorder import Recorder


@dataclass(frozen=True, slots=True)
class EmergencyLedger:
    """Fits `emergency.Ledger`."""

    recorder: Recorder
    clock: Callable[[], datetime]

    async def propose(self, proposal: Proposal) -> int:
        """Make it durable that a window is proposed, or raise LedgerError; return the entry's index."""
        return await self.recorder.propose(
            WindowProposed(
                time=milliseconds(self.clock()),
                by=proposal.by,
                reason=_reason(proposal.reason),
                until=milliseconds(proposal.until),
                desks=tuple(sorted(proposal.desks)),
            )
        )

    async def confirm(self, entry: int, by: str) -> None:
        """Make it durable that the operator *by* has confirmed the window of *entry*, or raise LedgerError."""
        await self.recorder.confirm(WindowConfirmed(time=milliseconds(self.clock()), window=entry, by=by))

    async def close(self, entry: int, cause: Cause, by: str | None) -> None:
        """Let the window of *entry* be used no longer, and make that durable as soon as that is possible."""
        closed = WindowClosed(
            time=milliseconds(self.clock()), window=entry, cause=_cause(cause), by=UNSET if by is None else by
        )
        await self.recorder.close(closed)


def _reason(reason: Reason) -> Literal["unconscious", "disaster", "drill"]:
    match reason:
        case Reason.UNCONSCIOUS:
            return "unconscious"
        case Reason.DISASTER:
            return "disaster"
        case Reason.DRILL:
            return "drill"
        case _:
            assert_never(reason)


def _cause(cause: Cause) -> Literal["closed", "expired", "policy", "interrupted"]:
    match cause:
        case Cause.CLOSED:
            return "closed"
        case Cause.EXPIRED:
            return "expired"
        case Cause.POLICY:
            return "policy"
        case Cause.INTERRUPTED:
            return "interrupted"
        case _:
            assert_never(cause)

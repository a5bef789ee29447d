"""What `authentication` says of its doings, as entries of a log."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal, assert_never

from msgspec import UNSET

from appliance.authentication import Authentication, CheckMethod, Reservation
from appliance.card.jpki import Mode
from appliance.errors import ApplianceError
from appliance.ledger.entries import Finished, Reserved, milliseconds
from appliance.ledger.recorder import Recorder
from appliance.trust.pseudonym import PseudonymKey

AUDIENCE = "ledger"
"""For whom the pseudonyms in a log are: with tokens, which are for others, they cannot be brought together."""


@dataclass(frozen=True, slots=True)
class AuthenticationLedger:
    """Fits `authentication.Ledger`."""

    recorder: Recorder
    pseudonym_key: PseudonymKey
    clock: Callable[[], datetime]

    @property
    def origin(self) -> str:
        """What the log is called."""
        return self.recorder.log.origin

    async def reserve(self, reservation: Reservation) -> int:
        """Make it durable that a key is about to be used, or raise LedgerError; return the entry's index."""
        return await self.recorder.reserve(
            Reserved(
                time=milliseconds(self.clock()),
                mode=_mode(reservation.mode),
                terminal=reservation.terminal,
                check=_check(reservation.identity_check.method),
                checked_by=reservation.identity_check.by,
                challenge=reservation.challenge or UNSET,
                key=reservation.key or UNSET,
            )
        )

    async def finish(self, reserved: int, outcome: Authentication | ApplianceError) -> int:
        """Make durable how the authentication *reserved* ended, or raise LedgerError; return the entry's index."""
        time = milliseconds(self.clock())
        if isinstance(outcome, ApplianceError):
            entry = Finished(time=time, reserved=reserved, outcome="refused", code=outcome.code)
        else:
            entry = Finished(
                time=time,
                reserved=reserved,
                outcome="authenticated",
                holder=self.pseudonym_key.pseudonym(outcome.holder.certificate, AUDIENCE),
                revocation=outcome.standing.result.value,
                evidence=sha256(outcome.evidence).hexdigest(),
            )
        return await self.recorder.finish(entry)

    def abandon(self, reserved: int) -> None:
        """Have *reserved* closed as interrupted."""
        self.recorder.abandon(reserved)


def _mode(mode: Mode) -> Literal["pinless", "pin"]:
    match mode:
        case Mode.PINLESS:
            return "pinless"
        case Mode.PIN:
            return "pin"
        case _:
            assert_never(mode)


def _check(method: CheckMethod) -> Literal["face", "visual", "pin", "none_emergency"]:
    match method:
        case CheckMethod.FACE:
            return "face"
        case CheckMethod.VISUAL:
            return "visual"
        case CheckMethod.PIN:
            return "pin"
        case CheckMethod.NONE_EMERGENCY:
            return "none_emergency"
        case _:
            assert_never(method)

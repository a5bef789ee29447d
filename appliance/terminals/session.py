"""
One card on a local reader, from its connection to its power-down (`authentication.Card`).

A session belongs to one power-up of one card. After a failure, or when whoever asked has gone, the card is not spoken to
again: a PIN that is entered too late is not sent.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange, VerifyHolder
from appliance.errors import ApplianceError, CardTimeout, CardUnreadable
from appliance.terminals import pinpad, scard, transport
from appliance.terminals.attendant import Attendant
from appliance.terminals.steps import EnterPin, Observe, Pad, ignore, no_pin_entry, perform
from appliance.terminals.transport import Extended
from appliance.terminals.view import Desk

_LONGEST_PAD_SECONDS: Final = 255


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a reader says it can do: *extended* APDUs (None where it does not say), and a PIN *pad* by its code."""

    extended: bool | None = None
    pad: int | None = None

    def treatment(self, wanted: Extended) -> Extended:
        """Return what is done with extended commands where *wanted* is configured."""
        return Extended.NO if wanted is Extended.YES and self.extended is False else wanted


def abilities(connection: scard.Connection) -> Abilities:
    """Ask the reader behind *connection* what it can do."""
    answer = connection.control(scard.control_code(pinpad.GET_FEATURES))
    codes = pinpad.features(answer or b"")
    properties = connection.control(codes[pinpad.PROPERTIES]) if pinpad.PROPERTIES in codes else None
    return Abilities(pinpad.extended_transmitted(properties or b""), codes.get(pinpad.VERIFY_PIN))


@dataclass(frozen=True, slots=True)
class Manner:
    """How a card is spoken to: within *seconds* an exchange, with somebody who can be asked for the PIN."""

    seconds: float
    enter_pin: EnterPin = no_pin_entry
    observe: Observe = ignore


class PcscCard:
    """The card on a reader, for one power-up of it. After a failure it is not spoken to again."""

    def __init__(
        self, attendant: Attendant, connection: scard.Connection, desk: Desk, able: Abilities, manner: Manner
    ) -> None:
        self._attendant, self._connection, self._desk, self._manner = attendant, connection, desk, manner
        self._extended = able.treatment(desk.extended)
        self._pad_code = able.pad if desk.pin_pad else None
        self._failed = False
        self._spoken = False

    async def exchange(self, exchange: Exchange) -> tuple[Response, ...]:
        """Do the steps of *exchange* and return the answers; the holder's time for the PIN comes on top."""
        if self._failed:
            raise RuntimeError("a card that failed is not spoken to again")
        asks = any(isinstance(step, VerifyHolder) for step in exchange.steps)
        seconds = self._manner.seconds + (self._desk.pin_seconds if asks else 0)
        try:
            return await self._attendant.call(lambda: self._perform(exchange), seconds)
        except (ApplianceError, asyncio.CancelledError):
            self._failed = True
            raise

    def leave(self) -> None:
        """Send nothing more, whatever is under way."""
        self._failed = True

    def _perform(self, exchange: Exchange) -> tuple[Response, ...]:
        self._connection.require_same_card()
        pad: Pad | None = None if self._pad_code is None else self._verify_on_pad
        return perform(exchange, self._transmit, self._manner.enter_pin, self._manner.observe, pad)

    def _transmit(self, command: bytes) -> bytes:
        return transport.transmit(command, self._send, self._extended)

    def _send(self, command: bytes) -> bytes:
        self._require_listener()
        if self._spoken and self._desk.delay_seconds:
            # The site asked for this pause; it is the card's own thread that waits, and nobody else's.
            time.sleep(self._desk.delay_seconds)
        self._spoken = True
        return self._connection.transmit(command)

    def _verify_on_pad(self, step: VerifyHolder) -> bytes:
        self._require_listener()
        seconds = min(int(self._desk.pin_seconds), _LONGEST_PAD_SECONDS)
        answer = self._connection.control(self._pad_code or 0, pinpad.verify_structure(step, seconds))
        if answer is None:
            raise CardUnreadable("the reader's PIN pad failed")
        return pinpad.outcome(answer)

    def _require_listener(self) -> None:
        if self._failed:
            raise CardTimeout("nobody waits for the card's answer any more")

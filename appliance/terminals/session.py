"""
One card on a local reader, from its connection to its power-down (`authentication.Card`).

A session belongs to one power-up of one card. After a failure, or when whoever asked has gone, the card is not spoken to
again: a PIN that is entered too late is not sent.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange, VerifyHolder
from appliance.errors import ApplianceError, CardTimeout, CardUnreadable
from appliance.terminals import pinpad, scard, transport
from appliance.terminals.attendant import Attendant
from appliance.terminals.steps import EnterPin, Observe, Pad, ignore, no_pin_entry, perform
from appliance.terminals.transport import Extended
from appliance.terminals.view import Desk

_LONGEST_PAD_TIMER: Final = 255
_VERIFY_SECONDS: Final = 2.0
"""What VERIFY itself may take, after the last key."""


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

    async def exchange(self, exchange: Exchange, within: float | None = None) -> tuple[Response, ...]:
        """
        Do the steps of *exchange* and return the answers; the holder's time for the PIN comes on top.

        Who will not wait for it to its end says *within* how many seconds it has to be done.
        """
        if self._failed:
            raise RuntimeError("a card that failed is not spoken to again")
        asks = any(isinstance(step, VerifyHolder) for step in exchange.steps)
        seconds = self._manner.seconds + (self._desk.pin_seconds if asks else 0)
        deadline = time.monotonic() + min(seconds, seconds if within is None else within)
        try:
            return await self._attendant.call(lambda: self._perform(exchange, deadline), seconds)
        except (ApplianceError, asyncio.CancelledError):
            self._failed = True
            raise

    def leave(self) -> None:
        """Send nothing more, whatever is under way."""
        self._failed = True

    def _perform(self, exchange: Exchange, deadline: float) -> tuple[Response, ...]:
        self._connection.require_same_card()
        pad: Pad | None = None
        if self._pad_code is not None:
            pad = partial(self._verify_on_pad, self._pad_code, deadline)
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

    def _verify_on_pad(self, code: int, deadline: float, step: VerifyHolder) -> bytes:
        """
        Have the holder enter the PIN on the pad, which sends VERIFY by itself and cannot be called back.

        So it gets no more time than is left until *deadline*: half of it until the first key, half from there on.
        """
        self._require_listener()
        seconds = min(self._desk.pin_seconds, deadline - time.monotonic() - _VERIFY_SECONDS)
        timer = min(int(seconds / 2), _LONGEST_PAD_TIMER)
        if timer < 1:  # 0 would be whatever the reader takes for usual
            raise CardTimeout("no time is left for the PIN to be entered on the pad")
        answer = self._connection.control(code, pinpad.verify_structure(step, timer))
        if answer is None:
            raise CardUnreadable("the reader's PIN pad failed")
        return pinpad.outcome(answer)

    def _require_listener(self) -> None:
        if self._failed:
            raise CardTimeout("nobody waits for the card's answer any more")

"""
The far end of an exchange: its steps, one after another, on whatever turns commands into responses.

A PIN is asked for here and nowhere else, goes into one VERIFY, and is forgotten. VERIFY is never sent twice.
"""

from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias, assert_never

from appliance.card.apdu import Response
from appliance.card.dialogue import Exchange, Step, VerifyHolder
from appliance.errors import PinCancelled

Transmit: TypeAlias = Callable[[bytes], bytes]
"""Command APDU in, response APDU out; raises CardError."""
EnterPin: TypeAlias = Callable[[], str | None]
"""Asks the holder for the PIN; None when they decline."""
Pad: TypeAlias = Callable[[VerifyHolder], bytes]
"""Has the holder enter the PIN on the reader's own keys; returns the card's response to VERIFY."""
Observe: TypeAlias = Callable[[str, int, float], None]
"""Told of every step that was answered: its name, the status word, and the seconds it took."""


def ignore(_step: str, _status: int, _seconds: float) -> None:
    """Observe nothing."""


def no_pin_entry() -> str | None:
    """Decline: nobody can enter a PIN here."""
    return None


def perform(
    exchange: Exchange,
    transmit: Transmit,
    enter_pin: EnterPin = no_pin_entry,
    observe: Observe = ignore,
    pad: Pad | None = None,
) -> tuple[Response, ...]:
    """
    Do the steps of *exchange* until one answers what it should not; return the answers, that one included.

    The PIN is entered on *pad* where there is one, and asked for by *enter_pin* otherwise. Raises CardError where
    *transmit* does, CardAnswerMalformed for answers that are no responses, PinCancelled.
    """
    responses: list[Response] = []
    for step in exchange.steps:
        began = perf_counter()
        match step:
            case Step():
                answer = transmit(step.command.to_bytes())
            case VerifyHolder() if pad is not None:
                answer = pad(step)
            case VerifyHolder():
                command = _verify(step, enter_pin())
                began = perf_counter()
                answer = transmit(command)
            case _:
                assert_never(step)
        response = Response.from_bytes(answer)
        observe(step.name, response.status, perf_counter() - began)
        responses.append(response)
        if response.status not in step.expect:
            break
    return tuple(responses)


def _verify(step: VerifyHolder, pin: str | None) -> bytes:
    """Return VERIFY with *pin*; a wrong form would cost nothing at the card, but is not sent either."""
    if pin is None:
        raise PinCancelled("no PIN was entered")
    if len(pin) != step.digits or not (pin.isascii() and pin.isdigit()):
        raise PinCancelled(f"a PIN has {step.digits} digits; what was entered has not")
    return step.header.command(pin.encode("ascii")).to_bytes()

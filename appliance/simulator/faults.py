"""
Cards that misbehave: a list of faults as values, and the outcome each command has because of them.

Steps count APDUs from 1 after each power-on or reset, SELECT included. A fault replaces the card's answer; the
card executes the command only where the fault is a wrong signature, a truncated or a slow answer (ruling 29).
An outcome says what is to happen on the wire; the reader carries it out.

    wrong-signature     every signature comes with one bit flipped
    pin-for-pinless     a signature for an institution is made without its code, as one by PIN is
    removed@7           the card leaves the field at step 7
    mute@7              step 7 is never answered
    slow@7=2.5          the answer to step 7 takes 2.5 seconds
    truncated@7         the second half of the answer to step 7, status word included, is missing
    garbage@7           the answer to step 7 is no response at all
    status@7=6F00       step 7 answers 6F00
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from appliance.card.apdu import SUCCESS, Response
from appliance.simulator.card import SoftwareCard, is_signature


@dataclass(frozen=True, slots=True)
class WrongSignature:
    """Every signature is wrong by one bit."""


@dataclass(frozen=True, slots=True)
class PinForPinless:
    """Under institution authentication the card signs as if by PIN: without the institution code."""


@dataclass(frozen=True, slots=True)
class Removed:
    """The card leaves at *step*."""

    step: int


@dataclass(frozen=True, slots=True)
class Mute:
    """The card never answers *step*."""

    step: int


@dataclass(frozen=True, slots=True)
class Slow:
    """The card takes *seconds* to answer *step*."""

    step: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Truncated:
    """The answer to *step* is cut off in the middle."""

    step: int


@dataclass(frozen=True, slots=True)
class Garbage:
    """The answer to *step* is one byte, which no response is."""

    step: int


@dataclass(frozen=True, slots=True)
class StatusWord:
    """The card answers *status* to *step*."""

    step: int
    status: int


StepFault: TypeAlias = Removed | Mute | Slow | Truncated | Garbage | StatusWord
Fault: TypeAlias = WrongSignature | PinForPinless | StepFault


@dataclass(frozen=True, slots=True)
class Answer:
    """The reader passes *octets* on."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Silence:
    """The reader hears nothing more about this command."""


@dataclass(frozen=True, slots=True)
class Removal:
    """The card is gone."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The reader hears *octets* after *seconds*."""

    seconds: float
    octets: bytes


Outcome: TypeAlias = Answer | Silence | Removal | Delay

_GARBAGE: Final = b"\xa5"


class FaultyCard:
    """A *card* with *faults*; without any it is the card itself."""

    def __init__(self, card: SoftwareCard, faults: Iterable[Fault] = ()) -> None:
        faults = tuple(faults)
        self._card = card
        self._card.forgets_institution = PinForPinless() in faults
        self._wrong_signature = WrongSignature() in faults
        self._by_step: dict[int, StepFault] = {}
        for fault in faults:
            if not isinstance(fault, WrongSignature | PinForPinless):
                if fault.step in self._by_step:
                    raise ValueError(f"two faults want step {fault.step}")
                self._by_step[fault.step] = fault
        self._step = 0

    @property
    def atr(self) -> bytes:
        """The card's answer to reset."""
        return self._card.atr

    def power_on(self) -> bytes:
        """Give the card power, begin with step 1, and return its ATR."""
        self._step = 0
        return self._card.power_on()

    def power_off(self) -> None:
        """Take the card's power."""
        self._card.power_off()

    def reset(self) -> bytes:
        """Reset the card, begin with step 1, and return its ATR."""
        self._step = 0
        return self._card.reset()

    def respond(self, command: bytes) -> Outcome:
        """Return what comes of *command*."""
        self._step += 1
        fault = self._by_step.get(self._step)
        if fault is None or isinstance(fault, Slow | Truncated):
            answer = self._execute(command)
        match fault:
            case None:
                outcome: Outcome = Answer(answer)
            case Slow(_, seconds):
                outcome = Delay(seconds, answer)
            case Truncated():
                outcome = Answer(answer[: len(answer) // 2])
            case Removed():
                outcome = Removal()
            case Mute():
                outcome = Silence()
            case Garbage():
                outcome = Answer(_GARBAGE)
            case StatusWord(_, status):
                outcome = Answer(Response(b"", status).to_bytes())
        return outcome

    def _execute(self, command: bytes) -> bytes:
        answer = self._card.transmit(command)
        if self._wrong_signature and is_signature(command) and answer.endswith(SUCCESS.to_bytes(2)):
            # the last bit: the number stays below the modulus, so that only the verification can notice
            return answer[:-3] + bytes([answer[-3] ^ 0x01]) + answer[-2:]
        return answer


_TEXT: Final = re.compile(r"(?P<name>[a-z-]+)(@(?P<step>[0-9]{1,6}))?(=(?P<value>[0-9A-Fa-f.]+))?")

_WHOLE: Final[dict[str, Fault]] = {"wrong-signature": WrongSignature(), "pin-for-pinless": PinForPinless()}
_STEP: Final[dict[str, Callable[[int], Fault]]] = {
    "removed": Removed,
    "mute": Mute,
    "truncated": Truncated,
    "garbage": Garbage,
}
_VALUE: Final[dict[str, Callable[[int, str], Fault]]] = {
    "slow": lambda step, value: Slow(step, _seconds(value)),
    "status": lambda step, value: StatusWord(step, _status(value)),
}
_SHAPE: Final = (
    "a fault is one of "
    + ", ".join([*_WHOLE, *(f"{name}@STEP" for name in _STEP)])
    + ", slow@STEP=SECONDS, status@STEP=XXXX"
)


def parse(text: str) -> Fault:
    """Return the fault that *text* describes; the module's head lists the forms. Raises ValueError."""
    matched = _TEXT.fullmatch(text)
    if matched is None:
        raise ValueError(f"'{text}' is no fault: {_SHAPE}")
    name, step, value = matched["name"], matched["step"], matched["value"]
    if name in _WHOLE and step is None and value is None:
        return _WHOLE[name]
    if step is not None and int(step) >= 1:
        if name in _STEP and value is None:
            return _STEP[name](int(step))
        if name in _VALUE and value is not None:
            return _VALUE[name](int(step), value)
    raise ValueError(f"'{text}' is no fault: {_SHAPE}; steps count from 1")


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError as error:
        raise ValueError(f"'{value}' is no number of seconds") from error
    if not math.isfinite(seconds):
        raise ValueError(f"'{value}' is no number of seconds")
    return seconds


def _status(value: str) -> int:
    if re.fullmatch("[0-9A-Fa-f]{4}", value) is None:
        raise ValueError(f"'{value}' is no status word of four hexadecimal digits")
    return int(value, 16)

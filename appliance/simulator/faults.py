"""
Cards that misbehave: a list of faults as values, and the outcome each command has because of them.

Steps count APDUs from 1 after each power-on or reset, SELECT included. A fault replaces the card's answer; the
card executes the command only where the fault is a wrong signature, a truncated or a slow answer (ruling 29), or
a loss of state. An outcome says what is to happen on the wire; the reader carries it out. How faults are written
on a command line is told in `fault_text`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from appliance.card.apdu import SUCCESS, Response
from appliance.card.tlv import Tlv
from appliance.simulator.card import SoftwareCard, is_signature
from appliance.simulator.card_data import CardData


@dataclass(frozen=True, slots=True)
class WrongSignature:
    """Every signature is wrong by one bit."""


@dataclass(frozen=True, slots=True)
class PinForPinless:
    """Under institution authentication the card signs as if by PIN: without the institution code."""


@dataclass(frozen=True, slots=True)
class WrongFrontSignature:
    """The municipality's signature on the card's front is wrong by one bit."""


@dataclass(frozen=True, slots=True)
class ForeignFront:
    """The card has the *front* of another card: EF 0002 of its surface application, genuine in itself."""

    front: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ForeignCertificate:
    """The card has the *certificate* of another card."""

    certificate: bytes = field(repr=False)


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


@dataclass(frozen=True, slots=True)
class StateLost:
    """Before *step* the card has lost its state: reset, or pulled and put back, and nobody noticed."""

    step: int


StepFault: TypeAlias = Removed | Mute | Slow | Truncated | Garbage | StatusWord | StateLost
DataFault: TypeAlias = WrongFrontSignature | ForeignFront | ForeignCertificate
Fault: TypeAlias = WrongSignature | PinForPinless | DataFault | StepFault


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
_FRONT, _FRONT_SIGNATURE = 0x02, 0xDF28


class FaultyCard:
    """A *card* with *faults*; without any it is the card itself."""

    def __init__(self, card: SoftwareCard, faults: Iterable[Fault] = ()) -> None:
        self._card = card
        self._wrong_signature = False
        self._by_step: dict[int, StepFault] = {}
        self._step = 0
        for fault in faults:
            match fault:
                case WrongSignature():
                    self._wrong_signature = True
                case PinForPinless():
                    card.forgets_institution = True
                case WrongFrontSignature() | ForeignFront() | ForeignCertificate():
                    card.remake(_with_fault(card.data, fault))
                case _:
                    if fault.step in self._by_step:
                        raise ValueError(f"two faults want step {fault.step}")
                    self._by_step[fault.step] = fault

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
        if isinstance(fault, StateLost):
            self._card.reset()
        if fault is None or isinstance(fault, Slow | Truncated | StateLost):
            answer = self._execute(command)
        match fault:
            case None | StateLost():
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
            return _last_bit_flipped(answer[:-2]) + answer[-2:]
        return answer


def _with_fault(data: CardData, fault: DataFault) -> CardData:
    """Return *data* as a card with *fault* has it."""
    match fault:
        case WrongFrontSignature():
            front = Tlv.from_bytes(data.surface[_FRONT])
            objects = (
                Tlv(each.tag, _last_bit_flipped(each.value)) if each.tag == _FRONT_SIGNATURE else each
                for each in front.children
            )
            wrong = Tlv(front.tag, b"".join(each.to_bytes() for each in objects)).to_bytes()
            return replace(data, surface={**data.surface, _FRONT: wrong})
        case ForeignFront(content):
            return replace(data, surface={**data.surface, _FRONT: content})
        case ForeignCertificate(certificate):
            return replace(data, certificate=certificate)


def _last_bit_flipped(signature: bytes) -> bytes:
    """Return another *signature*: the number stays below the modulus, so that only the verification can notice."""
    return signature[:-1] + bytes([signature[-1] ^ 0x01])

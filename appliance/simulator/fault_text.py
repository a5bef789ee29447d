"""
Faults as somebody writes them on a command line.

    wrong-signature               every signature comes with one bit flipped
    pin-for-pinless               a signature for an institution is made without its code, as one by PIN is
    wrong-front-signature         the municipality's signature on the front comes with one bit flipped
    foreign-front=CARD            the front is that of the card in the folder CARD
    foreign-certificate=CARD      the certificate is that of the card in the folder CARD
    removed@7                     the card leaves the field at step 7
    mute@7                        step 7 is never answered
    slow@7=2.5                    the answer to step 7 takes 2.5 seconds
    truncated@7                   the second half of the answer to step 7, status word included, is missing
    garbage@7                     the answer to step 7 is no response at all
    status@7=6F00                 step 7 answers 6F00
    state-lost@7                  before step 7 the card has lost its state, and nobody noticed
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.errors import ConfigInvalid
from appliance.simulator.card_data import CardData
from appliance.simulator.faults import (
    Fault,
    ForeignCertificate,
    ForeignFront,
    Garbage,
    Mute,
    PinForPinless,
    Removed,
    Slow,
    StateLost,
    StatusWord,
    Truncated,
    WrongFrontSignature,
    WrongSignature,
)

_FRONT: Final = 0x02

_TEXT: Final = re.compile(r"(?P<name>[a-z-]+)(@(?P<step>[0-9]{1,6}))?(=(?P<value>.+))?")

_WHOLE: Final[dict[str, Fault]] = {
    "wrong-signature": WrongSignature(),
    "pin-for-pinless": PinForPinless(),
    "wrong-front-signature": WrongFrontSignature(),
}
_OF_CARD: Final[dict[str, Callable[[CardData], Fault]]] = {
    "foreign-front": lambda card: ForeignFront(card.surface[_FRONT]),
    "foreign-certificate": lambda card: ForeignCertificate(card.certificate),
}
_STEP: Final[dict[str, Callable[[int], Fault]]] = {
    "removed": Removed,
    "mute": Mute,
    "truncated": Truncated,
    "garbage": Garbage,
    "state-lost": StateLost,
}
_VALUE: Final[dict[str, Callable[[int, str], Fault]]] = {
    "slow": lambda step, value: Slow(step, _seconds(value)),
    "status": lambda step, value: StatusWord(step, _status(value)),
}
_SHAPE: Final = (
    "a fault is one of "
    + ", ".join([*_WHOLE, *(f"{name}=CARD" for name in _OF_CARD), *(f"{name}@STEP" for name in _STEP)])
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
    if name in _OF_CARD and step is None and value is not None:
        return _OF_CARD[name](_card(value))
    if step is not None and int(step) >= 1:
        if name in _STEP and value is None:
            return _STEP[name](int(step))
        if name in _VALUE and value is not None:
            return _VALUE[name](int(step), value)
    raise ValueError(f"'{text}' is no fault: {_SHAPE}; steps count from 1")


def _card(value: str) -> CardData:
    try:
        return CardData.load(Path(value))
    except ConfigInvalid as error:
        raise ValueError(f"'{value}' is no card: {error.detail}") from error


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError as error:
        raise ValueError(f"'{value}' is no number of seconds") from error
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"'{value}' is no number of seconds")
    return seconds


def _status(value: str) -> int:
    if re.fullmatch("[0-9A-Fa-f]{4}", value) is None:
        raise ValueError(f"'{value}' is no status word of four hexadecimal digits")
    return int(value, 16)

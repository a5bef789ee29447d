"""
What the shim does with each call, said while it runs: the other end of the file that `shim.c` maps.

A rule names a function and an action. It lets *skip* calls pass, then holds for *times* calls, or until it is
lifted. Every process that loads the shim with the same file follows the same rules, and counts in the same counters.
"""

import mmap
import subprocess
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

from appliance.errors import PartMissing
from appliance.hsm.pkcs11.return_values import NAMES

_WORD = 8
_RULE_WORDS = 6


class Function(IntEnum):
    """Functions of PKCS#11 by their place in the table, and one that `shim.c` tells apart."""

    INITIALIZE = 0
    FINALIZE = 1
    GET_INFO = 2
    GET_FUNCTION_LIST = 3
    GET_SLOT_LIST = 4
    GET_SLOT_INFO = 5
    GET_TOKEN_INFO = 6
    OPEN_SESSION = 12
    CLOSE_SESSION = 13
    LOGIN = 18
    LOGOUT = 19
    DESTROY_OBJECT = 22
    GET_ATTRIBUTE_VALUE = 24
    FIND_OBJECTS_INIT = 26
    FIND_OBJECTS = 27
    FIND_OBJECTS_FINAL = 28
    SIGN_INIT = 42
    SIGN = 43
    SIGN_LENGTH = 68
    """C_Sign without a place for the signature: it asks for the length alone."""


class Action(IntEnum):
    """What is done with a call."""

    FORWARD = 0
    RETURN = 1
    """Return the value; the real module is not called."""
    RETURN_AFTERWARDS = 2
    """Call the real module, then return the value: done, and reported as failed."""
    DELAY = 3
    """Wait for as many milliseconds as the value says, then forward."""
    HANG = 4
    """Wait until the rule is lifted, then forward."""
    ABORT = 5
    """End the process."""
    LIE = 6
    """Turn one bit of the signature over."""
    PRINT = 7
    """Print on standard output, then forward."""
    HANG_AFTERWARDS = 8
    """Call the real module, set the value to one, and wait until the rule is lifted: done, and not told yet."""


NUMBERS: Final = {name: number for number, name in NAMES.items()} | {"CKR_VENDOR_DEFINED": 0x80000001}
"""Return values by their names, and one that a vendor may have made up."""


class Rules:
    """The rules in *file*, for a module that forwards to *real*."""

    def __init__(self, file: Path, real: str) -> None:
        self._real = real
        self._file = file
        # One that is there goes on: another process may follow it already.
        with file.open("r+b" if file.exists() else "w+b") as opened:
            opened.truncate(_WORD * (1 + _RULE_WORDS * len(range(Function.SIGN_LENGTH + 1))))
            self._map = mmap.mmap(opened.fileno(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the shim finds its rules and the real module."""
        return {"SHIM_CONTROL": str(self._file), "SHIM_MODULE": self._real}

    def set(
        self, function: Function, action: Action, value: int = 0, *, skip: int = 0, times: int = 0
    ) -> None:
        """From now on do *action* with calls of *function*, after *skip* more of them, *times* times or always."""
        # The action comes last: a process may be calling now.
        self.lift(function)
        for place, number in ((1, value), (2, skip), (3, times), (0, action)):
            self._write(function, place, number)

    def lift(self, function: Function) -> None:
        """From now on forward calls of *function*; one that hangs goes on."""
        self._write(function, 0, Action.FORWARD)
        self._write(function, 5, self._read(function, 5) + 1)

    def active(self, function: Function) -> bool:
        """Return whether a rule for *function* is still in force."""
        return self._read(function, 0) != Action.FORWARD

    def value(self, function: Function) -> int:
        """Return the value of the rule for *function*."""
        return self._read(function, 1)

    def calls(self, function: Function) -> int:
        """Return how often *function* was called, in all processes."""
        return self._read(function, 4)

    @property
    def collisions(self) -> int:
        """How often two threads were seen in one module; the process that saw it has ended itself."""
        return int.from_bytes(self._map[:_WORD], "little")

    def _write(self, function: Function, place: int, number: int) -> None:
        offset = _offset(function, place)
        self._map[offset : offset + _WORD] = number.to_bytes(_WORD, "little")

    def _read(self, function: Function, place: int) -> int:
        offset = _offset(function, place)
        return int.from_bytes(self._map[offset : offset + _WORD], "little")


def _offset(function: Function, place: int) -> int:
    return _WORD * (1 + _RULE_WORDS * function + place)


def compiled(folder: Path) -> Path:
    """Return the shim, compiled into *folder*, or raise PartMissing."""
    module = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = ("gcc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", module, source, "-ldl")
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise PartMissing("there is no C compiler: install Debian's package gcc") from error
    return module

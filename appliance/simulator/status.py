"""The status words that the software card answers (card facts 1.7), and how its parts refuse a command."""

from enum import IntEnum
from typing import NoReturn


class Status(IntEnum):
    """A status word by what it says in the card's JICSAP-like reading."""

    AUTHENTICATION_FAILED = 0x6300
    TRIES_LEFT = 0x63C0
    """The low four bits are added: how many tries are left."""
    WRONG_LENGTH = 0x6700
    CHANNEL_UNSUPPORTED = 0x6881
    WRONG_KIND_OF_FILE = 0x6981
    SECURITY_NOT_SATISFIED = 0x6982
    BLOCKED = 0x6984
    CONDITIONS_NOT_SATISFIED = 0x6985
    NO_CURRENT_FILE = 0x6986
    WRONG_DATA = 0x6A80
    NOT_FOUND = 0x6A82
    WRONG_PARAMETERS = 0x6A86
    KEY_NOT_FOUND = 0x6A88
    OUTSIDE_FILE = 0x6B00
    INSTRUCTION_UNKNOWN = 0x6D00
    CLASS_UNKNOWN = 0x6E00
    SUCCESS = 0x9000


class Refusal(Exception):
    """The card's answer is *status* and no data. Never leaves the card."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04X}")
        self.status = status


def refuse(status: int) -> NoReturn:
    """End the command with *status*."""
    raise Refusal(status)


def require(condition: object, status: int) -> None:
    """End the command with *status* unless *condition* holds."""
    if not condition:
        raise Refusal(status)

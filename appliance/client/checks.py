"""How the holder was, or is being, compared with the card."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeAlias

from appliance.client.answers import Front
from appliance.client.result import NOBODY


@dataclass(frozen=True, slots=True)
class FaceCheck:
    """A *device* has compared the holder's face with the card."""

    device: str

    @property
    def claimed(self) -> dict[str, str]:
        """What the token has to state."""
        return {"method": "face", "device": self.device}

    @property
    def ordered(self) -> dict[str, Any]:
        """The members of an order."""
        return {"identity_check": self.claimed}


@dataclass(frozen=True, slots=True)
class Printed:
    """What is printed on the card, of which 照合番号B is made; *last_try* says whether its last try may be used."""

    birth: date = field(repr=False)
    expiry_year: int = field(repr=False)
    security_code: str = field(repr=False)
    last_try: bool = False


@dataclass(frozen=True, slots=True)
class VisualCheck:
    """
    The *operator* compares the front, which is read in the same session, with the person in front of them.

    *compare* shows it, and returns whether it is the same person. The card stays on the reader meanwhile. Once it is too
    late it is cancelled, and has to take the front off the screen. That ends no thread: who waits in one has to tell it
    to end, or `asyncio.run`, which waits for threads, and so `blocking.authenticate`, is held up by it.
    """

    operator: str
    printed: Printed
    compare: Callable[[Front], Awaitable[bool]]

    @property
    def claimed(self) -> dict[str, str]:
        """What the token has to state."""
        return {"method": "visual", "operator": self.operator}

    @property
    def ordered(self) -> dict[str, Any]:
        """The members of an order."""
        printed = self.printed
        front = {
            "birth": printed.birth,
            "expiry_year": printed.expiry_year,
            "security_code": printed.security_code,
            "last_try": printed.last_try,
        }
        return {"identity_check": self.claimed, "front": front}


@dataclass(frozen=True, slots=True)
class EmergencyCheck:
    """
    Nobody can compare anything: the patient is unconscious, and two operators have opened a window for that.

    Without one the appliance refuses with `emergency_closed`. The result says that nobody has checked (`Claims.is_unchecked`).
    """

    @property
    def claimed(self) -> dict[str, str]:
        """What the token has to state."""
        return {"method": NOBODY}

    @property
    def ordered(self) -> dict[str, Any]:
        """The members of an order."""
        return {"identity_check": self.claimed}


IdentityCheck: TypeAlias = FaceCheck | VisualCheck | EmergencyCheck

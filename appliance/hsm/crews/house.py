"""What the workers of an HSM know of the pool they belong to."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from appliance.errors import HsmUnavailable
from appliance.hsm.crews.line import Job, Line
from appliance.hsm.messages import Answer

if TYPE_CHECKING:
    from appliance.hsm.crews.crew import Crew


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds."""

    start: float
    sign: float
    canary: float


class House(Protocol):
    """Where the requests come from."""

    def answered(self, crew: "Crew", line: Line, job: Job, answer: Answer) -> None:
        """*job* has its last *answer*."""

    def lost(self, crew: "Crew", jobs: tuple[Job, ...], error: HsmUnavailable) -> None:
        """Nobody knows what became of *jobs*."""

    def changed(self) -> None:
        """The crew takes more requests than before, or none any more."""

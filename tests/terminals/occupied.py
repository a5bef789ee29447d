"""Cards that tests wait for: one tells when it works, and one waits until another one works, too."""

import threading
from collections.abc import Iterable

from appliance.simulator.card import SoftwareCard
from appliance.simulator.faults import Delay, Fault, FaultyCard, Outcome, Silence

SECONDS = 20.0


class Occupied(FaultyCard):
    """A card that says when it is *busy* with a command that takes it long."""

    def __init__(self, card: SoftwareCard, faults: Iterable[Fault]) -> None:
        super().__init__(card, faults)
        self.busy = threading.Event()

    def respond(self, command: bytes) -> Outcome:
        """Answer as ever."""
        outcome = super().respond(command)
        if isinstance(outcome, Delay):
            self.busy.set()
        return outcome


class Meeting(FaultyCard):
    """A card that answers its first command only while all others of the *party* have one to answer; else it is mute."""

    def __init__(self, card: SoftwareCard, party: threading.Barrier) -> None:
        super().__init__(card)
        self._party = party
        self.met = False

    def respond(self, command: bytes) -> Outcome:
        """Answer as ever, but not alone."""
        if not self.met:
            try:
                self._party.wait(SECONDS)
            except threading.BrokenBarrierError:
                return Silence()
            self.met = True
        return super().respond(command)

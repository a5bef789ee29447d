"""What lets a try and a login through, as a state machine: the breaker, the gate, and an HSM that does what it likes."""

import asyncio
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.errors import HsmPinRejected
from appliance.hsm.crews.breaker import FIRST_PAUSE, LONGEST_PAUSE, SHORTEST_PAUSE, Breaker
from appliance.hsm.crews.logins import LoginGate
from appliance.hsm.marker import Marker
from appliance.hsm.messages import TokenSetup
from appliance.hsm.place import Hsm
from appliance.hsm.vendor import SOFTHSM

HSM = Hsm(
    "hsm-1",
    TokenSetup(
        vendor=SOFTHSM,
        module="/m.so",
        token="t",  # noqa: S106 - a label
        pin_file="/p",
        institution_keys=(b"i",),
        token_key=None,
        challenge_bytes=16,
        challenges_per_minute=1,
        issuer="us",
        token_lifetime_seconds=1,
    ),
)


def test_pauses_grow_to_a_bound() -> None:
    """2 seconds, half as long again each time, 30 at most; a success begins anew."""
    breaker = Breaker()
    assert not breaker.is_open
    assert breaker.next_try(0.0) == 0.0
    pauses = []
    for _ in range(12):
        breaker.failed(0.0)
        pauses.append(breaker.next_try(0.0))
    assert pauses[:3] == [FIRST_PAUSE, 3.0, 4.5]
    assert pauses[-1] == LONGEST_PAUSE
    breaker.healed()
    breaker.failed(0.0)
    assert breaker.next_try(0.0) == FIRST_PAUSE


def test_demand_shortens_the_pause() -> None:
    """A caller who is refused has the next try come a second after the last one, and not sooner."""
    breaker = Breaker()
    for _ in range(12):
        breaker.failed(100.0)
    breaker.demand()
    assert breaker.next_try(100.0) == SHORTEST_PAUSE
    assert breaker.next_try(101.0) == 0.0
    breaker.failed(101.0)
    assert breaker.next_try(101.0) == LONGEST_PAUSE


class Recovery(RuleBasedStateMachine):
    """
    Breaker and gate, an HSM that is there, away, or refuses the PIN, callers, restarts, and a person.

    Who tries here asks both and tells both; that a crew and its workers do so is tested on a token, in `test_pool`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.now = 0.0
        self.hsm = "there"
        self.up = False
        self.failed_at: float | None = None
        self.rejections = 0
        self.unlocked = 0
        self._restarted()

    def teardown(self) -> None:
        """Remove the folder."""
        self.folder.cleanup()

    def _restarted(self) -> None:
        self.breaker = Breaker()
        self.gate = LoginGate(Marker.of(HSM, Path(self.folder.name)), 0.0, lambda: self.now)
        self.up = False
        self.failed_at = None

    def _may_log_in(self) -> bool:
        async def through() -> None:
            async with self.gate.turn():
                pass

        try:
            asyncio.run(through())
        except HsmPinRejected:
            return False
        return True

    @rule(seconds=st.floats(0.0, 60.0))
    def time_passes(self, seconds: float) -> None:
        """The clock goes on."""
        self.now += seconds

    @rule(hsm=st.sampled_from(["there", "away", "broken", "refusing"]))
    def hsm_changes(self, hsm: str) -> None:
        """The HSM comes, goes, signs nothing any more, or has another PIN."""
        self.hsm = hsm
        if hsm != "there":
            self.up = False

    @rule()
    def caller_comes(self) -> None:
        """A caller is refused where the HSM is not up."""
        if not self.up:
            self.breaker.demand()

    @precondition(lambda self: not self.up)
    @rule()
    def keeper_looks(self) -> None:
        """The keeper tries where it is time to; there is no storm, whoever demands whatever."""
        if self.breaker.next_try(self.now) > 0:
            return
        assert self.failed_at is None or self.now - self.failed_at >= SHORTEST_PAUSE - 1e-6
        self.failed_at = self.now
        if self.hsm == "away" or not self._may_log_in():
            self.breaker.failed(self.now)
        elif self.hsm == "refusing":
            self.rejections += 1
            self.gate.rejected(HSM, HsmPinRejected("CKR_PIN_INCORRECT"))
            self.breaker.failed(self.now)
        elif self.hsm == "broken":
            self.breaker.failed(self.now)
        else:
            self.breaker.healed()
            self.failed_at = None
            self.up = True

    @rule()
    def daemon_restarts(self) -> None:
        """Everything but the marker is forgotten."""
        self._restarted()

    @precondition(lambda self: self.gate.marker.is_set())
    @rule()
    def person_unlocks(self) -> None:
        """A person has looked, put the PIN right, and removed the marker."""
        self.hsm = "there"
        self.unlocked += 1
        self.gate.marker.remove()

    @invariant()
    def no_pin_is_tried_after_its_rejection(self) -> None:
        """Each rejection is followed by a person before there is another."""
        assert self.rejections <= self.unlocked + 1

    @invariant()
    def every_state_has_an_exit(self) -> None:
        """There is always a next try within the longest pause, or a marker that a person can remove."""
        assert self.breaker.next_try(self.now) <= LONGEST_PAUSE


TestRecovery = Recovery.TestCase
TestRecovery.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_gate_keeps_a_distance_and_lets_one_through(tmp_path: Path) -> None:
    """Logins of several workers come one at a time, with the distance between their beginnings."""
    loop = asyncio.get_running_loop()
    gate = LoginGate(Marker.of(HSM, tmp_path), 0.05, loop.time)
    began: list[float] = []
    inside = 0

    async def log_in() -> None:
        nonlocal inside
        async with gate.turn():
            inside += 1
            assert inside == 1
            began.append(loop.time())
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(log_in() for _ in range(4)))
    assert all(later - earlier >= 0.049 for earlier, later in pairwise(began))


async def test_rejection_that_cannot_be_written_holds_in_the_process(tmp_path: Path) -> None:
    """A state folder that is gone loses the marker, and not the rule."""
    gate = LoginGate(Marker.of(HSM, tmp_path / "absent"), 0.0, lambda: 0.0)
    gate.rejected(HSM, HsmPinRejected("CKR_PIN_INCORRECT"))
    with pytest.raises(HsmPinRejected, match="no other login is tried"):
        async with gate.turn():
            pass

"""
The ladder's lower half, climbed beside the keys: what a worker does when its module fails.

The deadline of the request bounds the climb: no rung is begun after it. What the worker cannot heal, it reports, and
ends; the pool has the upper rungs.
"""

from collections.abc import Callable
from typing import Protocol

from appliance.errors import (
    ApplianceError,
    ConfigurationError,
    HsmKeyAbsent,
    HsmKeyAmbiguous,
    HsmKeyUnsafe,
    HsmPinRejected,
    HsmPinUnavailable,
    HsmTokenAmbiguous,
    InstitutionError,
)
from appliance.hsm.ladder import ErrorClass, Operation, Rung, Treatment, treatment
from appliance.hsm.messages import Climbed, Climbing

_FOR_A_PERSON = (
    ConfigurationError,
    InstitutionError,
    HsmKeyAbsent,
    HsmKeyAmbiguous,
    HsmKeyUnsafe,
    HsmPinUnavailable,
    HsmTokenAmbiguous,
)
"""What is wrong with keys and files, and not with the module."""


class ModuleFailed(Exception):
    """*operation* failed: *error* is ours, *ckr* names the module's return value where it was one."""

    def __init__(self, error: ApplianceError, ckr: str, operation: Operation) -> None:
        super().__init__(f"{operation}: {error}")
        self.error = error
        self.ckr = ckr
        self.operation = operation

    @property
    def treatment(self) -> Treatment:
        """What the table says; without a return value, what kind of error it is says how bad it is."""
        if isinstance(self.error, HsmPinRejected):
            return Treatment(ErrorClass.AUTH, None, unsigned=True)
        if self.ckr:
            return treatment(self.ckr, self.operation)
        if isinstance(self.error, _FOR_A_PERSON):
            return Treatment(ErrorClass.PERMANENT, Rung.BREAKER, unsigned=True)
        return Treatment(ErrorClass.TRANSIENT, Rung.RESTART, unsigned=self.operation is not Operation.SIGN)


class Keys(Protocol):
    """The keys of a token. Everything here raises ModuleFailed."""

    def sign(self, key: str, message: bytes) -> bytes:
        """Return a verified signature."""

    def canary(self, key: str) -> float:
        """Have *key* sign a canary; return the seconds it took."""

    def canaries(self) -> tuple[float, ...]:
        """Have every key sign a canary."""

    def find(self, key: str) -> None:
        """Drop the object of *key* and find it again."""

    def new_session(self) -> None:
        """Open another session, and find all keys again."""

    def reinitialise(self) -> None:
        """Finalize and initialise the module, log in, and find all keys again."""


class Unanswered(Exception):
    """A request could not be answered: why, whether surely nothing was signed, and whether the keys work now."""

    def __init__(self, failure: ModuleFailed, *, unsigned: bool, healed: bool) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.unsigned = unsigned
        self.healed = healed


class Climber:
    """Signs with *keys*, and climbs where that fails. Each step is *told*; *clock* is monotonic."""

    __slots__ = ("_clock", "_keys", "_tell")

    def __init__(
        self, keys: Keys, tell: Callable[[Climbing | Climbed], None], clock: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._tell = tell
        self._clock = clock

    def sign(self, key: str, message: bytes, deadline: float, *, repeatable: bool) -> bytes:
        """
        Return the signature of *key* over *message*, or raise Unanswered.

        A message that is not *repeatable* is signed a second time only where the first time surely came to nothing.
        """
        try:
            return self._keys.sign(key, message)
        except ModuleFailed as failed:
            failure = failed
        healed = self._climb(key, failure, deadline)
        may_repeat = repeatable or failure.treatment.unsigned
        if not healed or not may_repeat:
            raise Unanswered(failure, unsigned=failure.treatment.unsigned, healed=healed) from failure
        try:
            return self._keys.sign(key, message)
        except ModuleFailed as again:
            # It signed a canary a moment ago: this is not for us to understand. The pool has the next rungs.
            raise Unanswered(again, unsigned=again.treatment.unsigned, healed=False) from again

    def canary(self, key: str, deadline: float) -> float:
        """Have *key* sign a canary and return the seconds it took, or raise Unanswered."""
        try:
            return self._keys.canary(key)
        except ModuleFailed as failure:
            if not self._climb(key, failure, deadline):
                raise Unanswered(failure, unsigned=True, healed=False) from failure
        try:
            return self._keys.canary(key)
        except ModuleFailed as again:
            raise Unanswered(again, unsigned=True, healed=False) from again

    def _climb(self, key: str, failure: ModuleFailed, deadline: float) -> bool:
        """Try rung after rung, beginning with the one for *failure*; return whether one has healed."""
        first = failure.treatment
        rung = first.rung
        while rung is not None and rung <= Rung.REINITIALISE and self._clock() < deadline:
            self._tell(Climbing(rung, failure.ckr or failure.error.code, first.error_class))
            try:
                self._step(rung, key)
            except ModuleFailed as again:
                self._tell(Climbed(rung, healed=False))
                if again.treatment.error_class is ErrorClass.AUTH:
                    raise Unanswered(again, unsigned=first.unsigned, healed=False) from again
                rung = Rung(rung + 1)
            else:
                self._tell(Climbed(rung, healed=True))
                return True
        return False

    def _step(self, rung: Rung, key: str) -> None:
        match rung:
            case Rung.RETRY:
                self._keys.canary(key)
            case Rung.FIND_KEY:
                self._keys.find(key)
                self._keys.canary(key)
            case Rung.NEW_SESSION:
                self._keys.new_session()
                self._keys.canaries()
            case Rung.REINITIALISE:
                self._keys.reinitialise()
                self._keys.canaries()
            case _:
                raise ValueError(f"{rung.name} is not the worker's")

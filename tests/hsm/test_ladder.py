"""The table, and the climb along it: every return value after every operation, on a token that is a fake."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pkcs11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pkcs11 import exceptions

from appliance.errors import HsmPinRejected, HsmSigningFailed
from appliance.hsm.ladder import TABLE, UNKNOWN, WRONG_SIGNATURE, ErrorClass, Operation, Rung, treatment
from appliance.hsm.messages import Climbed, Climbing
from appliance.hsm.pkcs11.return_values import NAMES, UNNAMED, VENDOR_DEFINED, named
from appliance.hsm.pkcs11.token import return_value
from appliance.hsm.worker.climber import Climber, ModuleFailed, Unanswered

VALUES = (*NAMES.values(), VENDOR_DEFINED, UNNAMED, WRONG_SIGNATURE)
values = st.sampled_from(VALUES)
DEADLINE = 10.0


def test_every_return_value_of_the_standard_is_in_the_table() -> None:
    """The table is total over PKCS#11 3.0 and has nothing beside it but our own value."""
    assert set(TABLE) == {*NAMES.values(), WRONG_SIGNATURE}


def test_what_python_pkcs11_knows_has_its_number_and_name() -> None:
    """No value that the library can raise is without a name of ours, and none is named wrongly."""
    source = Path(pkcs11.__file__).with_name("_pkcs11.pxd").read_text("utf-8")
    numbers = {
        name: int(value, 16) for name, value in re.findall(r"(CKR_\w+)\s*=\s*(0x[0-9A-Fa-f]+)", source)
    }
    for name, number in numbers.items():
        if name not in {"CKR_OK", "CKR_VENDOR_DEFINED"}:
            assert NAMES[number] == name
    told = re.findall(r'if rv == (CKR_\w+):\s+exc = PKCS11Error\("([^"]+)"\)', source)
    assert {name: named(text) for name, text in told} == {name: name for name, _ in told}
    classes = re.findall(r"if rv == (CKR_\w+):\s+exc = (\w+)\(\)", source)
    assert {name: named(return_value(getattr(exceptions, kind)())) for name, kind in classes} == {
        name: name for name, _ in classes
    }


@given(st.integers(1, 0xFFFFFFFF))
def test_every_number_has_one_of_a_closed_set_of_names(number: int) -> None:
    """A number is named by the standard, or as a vendor's, or as unnamed; labels stay a closed set."""
    assert named(f"Unmapped error code {number:#x}") in VALUES


@given(st.text())
def test_any_words_are_named(words: str) -> None:
    """Whatever a library says leads to a name of the closed set."""
    assert named(words) in VALUES


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("ckr", VALUES)
def test_every_failure_has_a_treatment(ckr: str, operation: Operation) -> None:
    """Each value after each operation has a rung, or is the PIN's; a retry is for what surely came before."""
    treated = treatment(ckr, operation)
    assert (treated.rung is None) == (treated.error_class is ErrorClass.AUTH)
    if treated.rung is Rung.RETRY:
        assert treated.unsigned
    if treated.error_class is ErrorClass.PERMANENT:
        assert treated.rung is Rung.BREAKER
    if operation is not Operation.SIGN:
        assert treated.unsigned
    if operation in {Operation.LOAD, Operation.LOGIN} and treated.rung is not None:
        assert treated.rung >= Rung.RESTART


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(
    "ckr", ["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED", "CKR_PIN_INVALID", "CKR_PIN_LEN_RANGE"]
)
def test_a_refused_pin_has_no_rung(ckr: str, operation: Operation) -> None:
    """Whenever the PIN is what is wrong, nothing is tried."""
    assert treatment(ckr, operation).rung is None


@pytest.mark.parametrize("ckr", [VENDOR_DEFINED, UNNAMED, "CKR_NEXT_OTP", "CKR_SOMETHING_NEW"])
def test_a_login_of_unknown_fate_is_not_repeated(ckr: str) -> None:
    """An answer to a login that nobody understands counts as a refusal; elsewhere it is the stated default."""
    assert treatment(ckr, Operation.LOGIN).error_class is ErrorClass.AUTH
    if ckr not in TABLE:
        assert treatment(ckr, Operation.SIGN) == UNKNOWN


@dataclass
class FakeKeys:
    """A token that fails as scripted: *failures* by what is done, each used up by one attempt; heals at *heals_at*."""

    failures: list[tuple[str, str]] = field(default_factory=list)
    heals_at: Rung | None = None
    broken: bool = False
    generation: int = 0
    signed: list[bytes] = field(default_factory=list)
    attempts: list[bytes] = field(default_factory=list)
    done: list[Rung] = field(default_factory=list)
    logins: int = 0
    pin_refused: bool = False

    def sign(self, _key: str, message: bytes) -> bytes:
        """Sign, unless it is to fail."""
        self.attempts.append(message)
        self._perhaps_fail("sign", Operation.SIGN)
        self.signed.append(message)
        return b"signature of " + message

    def canary(self, _key: str) -> float:
        """Sign, unless it is to fail."""
        self._perhaps_fail("canary", Operation.SIGN)
        return 0.001

    def canaries(self) -> tuple[float, ...]:
        """Sign twice."""
        return (self.canary("a"), self.canary("b"))

    def find(self, _key: str) -> None:
        """Take rung 1."""
        self._step(Rung.FIND_KEY, "find", Operation.FIND)

    def new_session(self) -> None:
        """Take rung 2."""
        self._step(Rung.NEW_SESSION, "new_session", Operation.FIND)

    def reinitialise(self) -> None:
        """Take rung 3, for which a login is needed."""
        self.generation += 1
        self.logins += 1
        assert not self.pin_refused, "a refused PIN was tried again"
        self._step(Rung.REINITIALISE, "login", Operation.LOGIN)

    def _step(self, rung: Rung, what: str, operation: Operation) -> None:
        self.done.append(rung)
        self._perhaps_fail(what, operation)
        if self.heals_at is not None and rung >= self.heals_at:
            self.broken = False

    def _perhaps_fail(self, what: str, operation: Operation) -> None:
        for failure in self.failures:
            if failure[0] == what:
                self.failures.remove(failure)
                raise self._failed(failure[1], operation)
        if self.broken and what in {"sign", "canary"}:
            raise self._failed("CKR_DEVICE_ERROR", operation)

    def _failed(self, ckr: str, operation: Operation) -> ModuleFailed:
        if treatment(ckr, operation).error_class is ErrorClass.AUTH:
            self.pin_refused = True
            return ModuleFailed(HsmPinRejected(ckr), ckr, operation)
        return ModuleFailed(HsmSigningFailed(ckr), ckr, operation)


def _climbed(
    keys: FakeKeys, *, repeatable: bool, clock: Callable[[], float] = lambda: 0.0
) -> tuple[bytes | Unanswered, list[Climbing | Climbed]]:
    told: list[Climbing | Climbed] = []
    try:
        return Climber(keys, told.append, clock).sign("a", b"m", DEADLINE, repeatable=repeatable), told
    except Unanswered as unanswered:
        return unanswered, told


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("ckr", VALUES)
def test_a_failure_that_passes_is_healed_or_handed_up(ckr: str, repeatable: bool) -> None:  # noqa: FBT001
    """
    After one failure of any kind the request is answered where that is safe, and otherwise refused.

    A challenge is signed again only where the table says that nothing was signed; the rung that healed is told.
    """
    keys = FakeKeys([("sign", ckr)])
    outcome, told = _climbed(keys, repeatable=repeatable)
    expected = treatment(ckr, Operation.SIGN)
    climbs = expected.rung is not None and expected.rung <= Rung.REINITIALISE
    if climbs and (repeatable or expected.unsigned):
        assert outcome == b"signature of m"
        assert len(keys.attempts) == 2
    else:
        assert isinstance(outcome, Unanswered)
        assert outcome.unsigned == expected.unsigned
        assert outcome.healed == climbs
        assert len(keys.attempts) == 1
    if climbs:
        assert told[-1] == Climbed(expected.rung or Rung.RETRY, healed=True)
    else:
        assert told == []


@pytest.mark.parametrize("heals_at", [Rung.FIND_KEY, Rung.NEW_SESSION, Rung.REINITIALISE])
@pytest.mark.parametrize("ckr", VALUES)
def test_the_climb_goes_up_until_it_heals(ckr: str, heals_at: Rung) -> None:
    """From the first rung of the table, each next one is tried until one heals, and none twice."""
    keys = FakeKeys([("sign", ckr)], heals_at=heals_at, broken=True)
    outcome, told = _climbed(keys, repeatable=True)
    first = treatment(ckr, Operation.SIGN).rung
    rungs = [step.rung for step in told if isinstance(step, Climbing)]
    if first is None or first > Rung.REINITIALISE:
        assert rungs == []
        assert isinstance(outcome, Unanswered)
    else:
        assert rungs == [Rung(number) for number in range(first, max(first, heals_at) + 1)]
        assert outcome == b"signature of m"


@given(
    failures=st.lists(
        st.tuples(st.sampled_from(["sign", "canary", "find", "new_session", "login"]), values), max_size=8
    ),
    heals_at=st.sampled_from([None, *Rung]),
    broken=st.booleans(),
    repeatable=st.booleans(),
)
def test_whatever_fails_the_rules_hold(
    failures: list[tuple[str, str]],
    heals_at: Rung | None,
    broken: bool,  # noqa: FBT001
    repeatable: bool,  # noqa: FBT001
) -> None:
    """
    Any failures, anywhere in the climb: it ends, it logs in once at most, and signs no challenge of unknown outcome.

    A refused PIN is never tried a second time (the fake itself asserts that).
    """
    keys = FakeKeys(list(failures), heals_at, broken)
    outcome, told = _climbed(keys, repeatable=repeatable)
    assert keys.logins <= 1
    assert len(keys.attempts) <= 2
    assert keys.done == sorted(set(keys.done))
    assert len(told) % 2 == 0
    assert [type(step) for step in told] == [Climbing, Climbed] * (len(told) // 2)
    if len(keys.attempts) == 2 and not repeatable:
        first = next(ckr for what, ckr in [*failures, ("sign", "CKR_DEVICE_ERROR")] if what == "sign")
        assert treatment(first, Operation.SIGN).unsigned
    if isinstance(outcome, Unanswered):
        assert not (outcome.unsigned and keys.signed)


def test_no_rung_is_begun_after_the_deadline() -> None:
    """When nobody waits any more the climb stops, and the worker is the pool's to replace."""
    outcome, told = _climbed(FakeKeys(broken=True), repeatable=True, clock=lambda: DEADLINE)
    assert isinstance(outcome, Unanswered)
    assert not outcome.healed
    assert told == []


def test_a_canary_climbs_too() -> None:
    """A loss that the canary meets is healed on the way; one that no rung heals is told as unsigned."""
    healed = FakeKeys(heals_at=Rung.REINITIALISE, broken=True)
    told: list[Climbing | Climbed] = []
    assert Climber(healed, told.append, lambda: 0.0).canary("a", DEADLINE) > 0
    assert told[-1] == Climbed(Rung.REINITIALISE, healed=True)
    with pytest.raises(Unanswered) as refused:
        Climber(FakeKeys(broken=True), told.append, lambda: 0.0).canary("a", DEADLINE)
    assert refused.value.unsigned
    assert not refused.value.healed


def test_only_the_workers_rungs_are_climbed() -> None:
    """The upper rungs are the pool's: asking the climber for one is a bug."""
    with pytest.raises(ValueError, match="RESTART"):
        Climber(FakeKeys(), lambda _: None, lambda: 0.0)._step(Rung.RESTART, "a")

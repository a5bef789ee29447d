"""The PIN from a keyboard: a real pseudo-terminal, and hands on its other side."""

import os
import pty
import select
import termios
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from appliance.terminals.agent.keyboard import Keyboard

PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Hands:
    """Who sits at the terminal, and the keyboard under their hands."""

    descriptor: int
    far: int
    keyboard: Keyboard
    pool: ThreadPoolExecutor

    def asked(
        self, seconds: float = PATIENCE, given_up: threading.Event | None = None
    ) -> "Future[str | None]":
        """Have the question asked, and wait until the holder would be told."""
        answer, told = self.question(seconds, given_up)
        assert told.wait(PATIENCE)
        assert self.silent or answer.done()
        return answer

    def question(
        self, seconds: float = PATIENCE, given_up: threading.Event | None = None
    ) -> "tuple[Future[str | None], threading.Event]":
        """Have a question asked, and return its answer to come, and what is set when the holder would be told."""
        told = threading.Event()
        return self.pool.submit(self.keyboard.ask, seconds, given_up or threading.Event(), told.set), told

    @property
    def silent(self) -> bool:
        """Whether what is typed is not shown."""
        return not termios.tcgetattr(self.far)[3] & termios.ECHO

    def type(self, keys: str) -> None:
        """Press *keys*."""
        os.write(self.descriptor, keys.encode())


@pytest.fixture
def hands() -> Iterator[Hands]:
    """Return hands at a terminal of their own."""
    descriptor, far = pty.openpty()
    with ThreadPoolExecutor(2) as pool, Keyboard(os.dup(far)) as keyboard:
        yield Hands(descriptor, far, keyboard, pool)
    os.close(far)
    os.close(descriptor)


def test_what_is_typed_is_taken_and_not_shown(hands: Hands) -> None:
    """Four digits and Enter; the screen shows nothing of them, and echoes again afterwards."""
    answer = hands.asked()
    hands.type("1294\x7f\x7f34\r")
    assert answer.result(PATIENCE) == "1234"
    assert not hands.silent
    os.set_blocking(hands.descriptor, False)
    with pytest.raises(BlockingIOError):
        os.read(hands.descriptor, 100)


@pytest.mark.parametrize("key", ["\x1b", "\x03", "\x04"])
def test_a_holder_may_decline(hands: Hands, key: str) -> None:
    """Escape, ctrl-C and ctrl-D mean no, and do not end the terminal."""
    answer = hands.asked()
    hands.type(f"12{key}")
    assert answer.result(PATIENCE) is None


def test_digits_typed_before_the_question_are_no_pin(hands: Hands) -> None:
    """Whatever lay in the keyboard when the question came is thrown away."""
    hands.type("9999\r")
    select.select([hands.far], [], [], PATIENCE)  # until they have arrived there
    answer = hands.asked()
    hands.type("1234\r")
    assert answer.result(PATIENCE) == "1234"


def test_who_has_given_up_does_not_wait_for_the_keyboard(hands: Hands) -> None:
    """While another holder enters a PIN, a question whose session has ended is over at once, and nobody is told anything."""
    first, given_up = hands.asked(), threading.Event()
    second, told = hands.question(given_up=given_up)
    given_up.set()
    assert second.result(PATIENCE / 2) is None
    assert not told.is_set()
    assert not first.done()
    hands.type("1234\r")
    assert first.result(PATIENCE) == "1234"


def test_nobody_is_waited_for_without_end(hands: Hands) -> None:
    """After its time, or when who asked has gone, the question is over."""
    assert hands.asked(seconds=0.1).result(PATIENCE) is None
    given_up = threading.Event()
    answer = hands.asked(given_up=given_up)
    given_up.set()
    assert answer.result(PATIENCE) is None
    assert not hands.silent


def test_two_questions_are_asked_one_after_another(hands: Hands) -> None:
    """There is one keyboard: the second holder's turn comes when the first has finished."""
    first = hands.asked()
    second, told = hands.question()
    hands.type("1111\r")
    assert first.result(PATIENCE) == "1111"
    assert told.wait(PATIENCE)
    hands.type("2222\r")
    assert second.result(PATIENCE) == "2222"


def test_too_much_is_no_pin_and_no_harm(hands: Hands) -> None:
    """A stuck key fills nothing."""
    answer = hands.asked()
    hands.type("1" * 500 + "\r")
    assert answer.result(PATIENCE) == "1" * 64

"""A worker that talks nonsense: `python nonsense.py HOW`, in a worker's place."""

import os
import sys
from collections.abc import Callable, Mapping

from appliance.hsm.messages import (
    HEADER_BYTES,
    Answer,
    CanaryResult,
    Loaded,
    LoggedIn,
    Ready,
    Reply,
    Request,
    Signature,
    body_length,
    frame,
    read_request,
)


def say(number: int, answer: Answer) -> None:
    """Send a frame."""
    os.write(1, frame(Reply(number, answer)))


def hear() -> Request:
    """Return the next request, or end."""
    header = os.read(0, HEADER_BYTES)
    return read_request(os.read(0, body_length(header))) if header else sys.exit()


def answer_twice(request: Request) -> None:
    """Answer one request two times."""
    for _ in range(2):
        say(request.number, Signature(b"signed"))


def flood() -> None:
    """Send random bytes as long as somebody listens."""
    try:
        while True:
            os.write(1, os.urandom(1 << 16))
    except OSError:
        sys.exit()


def come_up(*answers: Answer) -> None:
    """Log in as it should be, and say *answers* at once."""
    say(0, Loaded())
    hear()
    os.write(1, b"".join(frame(Reply(0, answer)) for answer in (LoggedIn(), *answers)))
    hear()


BEFORE: Mapping[str, Callable[[], object]] = {
    "ends": lambda: None,
    "text": lambda: os.write(1, b"Segmentation fault\n"),
    "endless": lambda: os.write(1, b"\xff\xff\xff\xff"),
    "empty": lambda: os.write(1, bytes(HEADER_BYTES)),
    "half": lambda: os.write(1, frame(Reply(0, Loaded()))[:-1]),
    "flood": flood,
    "other number": lambda: say(99, Loaded()),
    "other answer": lambda: say(0, Signature(b"signed")),
    "ready at once": lambda: say(0, Ready((0.1, 0.1))),
    "ready twice": lambda: come_up(Ready((0.1, 0.1)), Ready((0.1, 0.1))),
    "ready without canaries": lambda: come_up(Ready(())),
}
"""What is said to the set-up, and after it."""

AFTER: Mapping[str, Callable[[Request], object]] = {
    "ends later": lambda _: sys.exit(),
    "text later": lambda _: os.write(1, b"Segmentation fault\n"),
    "other number later": lambda request: say(request.number + 1, Signature(b"signed")),
    "other answer later": lambda request: say(request.number, CanaryResult(0.1)),
    "set-up later": lambda request: say(request.number, Loaded()),
    "twice": answer_twice,
}
"""What is said to a request, when everything was in order before."""


def main(how: str) -> None:
    """Come up as far as *how* says, and talk nonsense until the end."""
    hear()
    if how in BEFORE:
        BEFORE[how]()
        return
    say(0, Loaded())
    hear()
    say(0, LoggedIn())
    say(0, Ready((0.1, 0.1)))
    while True:
        AFTER[how](hear())


if __name__ == "__main__":
    main(sys.argv[1])

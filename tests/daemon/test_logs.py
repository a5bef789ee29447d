"""Log lines: JSON, each one line, without what a foreign error says."""

import logging
from typing import Any

import msgspec

from appliance.daemon.logs import JsonLines
from appliance.errors import CardRemoved


def written(record: logging.LogRecord) -> dict[str, Any]:
    """Return the line for *record*."""
    line = JsonLines().format(record)
    assert "\n" not in line
    found: dict[str, Any] = msgspec.json.decode(line)
    return found


def made(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    """Return a record."""
    record = logging.LogRecord("appliance.test", logging.WARNING, "x.py", 1, message, arguments, None)
    vars(record).update(extra)
    return record


def test_an_event_is_one_line_with_its_fields() -> None:
    """Whatever is in it, a line stays a line, and fields do not replace what every line has."""
    line = written(made("hsm %s", "down\n{}", lists=2, level="info", request_id="r-1"))
    assert (line["event"], line["lists"], line["level"], line["request"]) == (
        "hsm down\n{}",
        2,
        "warning",
        "r-1",
    )


def test_what_a_foreign_error_says_is_not_written() -> None:
    """Its kind and its place are; of our own errors the detail is, which is made for it."""
    try:
        try:
            raise ValueError("PIN 1234 of 山田太郎")  # noqa: TRY301 - what a library might say
        except ValueError as error:
            raise CardRemoved("the card left the reader") from error
    except CardRemoved as error:
        record = made("failed")
        record.exc_info = (type(error), error, error.__traceback__)
    line = written(record)
    assert line["error"] == ["card_removed: the card left the reader", "ValueError"]
    assert "test_logs.py" in line["at"][-1]
    assert "1234" not in JsonLines().format(record)


def test_no_value_is_longer_than_a_line_should_be() -> None:
    """What an attacker makes long is cut off."""
    assert len(JsonLines().format(made("x" * 100_000, detail="y" * 100_000))) < 10_000

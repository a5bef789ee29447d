"""A mistake of the hand-over's own: told to those who wait, kept out of the log's words, and no request is lost by it."""

import asyncio
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from appliance.catalogue import Language, error_text
from appliance.client import Client
from appliance.daemon.logs import JsonLines
from appliance.handover import service, settings
from appliance.handover.intake import Taken
from appliance.handover.service import Service
from tests.handover.desk import Reception


class Mistaken:
    """A client with a bug, which it tells with what is personal in it."""

    async def authenticate(self, *_asked: object, **_more: object) -> object:
        """Fail as nobody expects."""
        await asyncio.sleep(0)
        raise ZeroDivisionError("of 山田 太郎")


class Unreadable:
    """A client that finds one of its files gone: no folder of ours is to blame."""

    async def authenticate(self, *_asked: object, **_more: object) -> object:
        """Fail with what the operating system said."""
        await asyncio.sleep(0)
        raise FileNotFoundError("of 山田 太郎")


@pytest.fixture
def reception() -> Iterator[Reception]:
    """Reception with empty folders."""
    with tempfile.TemporaryDirectory(prefix="handover-") as name:
        here = Reception(Path(name))
        here.configure()
        yield here


def serving(reception: Reception, client: object) -> Service:
    """Return the hand-over that asks *client*."""
    made = Service.of(settings.load(reception.folder / "handover.toml"))
    made.clients = dict.fromkeys(Language, cast("Client", client))
    return made


def taken(here: Service) -> Taken:
    """Return the request that lies there."""
    (found,) = here.intake.take(here.clock(), 0)
    return found


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return what was logged, as it is written."""
    return [json.loads(JsonLines().format(record)) for record in caplog.records]


@pytest.mark.parametrize("client", [Mistaken(), Unreadable()], ids=["bug", "missing-file"])
async def test_a_bug_becomes_a_result_that_says_so(
    reception: Reception, client: object, caplog: pytest.LogCaptureFixture
) -> None:
    """With a number under which the log has where it arose, and no word of what it said."""
    caplog.set_level(logging.INFO, service.__name__)
    here = serving(reception, client)
    reception.ask("visit-1", echo={"chart": "0042"}, language="en")
    await here._answer(taken(here))
    result = reception.result("visit-1")
    assert (result["outcome"], result["code"]) == ("refused", "handover_failed")
    assert result["clerk"] == error_text("handover_failed").clerk.in_language(Language.EN)
    assert result["echo"] == {"chart": "0042"}
    failed = next(line for line in lines(caplog) if line["level"] == "error")
    assert failed["event"] == f"request failed unexpectedly mark={result['request_id']}"
    assert failed["at"]
    for text in (json.dumps(lines(caplog), ensure_ascii=False), json.dumps(result, ensure_ascii=False)):
        assert "山田" not in text
    assert not list(here.work.glob("visit-1*"))


async def test_a_bug_of_the_last_step_leaves_the_request_to_the_next_start(
    reception: Reception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even a failure can be laid out, the log says so, and the next process answers."""
    here = serving(reception, Mistaken())
    reception.ask("visit-2")

    def broken(_result: object) -> bytes:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(service, "encoded", broken)
        here._start(here._answer(taken(here)))
        while here._tasks:
            await asyncio.wait(tuple(here._tasks))
            await asyncio.sleep(0)
    assert [line["event"] for line in lines(caplog) if line["level"] == "critical"] == [
        "request without an answer until the next start"
    ]
    assert not (reception.results / "visit-2.json").exists()
    again = serving(reception, Mistaken())
    (claimed,) = again.intake.left_over()
    await again._resume(claimed)
    assert reception.result("visit-2")["code"] == "handover_interrupted"

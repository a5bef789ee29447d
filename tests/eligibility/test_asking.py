"""A connector is held to its contract, whoever wrote it."""

import asyncio
import logging
from dataclasses import dataclass, replace

import pytest

from appliance.eligibility.asking import Eligibility
from appliance.eligibility.service import Answer, Question, Summary
from appliance.errors import (
    CardAbsent,
    EligibilityConnectorFailed,
    EligibilityRefused,
    EligibilityTimeout,
)

ANSWER = Answer(Summary.VALID, "<XmlMsg>有効</XmlMsg>", "text/xml; charset=utf-8", "4711")


@dataclass(slots=True)
class Connector:
    """Answers what it is told to, or raises it."""

    said: object

    async def ask(self, question: Question) -> Answer:
        """Answer."""
        assert question.desk == "desk-1"
        if isinstance(self.said, BaseException):
            raise self.said
        return self.said  # type: ignore[return-value]  # that is what is tested


def asked(said: object, *, largest: int = 100) -> Eligibility:
    """Return a service that answers *said*."""
    return Eligibility(Connector(said), 20.0, largest)


async def test_an_answer_within_the_contract_is_handed_on(question: Question) -> None:
    """What the connector returned is what the caller gets."""
    assert await asked(ANSWER).ask(question) is ANSWER
    unnamed = replace(ANSWER, reference=None)
    assert await asked(unnamed).ask(question) is unnamed


@pytest.mark.parametrize(
    "said",
    [
        None,
        "valid",
        replace(ANSWER, summary="valid"),  # type: ignore[arg-type]  # that is what is tested
        replace(ANSWER, document=b"bytes"),  # type: ignore[arg-type]  # that is what is tested
        replace(ANSWER, document="x" * 101),
        replace(ANSWER, document="有" * 34),
        replace(ANSWER, document="\ud800"),
        replace(ANSWER, media_type="text"),
        replace(ANSWER, media_type="text/xml\r\nX: y"),
        replace(ANSWER, media_type=None),  # type: ignore[arg-type]  # that is what is tested
        replace(ANSWER, reference=""),
        replace(ANSWER, reference="x" * 257),
        replace(ANSWER, reference="two\nlines"),
        replace(ANSWER, reference=4711),  # type: ignore[arg-type]  # that is what is tested
    ],
    ids=repr,
)
async def test_anything_else_is_the_connectors_fault(said: object, question: Question) -> None:
    """Another type, too large, or what would break whoever reads it: nothing of it goes further."""
    with pytest.raises(EligibilityConnectorFailed):
        await asked(said).ask(question)


async def test_its_refusals_are_ours(question: Question) -> None:
    """What a connector raises of our own failures arrives as it is."""
    refusal = EligibilityRefused("-", "login")
    with pytest.raises(EligibilityRefused) as caught:
        await asked(refusal).ask(question)
    assert caught.value is refusal


@pytest.mark.parametrize(
    "error",
    [ValueError("名前 太郎"), CardAbsent("名前 太郎"), RecursionError("名前 太郎"), OSError("名前 太郎")],
)
async def test_its_bugs_end_nothing_and_tell_nothing(
    error: Exception, question: Question, caplog: pytest.LogCaptureFixture
) -> None:
    """A foreign exception is named in the log by kind and place, and what it says is not repeated."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(EligibilityConnectorFailed) as caught:
        await asked(error).ask(question)
    assert type(error).__name__ in caplog.text
    assert "test_asking.py" in caplog.text
    assert "太郎" not in caplog.text + str(caught.value)


async def test_a_connector_that_forgets_the_time_is_ended(question: Question) -> None:
    """The time limit is ours, and does not rest on the connector's care; it is cancelled, and can clean up."""
    cleaned = asyncio.Event()

    class Forgetful:
        async def ask(self, _question: Question) -> Answer:
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.set()
            raise AssertionError

    with pytest.raises(EligibilityTimeout, match=r"0\.1 s"):
        await Eligibility(Forgetful(), 0.1, 100).ask(question)
    assert cleaned.is_set()

"""
What an eligibility service says of a holder, asked once the authentication has succeeded, and shown to its owner.

    none ──> asking ──> answered
                    └─> failed      the authentication stays what it is

The service's document is passed on as it came: nothing here reads it, and it goes when the authentication is forgotten.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from appliance.catalogue import Language
from appliance.errors import EligibilityCancelled, EligibilityError
from appliance.gateway.problems import Problem, problem

_LOG = logging.getLogger(__name__)


class Answer(Protocol):
    """What a service said."""

    @property
    def summary(self) -> str:
        """Return `valid`, `invalid` or `unknown`."""

    @property
    def document(self) -> str:
        """Return the whole answer, of bounded size."""

    @property
    def media_type(self) -> str:
        """Return what the document is."""

    @property
    def reference(self) -> str | None:
        """Return what the service calls its answer."""


class Eligibility(Protocol):
    """Who can be asked."""

    @property
    def is_configured(self) -> bool:
        """Whether there is anybody to ask."""

    async def ask(self, token: str, desk: str, request_id: str) -> Answer:
        """Return the answer about the holder of *token*; raise EligibilityError in bounded time."""


class State(StrEnum):
    """How far the question is."""

    NONE = "none"
    ASKING = "asking"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a question: an *answer*, or the *error* that took its place."""

    answer: Answer | None = field(default=None, repr=False)
    error: EligibilityError | None = None


class Document(msgspec.Struct, frozen=True):
    """The service's own words."""

    media_type: str
    content: str


class EligibilityView(msgspec.Struct, frozen=True, kw_only=True):
    """A question as the authentication's owner sees it. The last members are there where there is something to say."""

    state: State
    summary: str | UnsetType = UNSET
    reference: str | UnsetType = UNSET
    document: Document | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET


async def inquire(service: Eligibility, token: str, desk: str, request_id: str) -> Outcome:
    """
    Return what *service* says of the holder of *token*, or why it says nothing.

    Who cancels this ends the question, and nothing else: the authentication before it is complete and recorded.
    """
    try:
        return Outcome(await service.ask(token, desk, request_id))
    except EligibilityError as error:
        # What the service answered is about a person, and in no log; why it did not, is about the service.
        _LOG.warning("eligibility failed code=%s detail=%s", error.code, error.detail)
        return Outcome(error=error)
    except asyncio.CancelledError:
        return Outcome(error=EligibilityCancelled("the answer was not waited for"))


def eligibility_view(
    outcome: Outcome | None, *, is_asking: bool, reader: Language, request_id: str
) -> EligibilityView:
    """Return *outcome*, None where there is none yet, for a *reader* of that language."""
    if outcome is None:
        return EligibilityView(state=State.ASKING if is_asking else State.NONE)
    if outcome.answer is None:
        error = outcome.error or EligibilityCancelled("there is no answer")
        return EligibilityView(state=State.FAILED, problem=problem(error, reader, request_id))
    answer = outcome.answer
    return EligibilityView(
        state=State.ANSWERED,
        summary=answer.summary,
        reference=UNSET if answer.reference is None else answer.reference,
        document=Document(answer.media_type, answer.document),
    )

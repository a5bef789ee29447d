"""A connector held to its contract: in time, with answers of the size and shape they may have, and failures of ours alone."""

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Final

from appliance.eligibility.service import Answer, EligibilityService, Question, Summary
from appliance.errors import EligibilityConnectorFailed, EligibilityError, EligibilityTimeout

_LOG = logging.getLogger(__name__)
_MEDIA_TYPE: Final = re.compile(r"[!-~]{1,64}/[!-~][ -~]{0,127}")
LONGEST_REFERENCE: Final = 256


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The *service* as it is asked here: for *seconds*, and for at most *largest_bytes*."""

    service: EligibilityService
    seconds: float
    largest_bytes: int

    async def ask(self, question: Question) -> Answer:
        """Return the answer to *question*, or raise EligibilityError."""
        try:
            async with asyncio.timeout(self.seconds):
                answer = await self.service.ask(question)
        except EligibilityError:
            raise
        except TimeoutError as error:
            raise EligibilityTimeout(f"the service did not answer in {self.seconds:g} s") from error
        except Exception as error:
            # Whose bug, and where, goes into the log; what it said does not, for that may speak of a person.
            _LOG.error("eligibility connector failed error=%s at=%s", *_place(error))
            raise EligibilityConnectorFailed("the connector raised an error of its own") from error
        self._require_within_contract(answer)
        return answer

    def _require_within_contract(self, answer: object) -> None:
        # Nobody checks types of what others have written, so nothing of this is taken for granted.
        if not isinstance(answer, Answer):
            raise EligibilityConnectorFailed("the connector returned no answer")
        summary: object = answer.summary
        document: object = answer.document
        media_type: object = answer.media_type
        if not isinstance(summary, Summary):
            raise EligibilityConnectorFailed("the connector returned no summary")
        if not isinstance(document, str) or not self._fits(document):
            raise EligibilityConnectorFailed(
                "the connector returned a document too large, or that is no text"
            )
        if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
            raise EligibilityConnectorFailed("the connector returned what is no media type")
        if answer.reference is not None and not is_reference(answer.reference):
            raise EligibilityConnectorFailed("the connector returned what cannot be a reference")

    def _fits(self, document: str) -> bool:
        if len(document) > self.largest_bytes:
            return False
        try:
            return len(document.encode()) <= self.largest_bytes
        except UnicodeEncodeError:
            return False


def is_reference(value: object) -> bool:
    """Return whether *value* can be what a service calls its answer."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_REFERENCE and value.isprintable()


def _place(error: BaseException) -> tuple[str, str]:
    """Return what kind of error it is, and the innermost line that raised it."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return type(error).__name__, place

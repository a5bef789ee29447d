"""The appliance's own refusals, and what people are told of any failure."""

from dataclasses import dataclass

from appliance.catalogue import Language, error_text
from appliance.client.answers import Problem
from appliance.errors import ApplianceError, ClientError


class Refused(ClientError):
    """
    The appliance has refused: *problem* says why, in its words.

    *retry_after* is after how many seconds it may be asked again, where that may help by itself. The code is the
    appliance's, which may be newer than we are and know more of them.
    """

    code: str  # type: ignore[misc]  # one class for all codes of the appliance

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        self.code = problem.code
        super().__init__(problem.detail or problem.title, problem.request_id)
        self.problem = problem
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Told:
    """What is shown of a failure: to the clerk *title* and *clerk*, with *code* and *request_id* for the telephone."""

    code: str
    title: str
    clerk: str
    operator: str
    request_id: str | None


def told(error: ApplianceError, language: Language) -> Told:
    """Return what people are told of *error*; a refusal is in the language that the client had asked for."""
    if isinstance(error, Refused):
        problem = error.problem
        return Told(problem.code, problem.title, problem.clerk, problem.operator, problem.request_id)
    text = error_text(error.code)
    return Told(
        error.code,
        text.title.in_language(language),
        text.clerk.in_language(language),
        text.operator.in_language(language),
        error.request_id if isinstance(error, ClientError) else None,
    )

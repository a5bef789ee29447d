"""
Eligibility in FHIR: the CoverageEligibilityRequest that is asked with, and what its answer may be. Pure.

HL7 FHIR R4 (4.0.1). The models are those of `fhir.resources`, whose own default is R5; beside it there is R4B (4.3.0),
in which these resources are what they were in R4. Models bind no codes and take `"yes"` for true, so what a decision
rests on is read strictly besides.

An answer counts where, in this order,

  1. it is JSON without doubled members, of bounded depth and number of values;
  2. it is a CoverageEligibilityResponse by the models, and is active;
  3. it names our request by the identifier that was made for this question alone, and the patient by our pseudonym;
  4. its outcome is no error.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from importlib.util import find_spec
from typing import Annotated, Any, Final, NoReturn
from uuid import UUID

import msgspec

from appliance.eligibility.asking import is_reference
from appliance.eligibility.service import Answer, Question, Summary
from appliance.errors import (
    EligibilityAnswerForeign,
    EligibilityAnswerInvalid,
    EligibilityError,
    EligibilityPartMissing,
    EligibilityRefused,
    EligibilityUnavailable,
)

MEDIA_TYPE: Final = "application/fhir+json"
URN: Final = "urn:ietf:rfc:3986"
SUBJECT, INSTITUTION, DESK = (
    "urn:jpki-appliance:subject",
    "urn:jpki-appliance:institution",
    "urn:jpki-appliance:desk",
)
_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_PRIORITY: Final = "http://terminology.hl7.org/CodeSystem/processpriority"
_NOBODY: Final = "none_emergency"
_JAPAN: Final = timezone(timedelta(hours=9))
_DEEPEST: Final = 32
_MOST_VALUES: Final = 5_000
"""Validation takes up to 0.1 ms for each."""

_TRANSIENT: Final = frozenset(
    ("transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled")
)
_LASTING: Final = frozenset(
    (
        *("invalid", "structure", "required", "value", "invariant"),
        *("security", "login", "unknown", "expired", "forbidden", "suppressed"),
        *("processing", "not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long"),
        *("code-invalid", "extension", "too-costly", "business-rule", "conflict"),
    )
)
"""Issue types (HL7 FHIR R4 IssueType); of others `other` is told."""
OTHER: Final = "other"
_MISSING: Final = "FHIR needs the package fhir.resources: install jpki-appliance[fhir]"
_UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)
"""What models raise over documents that they do not expect; pydantic's own error is a ValueError."""


@dataclass(frozen=True, slots=True)
class Insurer:
    """An insurer (保険者) by its *number* in a *system* of identifiers."""

    system: str
    number: str


@dataclass(frozen=True, slots=True)
class Models:
    """Validates a resource by the model of its type, or raises one of `_UNREADABLE`."""

    request: Callable[[Mapping[str, Any]], object]
    response: Callable[[Mapping[str, Any]], object]
    outcome: Callable[[Mapping[str, Any]], object]


def require_models() -> None:
    """Raise EligibilityPartMissing where there are no models."""
    try:
        found = find_spec("fhir.resources")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise EligibilityPartMissing(_MISSING)


def models() -> Models:
    """Return the models, whose import takes more than a second; raise EligibilityPartMissing."""
    try:
        from fhir.resources.R4B.coverageeligibilityrequest import (  # noqa: PLC0415 - heavy, and not for everybody
            CoverageEligibilityRequest,
        )
        from fhir.resources.R4B.coverageeligibilityresponse import (  # noqa: PLC0415 - as above
            CoverageEligibilityResponse,
        )
        from fhir.resources.R4B.operationoutcome import OperationOutcome  # noqa: PLC0415 - as above
    except ImportError as error:
        raise EligibilityPartMissing(_MISSING) from error
    return Models(
        CoverageEligibilityRequest.model_validate,
        CoverageEligibilityResponse.model_validate,
        OperationOutcome.model_validate,
    )


def request(question: Question, identity: UUID, now: datetime, insurer: Insurer | None) -> dict[str, Any]:
    """
    Return the CoverageEligibilityRequest, called *identity*, that asks *question* for the day of *now* in Japan.

    Where nobody could check the holder it is an emergency, and goes first; why is in the token.
    """
    urgent = question.identity_check == _NOBODY
    return {
        "resourceType": "CoverageEligibilityRequest",
        "identifier": [{"system": URN, "value": identity.urn}],
        "status": "active",
        **({"priority": {"coding": [{"system": _PRIORITY, "code": "stat"}]}} if urgent else {}),
        "purpose": ["validation"],
        "patient": _by_identifier(SUBJECT, question.subject),
        "servicedDate": f"{now.astimezone(_JAPAN):%Y-%m-%d}",
        "created": now.astimezone(UTC).isoformat(timespec="seconds"),
        "provider": _by_identifier(INSTITUTION, question.institution),
        "facility": _by_identifier(DESK, question.desk),
        "insurer": {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
        if insurer is None
        else _by_identifier(insurer.system, insurer.number),
    }


def answer(body: bytes, question: Question, identity: UUID, known: Models) -> Answer:
    """
    Return what *body* answers to *question*, which was asked under *identity*.

    Raises EligibilityAnswerInvalid, EligibilityAnswerForeign, EligibilityRefused, EligibilityUnavailable.
    """
    text, tree = _parsed(body)
    if tree.get("resourceType") == "OperationOutcome":
        raise _failure(tree, known)
    said = _said(tree, _Response)
    _validate(known.response, tree)
    if said.status != "active" or "validation" not in said.purpose:
        raise EligibilityAnswerInvalid("the answer is not active, or of another purpose")
    _require_ours(said, question, identity)
    if said.outcome == "error":
        raise EligibilityRefused("the service found errors in the request", "processing")
    if said.outcome not in {"queued", "complete", "partial"}:
        raise EligibilityAnswerInvalid("the answer's outcome is none that there is")
    reference = next((one.value for one in said.identifier if one.value is not None), said.id)
    if reference is not None and not is_reference(reference):
        raise EligibilityAnswerInvalid("the answer's identifier cannot be one")
    return Answer(_summary(said), text, MEDIA_TYPE, reference)


def failure(body: bytes, known: Models) -> EligibilityError:
    """Return what the OperationOutcome in *body* means, or raise EligibilityAnswerInvalid where it is none."""
    return _failure(_parsed(body)[1], known)


def _by_identifier(system: str, value: str) -> dict[str, Any]:
    return {"identifier": {"system": system, "value": value}}


# --- what a decision rests on, read strictly; members that are not named here are for the models --------------------


class _Identifier(msgspec.Struct, frozen=True):
    system: str | None = None
    value: str | None = None


class _Reference(msgspec.Struct, frozen=True):
    reference: str | None = None
    identifier: _Identifier | None = None


class _Insurance(msgspec.Struct, frozen=True):
    inforce: bool | None = None


class _Response(msgspec.Struct, frozen=True, tag_field="resourceType", tag="CoverageEligibilityResponse"):
    status: str
    purpose: tuple[str, ...]
    patient: _Reference
    request: _Reference
    outcome: str
    id: str | None = None
    identifier: tuple[_Identifier, ...] = ()
    insurance: tuple[_Insurance, ...] = ()


class _Issue(msgspec.Struct, frozen=True):
    severity: str
    code: str


class _Outcome(msgspec.Struct, frozen=True, tag_field="resourceType", tag="OperationOutcome"):
    issue: Annotated[tuple[_Issue, ...], msgspec.Meta(min_length=1)]


def _said(tree: dict[str, Any], kind: type[Any]) -> Any:  # noqa: ANN401  # msgspec's own return type
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        # The message names places and types, and no values; still it is the service's affair.
        raise EligibilityAnswerInvalid(f"the answer is no {kind.__struct_config__.tag}") from error


def _validate(model: Callable[[Mapping[str, Any]], object], tree: dict[str, Any]) -> None:
    try:
        model(tree)
    except _UNREADABLE as error:
        raise EligibilityAnswerInvalid("the answer is not as FHIR R4 has it") from error


def _require_ours(said: _Response, question: Question, identity: UUID) -> None:
    """Raise EligibilityAnswerForeign where the answer is to another request, or about another person."""
    asked = said.request.identifier
    if asked is not None:
        is_ours = asked.value == identity.urn and asked.system in {URN, None}
    else:
        is_ours = said.request.reference == identity.urn
    if not is_ours:
        raise EligibilityAnswerForeign("the answer is to another request")
    if said.patient.identifier != _Identifier(SUBJECT, question.subject):
        raise EligibilityAnswerForeign("the answer is about somebody else, or does not say about whom")


def _summary(said: _Response) -> Summary:
    """Return VALID where a coverage is in force, INVALID where each one said not to be, else UNKNOWN."""
    if said.outcome != "complete":
        return Summary.UNKNOWN
    found = [one.inforce for one in said.insurance]
    if True in found:
        return Summary.VALID
    return Summary.INVALID if found and None not in found else Summary.UNKNOWN


def _failure(tree: dict[str, Any], known: Models) -> EligibilityError:
    said = _said(tree, _Outcome)
    _validate(known.outcome, tree)
    grave = [one.code for one in said.issue if one.severity in {"fatal", "error"}]
    if not grave:
        raise EligibilityAnswerInvalid("the service says that nothing went wrong, and nothing else")
    if grave[0] in _TRANSIENT:
        return EligibilityUnavailable(f"the service cannot answer now: {grave[0]}")
    reason = grave[0] if grave[0] in _LASTING else OTHER
    return EligibilityRefused(f"the service refuses: {reason}", reason)


# --- JSON -----------------------------------------------------------------------------------------------------------


def _parsed(body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        text = body.decode()
        tree = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise EligibilityAnswerInvalid("the answer is no JSON that means one thing") from error
    if not isinstance(tree, dict):
        raise EligibilityAnswerInvalid("the answer is no resource")
    _require_small(tree)
    return text, tree


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; one that says something twice reads differently elsewhere, and is none."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member is there twice")
    return found


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


def _require_small(tree: dict[str, Any]) -> None:
    left: list[tuple[Any, int]] = [(tree, 1)]
    seen = 0
    while left:
        value, depth = left.pop()
        seen += 1
        if seen > _MOST_VALUES or depth > _DEEPEST:
            raise EligibilityAnswerInvalid(
                "the answer has more values, or more depth, than any that is meant"
            )
        if isinstance(value, dict):
            left.extend((one, depth + 1) for one in value.values())
        elif isinstance(value, list):
            left.extend((one, depth + 1) for one in value)

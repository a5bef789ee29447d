"""
Failures as an HTTP client gets them: RFC 9457 problems, with the catalogue's texts in the caller's language.

    type        urn:jpki-appliance:error:CODE
    title       what happened
    status      from the table below
    detail      what exactly, in English, for those who write software; not where the fault is on our side
    code        the code: what software goes by
    clerk       what the clerk says and does next
    operator    what the person responsible for the gateway checks
    request_id  what to look for in the log

title, clerk and operator are Japanese where Accept-Language prefers it, else English.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from appliance.catalogue import Language, Text, error_text, story
from appliance.errors import ApplianceError, BudgetSpent, MethodRefused

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:jpki-appliance:error:"
INTERNAL: Final = "internal"
"""The code of what is a bug of ours."""

_ENCODER: Final = msgspec.json.Encoder()

STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        # What the appliance was told when it was set up.
        **dict.fromkeys(("config_invalid", "profile_invalid", "profile_unsafe", "part_missing"), 503),
        "root_refused": 503,
        **dict.fromkeys(("cvc_malformed", "cvc_chain_invalid", "institution_key_mismatch"), 503),
        # The reader: who comes again later, or puts the card right, may succeed.
        **dict.fromkeys(("pcsc_unavailable", "pcsc_refused", "reader_absent", "reader_ambiguous"), 503),
        **dict.fromkeys(("reader_busy", "reader_stuck", "reader_without_extended"), 409),
        **dict.fromkeys(("card_absent", "card_busy", "card_removed", "card_timeout", "card_unreadable"), 409),
        # Terminals on the network.
        "desk_unknown": 404,
        **dict.fromkeys(("terminal_absent", "terminal_lost"), 409),
        **dict.fromkeys(("terminal_command_refused", "terminal_signature_refused"), 422),
        **dict.fromkeys(("terminal_message_invalid", "terminal_protocol_violated"), 422),
        "terminal_cancelled": 422,
        "terminal_flooding": 429,
        **dict.fromkeys(("terminal_signing_off", "terminals_full"), 503),
        # The card, its holder, and what the answer is worth: the same request leads to the same refusal.
        **dict.fromkeys(("card_answer_malformed", "card_status_unexpected", "card_not_jpki"), 422),
        **dict.fromkeys(("card_without_institution_mode", "institution_chain_refused"), 422),
        **dict.fromkeys(("institution_signature_refused", "certificate_too_long", "card_without_front"), 422),
        **dict.fromkeys(("verification_number_invalid", "verification_number_rejected"), 422),
        **dict.fromkeys(("verification_number_blocked", "verification_number_last_try"), 422),
        **dict.fromkeys(("pin_rejected", "pin_blocked", "pin_last_try", "pin_cancelled"), 422),
        "card_without_pin": 422,
        **dict.fromkeys(("identity_check_missing", "face_device_unknown", "operator_unknown"), 422),
        **dict.fromkeys(("front_missing", "holder_not_matched", "proof_invalid", "wrong_mode"), 422),
        "decision_late": 409,
        "emergency_closed": 422,
        **dict.fromkeys(("certificate_malformed", "certificate_untrusted", "certificate_unsuitable"), 422),
        **dict.fromkeys(("certificate_expired", "certificate_not_yet_valid"), 422),
        **dict.fromkeys(("certificate_revoked", "certificate_unknown", "evidence_invalid"), 422),
        **dict.fromkeys(("front_not_genuine", "front_image_unreadable", "token_invalid"), 422),
        **dict.fromkeys(("revocation_unavailable", "revocation_stale", "revocation_data_invalid"), 503),
        # The eligibility service: the authentication before it stays a success.
        **dict.fromkeys(("eligibility_not_configured", "eligibility_refused"), 422),
        **dict.fromkeys(("eligibility_part_missing", "eligibility_connector_failed"), 503),
        **dict.fromkeys(("eligibility_unavailable", "eligibility_timeout"), 503),
        **dict.fromkeys(("eligibility_answer_invalid", "eligibility_answer_foreign"), 503),
        "eligibility_cancelled": 409,
        # HSM and ledger.
        **dict.fromkeys(("hsm_module_unusable", "hsm_token_absent", "hsm_token_ambiguous"), 503),
        **dict.fromkeys(("hsm_pin_unavailable", "hsm_pin_rejected", "hsm_key_absent"), 503),
        **dict.fromkeys(("hsm_key_ambiguous", "hsm_key_unsafe", "hsm_signing_failed"), 503),
        **dict.fromkeys(("hsm_request_refused", "hsm_timeout", "hsm_busy", "hsm_unavailable"), 503),
        **dict.fromkeys(("jwks_invalid", "ledger_unavailable", "ledger_contended", "ledger_unusable"), 503),
        **dict.fromkeys(("ledger_damaged", "ledger_rolled_back", "ledger_not_copied"), 503),
        **dict.fromkeys(("ledger_proof_invalid",), 422),
        **dict.fromkeys(("ledger_entry_absent",), 404),
        "ledger_backup_exists": 409,
        # Ceremonies are not held here.
        **dict.fromkeys(("ceremony_plan_invalid", "ceremony_refused"), 503),
        **dict.fromkeys(("ceremony_unfinished", "transcript_invalid"), 503),
        # Windows in which nobody checks holders.
        **dict.fromkeys(("emergency_not_permitted", "emergency_end_invalid"), 422),
        **dict.fromkeys(("emergency_same_operator", "emergency_full"), 409),
        # The request itself.
        "peer_unknown": 403,
        "access_denied": 403,
        "resource_absent": 404,
        "method_refused": 405,
        "request_malformed": 400,
        "request_too_large": 413,
        "media_type_refused": 415,
        "request_late": 408,
        "budget_spent": 429,
        "idempotency_conflict": 409,
        "decision_not_awaited": 409,
        "gateway_busy": 503,
        "gateway_draining": 503,
        "authentication_cancelled": 409,
        # What clients meet, and says nothing here.
        **dict.fromkeys(("appliance_unreachable", "appliance_late", "appliance_answer_invalid"), 503),
        **dict.fromkeys(("handover_file_refused", "handover_request_invalid"), 422),
        **dict.fromkeys(
            ("handover_repeated", "handover_late", "handover_interrupted", "handover_failed"), 409
        ),
        INTERNAL: 500,
    }
)
"""The status of each code."""

RETRY_AFTER: Final[Mapping[str, int]] = MappingProxyType(
    {
        "hsm_busy": 1,
        "gateway_busy": 1,
        "reader_busy": 2,
        **dict.fromkeys(("hsm_unavailable", "hsm_timeout", "hsm_signing_failed"), 5),
        **dict.fromkeys(
            ("ledger_unavailable", "ledger_contended", "pcsc_unavailable", "gateway_draining"), 5
        ),
        **dict.fromkeys(("revocation_unavailable", "revocation_stale"), 30),
        **dict.fromkeys(("terminals_full", "terminal_flooding"), 30),
    }
)
"""Seconds after which to come again, for codes where that may help by itself."""


_BUSY: Final = frozenset({"hsm_busy", "gateway_busy"})
"""What is over in a moment."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A failure, as the module's head tells. The last members are there where the failure has them."""

    type: str
    title: str
    status: int
    detail: str | None = None
    code: str
    clerk: str
    operator: str
    request_id: str
    tries_left: int | None = None
    """Of a PIN or 照合番号B."""
    reason: str | None = None
    """Which of the causes that one code stands for."""
    step: str | None = None
    """Which check of evidence, or which command to a card."""


def language(accept_language: str | None) -> Language:
    """Return the language that a reader with this header prefers among ours: the first of equals, else English."""
    best, best_quality = Language.EN, 0.0
    for offered in (accept_language or "").split(",")[:16]:
        name, _, parameter = offered.strip().partition(";")
        found = Language.JA if Language.from_locale(name) is Language.JA else Language.EN
        if found is Language.EN and not name.lower().startswith("en"):
            continue
        quality = _quality(parameter)
        if quality > best_quality:
            best, best_quality = found, quality
    return best


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0


def problem(error: BaseException, reader: Language, request_id: str) -> Problem:
    """Return *error* as a client gets it; what is none of ours is `internal`, and nothing of it is told."""
    code = error.code if isinstance(error, ApplianceError) and error.code in STATUS else INTERNAL
    status = STATUS[code]
    told = isinstance(error, ApplianceError) and status < 500
    title, clerk, operator = _texts(code)
    return Problem(
        type=TYPE_PREFIX + code,
        title=title.in_language(reader),
        status=status,
        detail=error.detail if isinstance(error, ApplianceError) and told else None,
        code=code,
        clerk=clerk.in_language(reader),
        operator=operator.in_language(reader),
        request_id=request_id,
        tries_left=_number(error, "tries_left"),
        reason=_word(error, "reason"),
        step=_word(error, "step"),
    )


def response(error: BaseException, reader: Language, request_id: str) -> web.Response:
    """Return the answer to a request that ended with *error*."""
    told = problem(error, reader, request_id)
    answer = web.Response(
        status=told.status,
        body=_ENCODER.encode(told),
        content_type=MEDIA_TYPE,
        headers={"Content-Language": reader, "Vary": "Accept-Language"},
    )
    seconds = error.seconds if isinstance(error, BudgetSpent) else RETRY_AFTER.get(told.code)
    if seconds is not None:
        answer.headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    if is_for_another_node(error):
        answer.force_close()
    if isinstance(error, MethodRefused) and error.allowed:
        answer.headers["Allow"] = ", ".join(error.allowed)
    return answer


def is_for_another_node(error: BaseException) -> bool:
    """
    Return whether *error* is this appliance's own trouble, that another node may not have.

    The connection on which such an answer went then ends: a load balancer that does not look into connections can send
    only the next one elsewhere (docs/nodes.md).
    """
    return isinstance(error, ApplianceError) and STATUS.get(error.code) == 503 and error.code not in _BUSY


def _texts(code: str) -> tuple[Text, Text, Text]:
    if code == INTERNAL:
        return story("internal-title"), story("internal-clerk"), story("internal-operator")
    text = error_text(code)
    return text.title, text.clerk, text.operator


def _number(error: BaseException, name: str) -> int | None:
    found = getattr(error, name, None)
    return found if isinstance(found, int) else None


def _word(error: BaseException, name: str) -> str | None:
    found = getattr(error, name, None)
    return str(found) if isinstance(found, str) else None

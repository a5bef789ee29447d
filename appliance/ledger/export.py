"""
Entries for others to read: JSON lines, syslog, FHIR AuditEvent.

An export adds each entry's index and says nothing that the entry does not. It proves nothing either: proofs are
made from the log.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from appliance.errors import PartMissing
from appliance.ledger import entries
from appliance.ledger.entries import (
    Entry,
    Finished,
    Reserved,
    WindowClosed,
    WindowConfirmed,
    WindowProposed,
    instant,
)
from appliance.ledger.store import Reader, stored_entries
from appliance.ledger.windows import UNCHECKED

_SYSLOG_PRIORITY: Final = 13 * 8 + 6
"""Facility 13 (log audit), severity 6 (informational) (RFC 5424 §6.2.1)."""
_ENTERPRISE: Final = "jpki@32473"
"""SD-ID with the enterprise number that RFC 5612 reserves for documentation: we have none."""
_DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_BREAKING_THE_GLASS: Final = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
            "code": "BTG",
            "display": "break the glass",
        }
    ]
}
_OUTCOMES: Final = {"authenticated": "0", "refused": "4", "interrupted": "8"}
"""AuditEventOutcome (HL7 FHIR R4): success, minor failure, serious failure."""


class Format(StrEnum):
    """How entries can be written."""

    JSONL = "jsonl"
    SYSLOG = "syslog"
    FHIR = "fhir"


Line = Callable[[int, Entry, str], bytes]
"""Writes one entry, with its index and its log's origin, on one line."""


def lines(
    reader: Reader, origin: str, form: Format, start: int = 0, stop: int | None = None
) -> Iterator[bytes]:
    """Yield the entries from *start* up to *stop*, one a line, without newline; pruned ones are left out."""
    size = reader.head().size
    match form:
        case Format.JSONL:
            write: Line = _json
        case Format.SYSLOG:
            write = _syslog
        case Format.FHIR:
            write = _fhir_writer()
    for index, content in stored_entries(reader, start, size if stop is None else min(stop, size)):
        yield write(index, entries.decode(content), origin)


def _json(index: int, entry: Entry, _origin: str) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(entry), "index": index}, order="sorted")


def _syslog(index: int, entry: Entry, origin: str) -> bytes:
    stamp = instant(entry).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = " ".join(
        f'{name}="{_escaped(",".join(value) if isinstance(value, list | tuple) else str(value))}"'
        for name, value in msgspec.to_builtins(entry).items()
        if name not in {"time", "kind"}
    )
    kind = entry.__struct_config__.tag
    host = origin.partition("/")[0]
    return f'<{_SYSLOG_PRIORITY}>1 {stamp} {host} jpki-appliance - {kind} [{_ENTERPRISE} index="{index}" {fields}]'.encode()


def _escaped(value: str) -> str:
    """Return *value* as structured data writes it (RFC 5424 §6.3.3). Of all entries have, an origin alone may need it."""
    return re.sub(r'(["\\\]])', r"\\\1", value)


def _fhir_writer() -> Line:
    try:
        from fhir.resources.R4B.auditevent import AuditEvent  # noqa: PLC0415 - heavy, and for this format alone
    except ImportError as error:
        raise PartMissing("FHIR needs the package fhir.resources: install jpki-appliance[fhir]") from error

    def write(index: int, entry: Entry, origin: str) -> bytes:
        event = AuditEvent.model_validate(audit_event(index, entry, origin))
        return event.model_dump_json(exclude_none=True).encode()

    return write


def audit_event(index: int, entry: Entry, origin: str) -> dict[str, Any]:
    """
    Return *entry* as a FHIR R4 AuditEvent: a user authentication, its agents by alias or pseudonym.

    An authentication with nobody's check is one that breaks the glass, and emergency windows are security alerts.
    """
    agents: list[Mapping[str, Any]] = []
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "type": {"system": _DICOM, "code": "110114", "display": "User Authentication"},
        "recorded": instant(entry).isoformat(timespec="milliseconds"),
        "source": {"observer": {"identifier": {"value": origin}}},
        "entity": [_entity(origin, index)],
    }
    if isinstance(entry, Reserved):
        event["action"] = "E"
        if entry.check == UNCHECKED:
            event["purposeOfEvent"] = [_BREAKING_THE_GLASS]
        agents += [_agent(entry.checked_by, requestor=True), _agent(entry.terminal, requestor=False)]
    elif isinstance(entry, Finished):
        event["outcome"] = _OUTCOMES[entry.outcome]
        if isinstance(entry.code, str):
            event["outcomeDesc"] = entry.code
        holder = entry.holder if isinstance(entry.holder, str) else "unknown"
        agents.append(_agent(holder, requestor=True))
        event["entity"].append(_entity(origin, entry.reserved))
    elif isinstance(entry, WindowProposed | WindowConfirmed | WindowClosed):
        event["type"] = {"system": _DICOM, "code": "110113", "display": "Security Alert"}
        event["subtype"] = _override(entry)
        agents.append(_agent(entry.by if isinstance(entry.by, str) else origin, requestor=True))
        if not isinstance(entry, WindowProposed):
            event["entity"].append(_entity(origin, entry.window))
    else:
        event["type"] = {"system": _DICOM, "code": "110101", "display": "Audit Log Used"}
        agents.append(_agent(origin, requestor=False))
    event["agent"] = agents
    return event


def _override(entry: WindowProposed | WindowConfirmed | WindowClosed) -> list[Mapping[str, str]]:
    """Return what of an emergency override this is; proposing one is none yet."""
    match entry:
        case WindowProposed():
            return [{"system": _DICOM, "code": "110132", "display": "Use of Restricted Function"}]
        case WindowConfirmed():
            return [{"system": _DICOM, "code": "110127", "display": "Emergency Override Started"}]
        case WindowClosed():
            return [{"system": _DICOM, "code": "110138", "display": "Emergency Override Stopped"}]


def _entity(origin: str, index: int) -> Mapping[str, Any]:
    return {"what": {"identifier": {"system": f"urn:{origin}", "value": str(index)}}}


def _agent(name: str, *, requestor: bool) -> Mapping[str, Any]:
    return {"who": {"identifier": {"value": name}}, "requestor": requestor}

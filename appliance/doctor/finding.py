"""What one look ends with."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from appliance.catalogue import Text, error_text, story
from appliance.errors import BY_CODE, ApplianceError


class Check(StrEnum):
    """What is looked at, in this order."""

    CONFIGURATION = "configuration"
    PERMISSIONS = "permissions"
    DAEMON = "daemon"
    HSM = "hsm"
    CERTIFICATES = "certificates"
    REVOCATION = "revocation"
    LEDGER = "ledger"
    COPIES = "copies"
    CLOCK = "clock"
    READERS = "readers"
    TERMINALS = "terminals"
    SANDBOX = "sandbox"
    DISK = "disk"


class Verdict(StrEnum):
    """What a look ended with."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not-applicable"


class Advice(StrEnum):
    """What is to be done where no error of ours says it; the catalogue has the words."""

    CREDENTIALS = "credentials"
    OPEN_FILE = "open-file"
    NOT_RUNNING = "not-running"
    MAY_NOT_ASK = "may-not-ask"
    NOT_READY = "not-ready"
    HSM_NOT_OPENED = "hsm-not-opened"
    HSM_STRUGGLES = "hsm-struggles"
    CERTIFICATE_ENDS = "certificate-ends"
    PEER_CERTIFICATE_ENDS = "peer-certificate-ends"
    NOTHING_CHECKED = "nothing-checked"
    LIST_MISSING = "list-missing"
    LIST_OLD = "list-old"
    NOT_BEGUN = "not-begun"
    NO_CHECKPOINT = "no-checkpoint"
    CHECKPOINT_BEHIND = "checkpoint-behind"
    NO_COPIES = "no-copies"
    COPIES_BEHIND = "copies-behind"
    CLOCK = "clock"
    CLOCK_UNKNOWN = "clock-unknown"
    TERMINAL_AWAY = "terminal-away"
    SANDBOX = "sandbox"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What was found of a part, or of the one *subject* in it.

    *detail* is for technicians. *code* is that of an error; where there is one, the detail is the error's.
    """

    check: Check
    verdict: Verdict
    detail: str
    subject: str | None = None
    advice: Advice | None = None
    code: str | None = None

    @classmethod
    def of(cls, check: Check, error: ApplianceError, subject: str | None = None) -> Self:
        """Return that *check* has failed with *error*."""
        return cls(check, Verdict.FAILED, error.detail, subject, code=error.code)

    @property
    def what_to_do(self) -> Text | None:
        """What is advised, in all languages; None where nothing has to be done."""
        if self.advice is not None:
            return story(f"doctor-do-{self.advice}")
        if self.code in BY_CODE and self.verdict is not Verdict.OK:
            return error_text(self.code).operator
        return None


def worst(found: list[Finding]) -> Verdict:
    """Return the worst verdict in what was *found*."""
    verdicts = {each.verdict for each in found}
    return next((one for one in (Verdict.FAILED, Verdict.WARNING) if one in verdicts), Verdict.OK)

"""The root of all our failures, and the exit statuses."""

from typing import ClassVar

EX_REFUSED = 1
"""Exit status of a refusal."""
EX_CONFIG = 78
"""Exit status (sysexits.h) of what no restart can heal; the systemd unit does not restart after it."""


class ApplianceError(Exception):
    """A failure of ours: *detail* says what happened, in English, without personal data or secrets."""

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = EX_REFUSED

    def __init__(self, detail: str) -> None:
        super().__init__(f"{self.code}: {detail}")
        self.detail = detail

"""Where keys are: one HSM as the configuration describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.hsm.messages import TokenSetup


@dataclass(frozen=True, slots=True)
class Hsm:
    """
    A token, and how many workers it gets.

    *alias* names it in metrics, markers and reports and stays the same. *environment* is what the PKCS#11 module
    needs, beside PATH and LANG; nothing else is passed on.
    """

    alias: str
    setup: TokenSetup
    environment: Mapping[str, str] = field(default_factory=dict)
    workers: int = 2

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError("an HSM has at least one worker")

    @property
    def crew_size(self) -> int:
        """How many workers there are: no more than the vendor's module has sessions."""
        return min(self.workers, self.setup.vendor.limits.sessions or self.workers)

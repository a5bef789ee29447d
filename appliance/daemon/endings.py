"""How authentications have ended: told to the metrics, and to the day that the console shows."""

from dataclasses import dataclass

from appliance.authentication import CheckMethod
from appliance.card.jpki import Mode
from appliance.gateway.day import Day
from appliance.metrics import AUTHENTICATED, Metrics, transport_of


@dataclass(frozen=True, slots=True)
class Endings:
    """Whoever wants to know how each authentication ended."""

    metrics: Metrics
    day: Day

    def ended(
        self, desk: str, mode: Mode, check: CheckMethod | None, outcome: str, seconds: float | None
    ) -> None:
        """
        Tell that an authentication at *desk* ended as *outcome*: AUTHENTICATED, CANCELLED, or a code.

        *seconds* have passed since there was a card; None where there was none.
        """
        self.metrics.authenticated(mode, outcome, transport_of(desk), check)
        if seconds is not None:
            self.metrics.phase("total", seconds)
        # How long somebody enters a PIN, or how soon a card is refused, is not how fast the appliance is.
        is_measure = outcome == AUTHENTICATED and mode is Mode.PINLESS
        self.day.ended(desk, outcome, check, seconds if is_measure else None)

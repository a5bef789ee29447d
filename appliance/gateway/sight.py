"""How the front of a card is seen and compared in the middle of its authentication: read, shown, decided on."""

from dataclasses import dataclass, field
from typing import Self

from appliance.authentication import Card
from appliance.card.verification_number import VerificationNumber
from appliance.errors import ConfigInvalid
from appliance.front_reading import FrontReader
from appliance.gateway.aside import Aside
from appliance.gateway.comparison import Comparison, Fronts, Printed, front_view
from appliance.gateway.desks import Stage
from appliance.gateway.jobs import Phase, Tell, phase


@dataclass(slots=True)
class Sight:
    """The front that *number* opens, shown for *seconds*; *comparison* is where it is decided on."""

    reader: FrontReader
    rendering: Aside
    number: VerificationNumber
    last_try: bool
    seconds: float
    comparison: Comparison = field(default_factory=Comparison)
    is_over: bool = False

    @classmethod
    def of(cls, printed: Printed, fronts: Fronts | None, seconds: float) -> Self:
        """Return how the front with *printed* on it is seen; raise ConfigInvalid and VerificationNumberInvalid."""
        if fronts is None or fronts.reader is None:
            raise ConfigInvalid("trust.front_root is not set, so no front can be read")
        return cls(fronts.reader, fronts.rendering, printed.number, printed.last_try, seconds)

    def phase(self, stage: Stage) -> Phase:
        """Return *stage* as a phase: what is first spoken about is the front."""
        return Phase.READING if stage is Stage.TALKING and not self.is_over else phase(stage)

    async def compare(self, card: Card, tell: Tell) -> None:
        """Have the front of *card* compared with the person (`authentication.Compare`)."""
        front = await self.reader.read(card, self.number, last_try=self.last_try)
        shown = await self.rendering.run(lambda: front_view(front))
        tell(Phase.AWAITING_DECISION)
        await self.comparison.made(shown, self.seconds)
        self.is_over = True
        tell(Phase.TALKING)

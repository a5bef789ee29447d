"""Readers of this machine, and terminals on the network."""

from typing import Annotated, Final, Literal

import msgspec

from appliance.config.section import Alias, Name, PinSeconds, Seconds, Section

LONGEST_SCENARIO: Final = 400.0
"""Seconds that our own terminal gives an exchange and the holder's time for the PIN, whatever it is told."""
LONGEST_WAIT: Final = 600.0
"""Seconds that it gives a person who puts a card on."""


class ReaderSettings(Section, frozen=True, kw_only=True):
    """A PC/SC reader of this machine."""

    name: Name
    """A part of the reader's name that no other reader has."""
    alias: Alias
    """What the reader is called in requests and results; never the raw name."""
    card_seconds: Seconds = 15.0
    exchange_seconds: Seconds = 10.0
    pin_seconds: PinSeconds = 60.0
    """What the holder gets for entering the PIN."""
    pin_pad: bool = True
    """Whether the reader's own keys are used where it has some."""
    extended: Literal["yes", "no", "chaining"] = "yes"
    """What is done with extended commands, as `terminals.transport.Extended`."""
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Pause before each command but the first, for readers that lose commands in quick succession."""
    face_device: Alias | None = None
    """The device that compares faces at this desk; without one no such check counts here."""


class RemoteSettings(Section, frozen=True, kw_only=True):
    """How terminals on the network are treated."""

    heartbeat_seconds: Annotated[float, msgspec.Meta(ge=1, le=300)] = 20.0
    exchange_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=LONGEST_SCENARIO)] = 10.0
    card_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=LONGEST_WAIT)] = 15.0
    pin_seconds: PinSeconds = 60.0
    sign_scenarios: bool = True
    """Whether a terminal that insists on signed scenarios gets them; each costs a signature of the token key."""

    def __post_init__(self) -> None:
        if self.exchange_seconds + self.pin_seconds > LONGEST_SCENARIO:
            raise ValueError(
                f"exchange_seconds and pin_seconds are over {LONGEST_SCENARIO:g} together, where a terminal gives up by itself"
            )

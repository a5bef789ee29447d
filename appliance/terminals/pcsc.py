"""One card on one local reader, for a program that needs no more than that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from appliance.terminals.readers import Readers
from appliance.terminals.session import PcscCard
from appliance.terminals.steps import EnterPin, Observe, ignore, no_pin_entry
from appliance.terminals.view import Desk

__all__ = ["PcscCard", "card_on"]

_ONLY: Final = "reader"


@asynccontextmanager
async def card_on(
    reader: str, *, wait: float, seconds: float, enter_pin: EnterPin = no_pin_entry, observe: Observe = ignore
) -> AsyncIterator[PcscCard]:
    """
    Give the card on the one reader whose name contains *reader*, for ourselves alone (`Readers.card`).

    Waits *wait* seconds for a card; every exchange may take *seconds*. Raises what `Readers.card` raises.
    """
    async with (
        Readers({_ONLY: Desk(reader)}) as readers,
        readers.card(_ONLY, wait=wait, seconds=seconds, enter_pin=enter_pin, observe=observe) as card,
    ):
        yield card

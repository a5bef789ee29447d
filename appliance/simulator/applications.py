"""Which applications a card has, by its kind; the order is the one in which SELECT looks (ruling 19)."""

from collections.abc import Iterator

from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import Keep
from appliance.simulator.files import Application
from appliance.simulator.jpki import jpki_application
from appliance.simulator.kinds import traits
from appliance.simulator.surface import surface_application
from appliance.simulator.text import text_application


def applications(data: CardData, keep_tries: Keep | None = None) -> tuple[Application, ...]:
    """Return the applications of the card made of *data*; *keep_tries* is told every new count of tries."""
    return tuple(_applications(data, keep_tries))


def _applications(data: CardData, keep_tries: Keep | None) -> Iterator[Application]:
    kind = traits(data.kind)
    if kind.label is not None:
        yield jpki_application(data, kind.label, keep_tries)
    if kind.printed:
        yield surface_application(data, keep_tries)
        yield text_application(data, keep_tries)

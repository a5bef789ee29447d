"""`jpki-appliance terminal`: bring card readers to an appliance that runs elsewhere."""

import asyncio
import random
import secrets
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from appliance.catalogue import Language
from appliance.cli import language
from appliance.cli.choice import Choice
from appliance.cli.terminal_view import StatusView
from appliance.hsm.worker.hardening import conceal
from appliance.terminals.agent import settings
from appliance.terminals.agent.backoff import Backoff
from appliance.terminals.agent.keyboard import Keyboard
from appliance.terminals.agent.node import Address
from appliance.terminals.agent.session import AskPin
from appliance.terminals.agent.settings import PinEntry, TerminalConfiguration
from appliance.terminals.agent.status import Show
from appliance.terminals.agent.terminal import Terminal

_WIDTH: Final = 120
_SOCKET_URL: Final = "ws://appliance/v1/terminal"


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="The terminal's configuration, as hsm-config/terminal.toml.",
)
@click.option(
    "--pin-entry", "entry", type=Choice(PinEntry), help="Where holders enter the PIN. [default: pin.entry]"
)
@click.option("--language", "spoken", type=Choice(Language), help="Of the display. [default: the locale's]")
def terminal(path: Path, entry: PinEntry | None, spoken: Language | None) -> None:
    """
    Bring this machine's card readers to an appliance.

    The appliance says what is to be done with a card, and only what is on the terminal's own list is done. A PIN
    is taken from the holder here, goes into the card, and nowhere else. Runs until it is interrupted, whatever
    becomes of the appliance.
    """
    conceal()
    configuration = settings.load(path)
    entry = entry or configuration.settings.pin.entry
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    with ExitStack() as parts:
        ask = _keyboard(parts, configuration) if entry is PinEntry.KEYBOARD else _nobody
        view = parts.enter_context(StatusView(console, spoken or language.spoken()))
        asyncio.run(_run(configuration, entry, ask, view.show))


async def _run(configuration: TerminalConfiguration, entry: PinEntry, ask: AskPin, show: Show) -> None:
    """Run the terminal until a signal ends it."""
    appliance, scenarios = configuration.settings.appliance, configuration.settings.scenarios
    tls = configuration.tls()
    this = Terminal(
        addresses=[Address(url, tls) for url in appliance.urls]
        if appliance.socket is None
        else [Address(_SOCKET_URL, socket=str(configuration.path(appliance.socket)))],
        desks=configuration.desks(entry),
        profile=configuration.profile(),
        # Which moment of the pause is drawn is no secret.
        backoff=Backoff(appliance.shortest_pause_seconds, appliance.longest_pause_seconds, random.random),
        clock=time.time,
        random=secrets.token_bytes,
        pin_entry=entry.announced,
        ask_pin=ask,
        require_signed=scenarios.require_signed,
        pinned=configuration.keys(),
        show=show,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, this.stop)
    await this.run()


def _keyboard(parts: ExitStack, configuration: TerminalConfiguration) -> AskPin:
    keyboard = parts.enter_context(Keyboard.of_this_process())
    seconds = configuration.settings.pin.seconds
    return lambda _reader, given_up, silent: keyboard.ask(seconds, given_up, silent)


def _nobody(_reader: str, _given_up: object, _silent: object) -> None:
    """Ask nobody."""

"""`jpki-appliance emergency`: open and close times in which nobody checks holders, for an operator without a browser."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec

from appliance import config
from appliance.catalogue import Language, story
from appliance.cli import language
from appliance.cli.choice import Choice
from appliance.cli.installed import config_option
from appliance.client import Address, Network, Socket
from appliance.client.answers import decoded
from appliance.client.exchange import Ask
from appliance.doctor import asked
from appliance.emergency import Reason
from appliance.gateway.emergency import PATH, Listed, View

T = TypeVar("T")
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


class Windows:
    """
    The windows of the appliance *at* an address, told in the *spoken* language.

    The address is found out when something is asked: help is told without a configuration.
    """

    def __init__(self, at: Callable[[], Address], spoken: Language) -> None:
        self._at, self._spoken = at, spoken

    def listed(self) -> Listed:
        """Return all windows, and what may be asked for."""
        return self._ask(Listed, Ask("GET", PATH))

    def act(self, method: str, path: str, body: object = None) -> None:
        """Do something to a window, and print what it is then."""
        content = None if body is None else msgspec.json.encode(body)
        self.show(self._ask(View, Ask(method, PATH + path, content)))

    def show(self, window: View) -> None:
        """Print *window*, and what may be done next."""
        for line in self.lines(window):
            click.echo(line)

    def lines(self, window: View) -> Iterator[str]:
        """Yield what is printed of *window*."""
        desks = ", ".join(window.desks) or self._say("all-desks")
        yield f"{window.id}  {self._say(f'state-{window.state}')}  {self._say('until')} {window.until}"
        yield f"  {self._say(f'reason-{window.reason}')}"
        yield f"  {self._say('desks')}: {desks}"
        yield f"  {self._say('proposed-by')}: {window.proposed_by}, {window.proposed_at}"
        if window.confirmed_by is not None:
            yield f"  {self._say('confirmed-by')}: {window.confirmed_by}, {window.confirmed_at}"
        match window.state:
            case "proposed":
                yield f"  {self._say('confirm-before')}: {window.confirm_before}"
                yield f"  {self._say('next-confirm')} jpki-appliance emergency confirm {window.id}"
            case "open":
                yield f"  {self._say('next-close')} jpki-appliance emergency close {window.id}"
            case "closed":
                pass

    def tell(self, listed: Listed) -> Iterator[str]:
        """Yield what is printed of all windows."""
        if not listed.longest_hours:
            yield self._say("off")
        elif not listed.windows:
            yield f"{self._say('none')} {self._say('node')} {listed.node}"
        for window in listed.windows:
            yield from self.lines(window)

    def _ask(self, kind: type[T], question: Ask) -> T:
        answer = asyncio.run(asked.once(self._at(), question, self._spoken))
        return decoded(answer.body, kind, answer.request_id)

    def _say(self, key: str) -> str:
        return story(f"emergency-{key}").in_language(self._spoken)


@click.group(invoke_without_command=True)
@config_option("The appliance's configuration file, which says where its socket is.")
@click.option("--socket", type=_FILE, help="The socket itself.")
@click.option(
    "--url", help="The appliance over the network instead, as https://HOST:PORT; with the next three."
)
@click.option("--authorities", type=_FILE, help="What the appliance's certificate leads to (PEM).")
@click.option("--certificate", type=_FILE, help="Your own certificate (PEM).")
@click.option("--key", type=_FILE, help="Its key (PEM), which nobody else can read.")
@click.option("--language", "spoken", type=Choice(Language), help="[default: the locale's]")
@click.pass_context
def emergency(
    context: click.Context,
    /,
    file: Path,
    socket: Path | None,
    spoken: Language | None,
    **network: str | Path | None,
) -> None:
    """
    Open and close emergency windows, in which authentications without a check of the holder count.

    Two operators open one: the first proposes it, the second confirms it. Any operator closes it. It holds on this node
    until its end, or until the appliance is started again. Without a command, the windows are listed.
    """
    context.obj = Windows(partial(_address, file, socket, network), spoken or language.spoken())
    if context.invoked_subcommand is None:
        context.invoke(show)


@emergency.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.pass_obj
def show(windows: Windows, *, as_json: bool = False) -> None:
    """List the windows that are proposed or open."""
    listed = windows.listed()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(listed)).decode())
        return
    for line in windows.tell(listed):
        click.echo(line)


@emergency.command()
@click.option("--reason", type=Choice(Reason), required=True, help="Why nobody can check.")
@click.option("--hours", type=click.FloatRange(0, min_open=True, max=72), help="How long, from now on.")
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), help="Its end (UTC), instead.")
@click.option(
    "--desk", "desks", multiple=True, help="For which desk; several times for several. [default: all]"
)
@click.pass_obj
def propose(
    windows: Windows, reason: Reason, hours: float | None, until: datetime | None, desks: tuple[str, ...]
) -> None:
    """Propose a window. It opens when another operator confirms it, within 15 minutes."""
    if (hours is None) is (until is None):
        raise click.UsageError("either --hours or --until says when it ends")
    if until is None:
        # By the appliance's clock, which is the one that counts.
        now = datetime.fromisoformat(windows.listed().now)
        until = now + timedelta(hours=hours or 0.0)
    body = {"reason": reason, "until": f"{until.replace(tzinfo=UTC):%Y-%m-%dT%H:%M:%SZ}", "desks": desks}
    windows.act("POST", "", body)


@emergency.command()
@click.argument("window", metavar="ID")
@click.pass_obj
def confirm(windows: Windows, window: str) -> None:
    """Open the window ID, which another operator has proposed."""
    windows.act("POST", f"/{_named(window)}/confirmation", {"confirm": True})


@emergency.command()
@click.argument("window", metavar="ID")
@click.pass_obj
def close(windows: Windows, window: str) -> None:
    """Close the window ID, or take the proposal back."""
    windows.act("DELETE", f"/{_named(window)}")


def _named(window: str) -> str:
    if not window.removeprefix("w-").isdecimal() or not window.isascii():
        raise click.UsageError("a window is called w- and a number")
    return window


def _address(file: Path, socket: Path | None, network: dict[str, str | Path | None]) -> Address:
    url, *files = (network[name] for name in ("url", "authorities", "certificate", "key"))
    if url is None and not any(files):
        return Socket(socket or asked.socket_of(config.load(file)))
    authorities, certificate, key = (Path(one) if one is not None else None for one in files)
    if url is None or authorities is None or certificate is None or key is None or socket is not None:
        raise click.UsageError("--url, --authorities, --certificate and --key go together, without --socket")
    return Network(str(url), authorities, certificate, key)

"""`jpki-appliance doctor`: look at one part, check by check, and say what to do about it."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

import click
import msgspec

from appliance.card import profile
from appliance.catalogue import Language, story
from appliance.cli import language
from appliance.cli.choice import Choice
from appliance.terminals.examination import Examination, Finding, Verdict

_PROFILE: Final = "jpki-reference"


@click.group()
def doctor() -> None:
    """Look for what is wrong, and say what to do."""


@doctor.command()
@click.option(
    "--reader", "part", help="A part of the reader's name. [default: the reader that a card lies on]"
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 600),
    default=5.0,
    show_default=True,
    help="Seconds in which to put a card on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.option("--language", "spoken", type=Choice(Language), help="Of the advice. [default: the locale's]")
@click.pass_context
def reader(
    context: click.Context, /, part: str | None, wait: float, spoken: Language | None, *, as_json: bool
) -> None:
    """
    Check a card reader, and the My Number card on it.

    Put a card on the reader first. No PIN is asked for, and nothing that identifies the card is shown. The exit
    status is 0 if all is well or nothing worse than a warning was found, 1 otherwise.
    """
    spoken = spoken or language.spoken()
    examination = Examination(profile.shipped(_PROFILE), part, wait=wait)
    found = asyncio.run(_follow(examination, _keep_quiet if as_json else lambda each: _tell(each, spoken)))
    failed = any(each.verdict is Verdict.FAILED for each in found)
    if as_json:
        document = {"outcome": _worst(found), "checks": [_as_json(each) for each in found]}
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    context.exit(1 if failed else 0)


async def _follow(examination: Examination, told: Callable[[Finding], None]) -> list[Finding]:
    found = []
    async for finding in examination.findings():
        told(finding)
        found.append(finding)
    return found


def _keep_quiet(_finding: Finding) -> None:
    """Tell nothing yet."""


def _tell(finding: Finding, spoken: Language) -> None:
    title = story(f"doctor-check-{finding.check}").in_language(spoken)
    mark = f"[{finding.verdict}]"
    click.echo(f"{mark:9} {title}  ({finding.detail})  {finding.seconds * 1000:.1f} ms")
    if finding.advice is not None:
        click.echo(f"          {story(f'doctor-advice-{finding.advice}').in_language(spoken)}")


def _as_json(finding: Finding) -> dict[str, object]:
    advice = None if finding.advice is None else story(f"doctor-advice-{finding.advice}")
    return {**asdict(finding), "advice": advice}


def _worst(found: list[Finding]) -> Verdict:
    verdicts = {each.verdict for each in found}
    return next(verdict for verdict in (Verdict.FAILED, Verdict.WARNING, Verdict.OK) if verdict in verdicts)

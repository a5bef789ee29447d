"""`jpki-appliance doctor`: look at everything, or at one part, check by check, and say what to do about it."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import msgspec

from appliance.card import profile
from appliance.catalogue import Language, story
from appliance.cli import language
from appliance.cli.choice import Choice
from appliance.cli.installed import CONFIGURATION
from appliance.doctor import finding as everything
from appliance.doctor.examination import Examination as Everything
from appliance.terminals.examination import Examination, Finding, Verdict

_PROFILE: Final = "jpki-reference"


@click.group(invoke_without_command=True)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=CONFIGURATION,
    show_default=True,
    help="The appliance's configuration file.",
)
@click.option(
    "--hsm", "log_in", is_flag=True, help="Log in to HSMs where no running appliance tells about them."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.option("--language", "spoken", type=Choice(Language), help="Of the advice. [default: the locale's]")
@click.pass_context
def doctor(
    context: click.Context, /, file: Path, spoken: Language | None, *, log_in: bool, as_json: bool
) -> None:
    """
    Look for what is wrong with the appliance, and say what to do.

    Nothing is changed. The running appliance is asked, as an account that a [[peer]] of the role operator names; run
    this as that account, or as the one that the appliance runs under. With --hsm, where no appliance tells, each HSM is
    logged in to once; one that has rejected a PIN is left alone. The exit status is 0 if nothing worse than a warning
    was found, 1 otherwise.
    """
    if context.invoked_subcommand is not None:
        return
    spoken = spoken or language.spoken()
    found = asyncio.run(_look(Everything(file, log_in=log_in), None if as_json else spoken))
    outcome = everything.worst(found)
    if as_json:
        document = {"outcome": outcome, "checks": [document_of(each) for each in found]}
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    context.exit(1 if outcome is everything.Verdict.FAILED else 0)


async def _look(examination: Everything, spoken: Language | None) -> list[everything.Finding]:
    """Return what is found, and tell it at once where there is a language to."""
    found = []
    async for finding in examination.findings():
        found.append(finding)
        if spoken is not None:
            click.echo(line_of(finding, spoken))
    return found


def line_of(finding: everything.Finding, spoken: Language) -> str:
    """Return *finding* as a person reads it."""
    title = story(f"doctor-part-{finding.check}").in_language(spoken)
    subject = "" if finding.subject is None else f" {finding.subject}"
    code = "" if finding.code is None else f"[{finding.code}] "
    line = f"{f'[{finding.verdict}]':9} {title}{subject}  ({code}{finding.detail})"
    advice = finding.what_to_do
    return line if advice is None else f"{line}\n          {advice.in_language(spoken)}"


def document_of(finding: everything.Finding) -> dict[str, object]:
    """Return *finding* as a program reads it."""
    return {**asdict(finding), "advice": finding.what_to_do}


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

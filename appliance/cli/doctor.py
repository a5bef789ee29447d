"""`jpki-appliance doctor`: look at everything, or at one part, check by check, and say what to do about it."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import msgspec
from click.core import ParameterSource

from appliance import config
from appliance.card import profile
from appliance.card.profile import Profile
from appliance.catalogue import Language, story
from appliance.cli import language
from appliance.cli.choice import Choice
from appliance.cli.installed import config_option
from appliance.cli.profile import named
from appliance.daemon.keys import load_profile
from appliance.doctor.examination import Examination
from appliance.doctor.finding import Finding, Verdict, worst
from appliance.errors import ConfigurationError
from appliance.terminals.examination import ReaderExamination, ReaderFinding, ReaderVerdict

_PROFILE: Final = "jpki-reference"


@click.group(invoke_without_command=True)
@config_option()
@click.option("--hsm", "log_in", is_flag=True, help="Log in to each HSM once, where no appliance runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.option("--language", "spoken", type=Choice(Language), help="Of the advice. [default: the locale's]")
@click.pass_context
def doctor(
    context: click.Context, /, file: Path, spoken: Language | None, *, log_in: bool, as_json: bool
) -> None:
    """
    Look for what is wrong with the appliance, and say what to do.

    Nothing is changed. The running appliance is asked, as an account that a [[peer]] of the role operator names; run
    this as that account. With --hsm, where no appliance runs, each HSM is logged in to once, which takes the account and
    the PIN of the appliance; one that has rejected a PIN is left alone. The exit status is 0 if nothing worse than a
    warning was found, 1 otherwise.
    """
    if context.invoked_subcommand is not None:
        return
    spoken = spoken or language.spoken()
    found = asyncio.run(_look(Examination(file, log_in=log_in), None if as_json else spoken))
    outcome = worst(found)
    if as_json:
        document = {"outcome": outcome, "checks": [document_of(each) for each in found]}
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    context.exit(1 if outcome is Verdict.FAILED else 0)


async def _look(examination: Examination, spoken: Language | None) -> list[Finding]:
    """Return what is found, and tell it at once where there is a language to."""
    found = []
    async for finding in examination.findings():
        found.append(finding)
        if spoken is not None:
            click.echo(line_of(finding, spoken))
    return found


def line_of(finding: Finding, spoken: Language) -> str:
    """Return *finding* as a person reads it."""
    title = story(f"doctor-part-{finding.check}").in_language(spoken)
    subject = "" if finding.subject is None else f" {finding.subject}"
    code = "" if finding.code is None else f"[{finding.code}] "
    line = f"{f'[{finding.verdict}]':9} {title}{subject}  ({code}{finding.detail})"
    advice = finding.what_to_do
    return line if advice is None else f"{line}\n          {advice.in_language(spoken)}"


def document_of(finding: Finding) -> dict[str, object]:
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
@click.option(
    "--profile",
    "called",
    help="Of the card: a packaged profile, or a file. "
    "[default: that of the configuration; jpki-reference where there is none that this account can use]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@click.option("--language", "spoken", type=Choice(Language), help="Of the advice. [default: the locale's]")
@click.pass_context
def reader(  # noqa: PLR0913 - one parameter for each option
    context: click.Context,
    /,
    part: str | None,
    wait: float,
    called: str | None,
    spoken: Language | None,
    *,
    as_json: bool,
) -> None:
    """
    Check a card reader, and the My Number card on it.

    Put a card on the reader first. No PIN is asked for, and nothing that identifies the card is shown. What is expected of
    it is what the appliance on this machine expects; at a terminal name its profile, where that has one of its own. The
    exit status is 0 if all is well or nothing worse than a warning was found, 1 otherwise.
    """
    spoken = spoken or language.spoken()
    examination = ReaderExamination(_profile(context, called, spoken), part, wait=wait)
    found = asyncio.run(_follow(examination, _keep_quiet if as_json else lambda each: _tell(each, spoken)))
    failed = any(each.verdict is ReaderVerdict.FAILED for each in found)
    if as_json:
        document = {"outcome": _worst(found), "checks": [_as_json(each) for each in found]}
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    context.exit(1 if failed else 0)


def _profile(context: click.Context, called: str | None, spoken: Language) -> Profile:
    """
    Return the profile that was *called* for, or that of the configuration.

    A machine may have none of its own, a clerk's account need not be able to read it, and it may be what is wrong: for a
    look at a reader the packaged profile will do, unless a certain configuration was asked for.
    """
    if called is not None:
        return named(called)
    group = context.parent
    file = None if group is None else group.params["file"]
    was_given = group is not None and group.get_parameter_source("file") is not ParameterSource.DEFAULT
    if file is None:
        return profile.shipped(_PROFILE)
    if was_given:
        return load_profile(config.load(file))
    if _is_missing(file):
        return profile.shipped(_PROFILE)
    try:
        return load_profile(config.load(file))
    except ConfigurationError as error:
        # A reader is looked at on bad days, of which this may be the reason.
        click.echo(f"[{error.code}] {error.detail}", err=True)
        click.echo(story("doctor-packaged-profile").in_language(spoken), err=True)
        return profile.shipped(_PROFILE)


def _is_missing(file: Path) -> bool:
    """Return whether there is no *file*; not where that cannot be seen."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


async def _follow(
    examination: ReaderExamination, told: Callable[[ReaderFinding], None]
) -> list[ReaderFinding]:
    found = []
    async for finding in examination.findings():
        told(finding)
        found.append(finding)
    return found


def _keep_quiet(_finding: ReaderFinding) -> None:
    """Tell nothing yet."""


def _tell(finding: ReaderFinding, spoken: Language) -> None:
    title = story(f"doctor-check-{finding.check}").in_language(spoken)
    mark = f"[{finding.verdict}]"
    click.echo(f"{mark:9} {title}  ({finding.detail})  {finding.seconds * 1000:.1f} ms")
    if finding.advice is not None:
        click.echo(f"          {story(f'doctor-advice-{finding.advice}').in_language(spoken)}")


def _as_json(finding: ReaderFinding) -> dict[str, object]:
    advice = None if finding.advice is None else story(f"doctor-advice-{finding.advice}")
    return {**asdict(finding), "advice": advice}


def _worst(found: list[ReaderFinding]) -> ReaderVerdict:
    verdicts = {each.verdict for each in found}
    return next(
        verdict
        for verdict in (ReaderVerdict.FAILED, ReaderVerdict.WARNING, ReaderVerdict.OK)
        if verdict in verdicts
    )

"""`jpki-appliance demo`: one complete authentication on real parts, told step by step."""

import asyncio
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.console import Console

from appliance.authentication import CheckMethod
from appliance.card import profile as profiles
from appliance.card.jpki import Mode
from appliance.catalogue import ErrorText, Language, error_text
from appliance.cli import language
from appliance.cli.choice import Choice
from appliance.cli.demonstration import stage
from appliance.cli.demonstration.performance import Performance, Success
from appliance.cli.demonstration.record import (
    ExchangeRecord,
    PartRecord,
    Recorder,
    SignatureRecord,
    Silence,
)
from appliance.cli.demonstration.revocation import By
from appliance.cli.demonstration.stage import Fault, Script
from appliance.cli.demonstration.story import Story
from appliance.errors import ApplianceError

_WIDTH: Final = 120
"""Characters of a line where there is no terminal to ask."""
_CHECKS: Final = (CheckMethod.FACE, CheckMethod.VISUAL, CheckMethod.PIN)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no token, and what to do."""

    code: str
    detail: str
    text: ErrorText


@dataclass(frozen=True, slots=True)
class Report:
    """What `--json` prints. Of *success* and *refusal* exactly one is there."""

    outcome: str
    mode: Mode
    identity_check: CheckMethod
    fault: Fault | None
    institution_code: str | None
    revocation: str | None
    unverified: list[str]
    front_images: list[str]
    success: Success | None
    refusal: Refusal | None
    parts: list[PartRecord]
    exchanges: list[ExchangeRecord]
    institution_signatures: list[SignatureRecord]


@click.command()
@click.option(
    "--mode", type=Choice(Mode), help="How presence is proved. [default: pinless, or what the check demands]"
)
@click.option(
    "--identity-check",
    type=Choice(_CHECKS),
    help="How the holder is checked; visual reads the card's front first. [default: face; pin with the mode pin]",
)
@click.option(
    "--revocation",
    "by",
    type=Choice(By),
    help="How revocation is checked: by lists, or against OpenSSL's responder. [default: crl]",
)
@click.option(
    "--profile",
    type=click.Choice(profiles.shipped_names()),
    default=stage.REFERENCE,
    show_default=True,
    help="The kind of card; jpki-next is hypothetical throughout.",
)
@click.option("--fault", type=Choice(Fault), help="What goes wrong. The refusal is told; exit status 1.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the story.")
@click.option("--language", "spoken", type=Choice(Language), help="Of the story. [default: the locale's]")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Make everything in this new folder and leave it there."
)
@click.pass_context
def demo(
    context: click.Context,
    /,
    *,
    mode: Mode | None,
    identity_check: CheckMethod | None,
    fault: Fault | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401  # of several types, each checked by its option
) -> None:
    """
    Show one complete authentication on real parts.

    A SoftHSM token, a test hierarchy, a private pcscd and a software card are made for it in a folder of their
    own, and are gone afterwards; nothing of the system is touched. Steps that nobody has confirmed against a
    real card are marked UNVERIFIED.
    """
    check = identity_check or (CheckMethod.PIN if mode is Mode.PIN else CheckMethod.FACE)
    mode = mode or (Mode.PIN if check is CheckMethod.PIN else Mode.PINLESS)
    if (mode is Mode.PIN) is not (check is CheckMethod.PIN):
        raise click.UsageError("the mode pin and the identity check pin are one")
    if fault is Fault.PIN_FOR_PINLESS and mode is Mode.PIN:
        raise click.UsageError("the fault pin-for-pinless belongs to the mode pinless")
    by = _known_by(fault, options["by"])
    script = Script(mode, fault, by, options["profile"])
    story = None if as_json else Story(_console(), options["spoken"] or language.spoken())
    performance = Performance(mode, check, Recorder(story or Silence()), story)
    refusal: ApplianceError | None = None
    with ExitStack() as parts:
        folder = options["keep"] or parts.enter_context(tempfile.TemporaryDirectory(prefix="jpki-demo-"))
        try:
            performance.tell("stage")
            scene = parts.enter_context(stage.set_up(Path(folder), script, performance.recorder.part))
            asyncio.run(performance.run(scene))
            _leave(Path(folder), performance)
        except ApplianceError as error:
            refusal = error
    if story is None:
        report = _report(performance, fault, refusal)
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    elif refusal is not None:
        story.refused(refusal)
    if refusal is not None:
        context.exit(refusal.exit_status)


def _leave(folder: Path, performance: Performance) -> None:
    """Put what the caller got beside the rest, for `jpki-appliance verify`."""
    if (success := performance.success) is not None:
        (folder / "evidence.json").write_text(success.evidence, encoding="utf-8")
        (folder / "token.jwt").write_text(success.token, encoding="ascii")
        (folder / "authorities" / "jwks.json").write_bytes(msgspec.json.encode(success.jwks))


def _known_by(fault: Fault | None, by: By | None) -> By:
    """Return how revocation is checked, as asked for and as the fault demands."""
    demanded = {Fault.STALE_CRL: By.CRL, Fault.RESPONDER_DOWN: By.OCSP}.get(fault) if fault else None
    if by is not None and demanded not in {None, by}:
        raise click.UsageError(f"the fault {fault} does not go with revocation by {by}")
    return by or demanded or By.CRL


def _report(performance: Performance, fault: Fault | None, refusal: ApplianceError | None) -> Report:
    """Return what happened, for a program."""
    claims = performance.success.claims if performance.success else {}
    return Report(
        outcome="refused" if refusal else "authenticated",
        mode=performance.mode,
        identity_check=performance.check,
        fault=fault,
        institution_code=claims.get("institution_code"),
        revocation=claims["revocation"]["result"] if claims else None,
        unverified=list(performance.unverified),
        front_images=[str(image) for image in performance.images],
        success=performance.success,
        refusal=Refusal(refusal.code, refusal.detail, error_text(refusal.code)) if refusal else None,
        parts=performance.recorder.parts,
        exchanges=performance.recorder.exchanges,
        institution_signatures=performance.recorder.signatures,
    )


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)

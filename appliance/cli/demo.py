"""`jpki-appliance demo`: one complete authentication on real parts, told step by step."""

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.console import Console

from appliance.authentication import Authenticator, CheckMethod, IdentityCheck, Request
from appliance.card.jpki import Mode
from appliance.catalogue import ErrorText, Language, error_text
from appliance.cli import language, stage
from appliance.cli.choice import Choice
from appliance.cli.record import (
    ExchangeRecord,
    PartRecord,
    RecordedCard,
    RecordedSigner,
    Recorder,
    SignatureRecord,
    Silence,
)
from appliance.cli.stage import Fault
from appliance.cli.story import Story
from appliance.config import Configuration
from appliance.daemon import Appliance, running
from appliance.errors import ApplianceError
from appliance.gateway import token as tokens

_WIDTH: Final = 120
"""Characters of a line where there is no terminal to ask."""
_CHECK: Final = IdentityCheck(CheckMethod.VISUAL, "demo-operator")


@dataclass(frozen=True, slots=True)
class Success:
    """A token, the key set that verifies it, and what it says."""

    token: str
    jwks: Mapping[str, object]
    claims: Mapping[str, Any]


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
    fault: Fault | None
    institution_code: str | None
    revocation: str | None
    unverified: list[str]
    success: Success | None
    refusal: Refusal | None
    parts: list[PartRecord]
    exchanges: list[ExchangeRecord]
    institution_signatures: list[SignatureRecord]


@click.command()
@click.option(
    "--mode", type=Choice(Mode), default=Mode.PINLESS, show_default=True, help="How presence is proved."
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
    mode: Mode,
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
    if fault is Fault.PIN_FOR_PINLESS and mode is Mode.PIN:
        raise click.UsageError("the fault pin-for-pinless belongs to the mode pinless")
    story = None if as_json else Story(_console(), options["spoken"] or language.spoken())
    performance = Performance(mode, Recorder(story or Silence()), story)
    refusal: ApplianceError | None = None
    with ExitStack() as parts:
        folder = options["keep"] or parts.enter_context(tempfile.TemporaryDirectory(prefix="jpki-demo-"))
        try:
            performance.tell("stage")
            configuration = parts.enter_context(
                stage.set_up(Path(folder), mode, fault, performance.recorder.part)
            )
            asyncio.run(performance.run(configuration))
        except ApplianceError as error:
            refusal = error
    if story is None:
        report = performance.report(fault, refusal)
        click.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    elif refusal is not None:
        story.refused(refusal)
    if refusal is not None:
        context.exit(refusal.exit_status)


@dataclass(slots=True)
class Performance:
    """One authentication in *mode*, recorded, and told where there is a *story*."""

    mode: Mode
    recorder: Recorder
    story: Story | None
    success: Success | None = None
    unverified: tuple[str, ...] = ()
    """What this mode rests on that nobody has confirmed against a real card."""

    def tell(self, chapter: str) -> None:
        """Begin a chapter of the story."""
        if self.story is not None:
            self.story.chapter(f"chapter-{chapter}")

    async def run(self, configuration: Configuration) -> None:
        """Start the appliance, authenticate, verify the token as its receiver would; or raise."""
        async with AsyncExitStack() as parts:
            with self.recorder.part("workers"):
                appliance = await parts.enter_async_context(running(configuration))
            profile = appliance.authenticator.profile
            if self.mode is Mode.PINLESS:
                self.unverified = profile.unverified
                self.recorder.unverified = frozenset(profile.unverified)
            self.tell(self.mode)
            success = await self._authenticate(appliance)
            if self.story is not None:
                self._show(self.story, success)
                if self.mode is Mode.PIN:
                    pinless = await _authenticate(appliance, appliance.authenticator, Mode.PINLESS)
                    self.tell("difference")
                    self.story.difference(success.claims, pinless.claims)
                self.story.authenticated(self.mode, success.claims)
            self.success = success

    async def _authenticate(self, appliance: Appliance) -> Success:
        recorded = replace(appliance.authenticator, signer=RecordedSigner(appliance.pool, self.recorder))
        return await _authenticate(appliance, recorded, self.mode, self.recorder)

    def _show(self, story: Story, success: Success) -> None:
        self.tell("token")
        story.claims(success.claims)
        if self.unverified:
            story.unverified(self.unverified)

    def report(self, fault: Fault | None, refusal: ApplianceError | None) -> Report:
        """Return what happened, for a program."""
        claims = self.success.claims if self.success else {}
        return Report(
            outcome="refused" if refusal else "authenticated",
            mode=self.mode,
            fault=fault,
            institution_code=claims.get("institution_code"),
            revocation=claims["revocation"]["result"] if claims else None,
            unverified=list(self.unverified),
            success=self.success,
            refusal=Refusal(refusal.code, refusal.detail, error_text(refusal.code)) if refusal else None,
            parts=self.recorder.parts,
            exchanges=self.recorder.exchanges,
            institution_signatures=self.recorder.signatures,
        )


async def _authenticate(
    appliance: Appliance, authenticator: Authenticator, mode: Mode, recorder: Recorder | None = None
) -> Success:
    """Authenticate the card on the reader, and verify the token with nothing but the key set."""
    settings = appliance.configuration.settings
    recorder = recorder or Recorder(Silence())
    request = Request(mode, settings.reader.alias, None if mode is Mode.PIN else _CHECK)
    async with appliance.card(enter_pin=lambda: stage.PIN, observe=recorder.observe) as card:
        _, token = await authenticator.authenticate(request, RecordedCard(card, recorder))
    jwks = appliance.tokens.jwks()
    claims = tokens.verify(token, msgspec.json.encode(jwks), settings.result.audience, datetime.now(UTC))
    return Success(token, jwks, claims)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)

"""One authentication on the demonstration's stage: recorded, and told where there is a story to tell."""

import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.authentication import Authenticator, Card, CheckMethod, Compare, IdentityCheck, Request
from appliance.card.front import Front
from appliance.card.jpki import Mode
from appliance.cli.demonstration import stage
from appliance.cli.demonstration.record import RecordedCard, RecordedSigner, Recorder, Silence
from appliance.cli.demonstration.remembered import Remembered, remembered
from appliance.cli.demonstration.stage import Scene
from appliance.cli.demonstration.story import Story
from appliance.daemon import Appliance, running
from appliance.gateway import token as tokens
from appliance.gateway.picture import to_png

_CHECKED_BY: Final = {CheckMethod.FACE: "demo-face-reader", CheckMethod.VISUAL: "demo-operator"}


@dataclass(frozen=True, slots=True)
class Success:
    """A token, the key set that verifies it, what it says, the evidence whose hash it has, and the ledger's proof."""

    token: str
    jwks: Mapping[str, object]
    claims: Mapping[str, Any]
    evidence: str
    remembered: Remembered


@dataclass(slots=True)
class Performance:
    """One authentication in *mode* after the identity check *check*."""

    mode: Mode
    check: CheckMethod
    recorder: Recorder
    story: Story | None
    success: Success | None = None
    images: list[Path] = field(default_factory=list)
    """Where the front's images were written, where the check is by the staff's eyes."""
    unverified: tuple[str, ...] = ()
    """What this mode rests on that nobody has confirmed against a real card."""

    def tell(self, chapter: str) -> None:
        """Begin a chapter of the story."""
        if self.story is not None:
            self.story.chapter(f"chapter-{chapter}")

    async def run(self, scene: Scene) -> None:
        """Start the appliance, authenticate, verify the token as its receiver would; or raise."""
        async with AsyncExitStack() as parts:
            with self.recorder.part("workers"):
                appliance = await parts.enter_async_context(running(scene.configuration))
            profile = appliance.authenticator.profile
            if self.mode is Mode.PINLESS:
                self.unverified = profile.unverified
            success = await self._perform(appliance, scene)
            if self.story is not None:
                self._show(self.story, success)
                if self.mode is Mode.PIN:
                    await self._compare(self.story, appliance, success)
                self._recall(self.story, success)
                self.story.authenticated(self.mode, success.claims)
            self.success = success

    async def _perform(self, appliance: Appliance, scene: Scene) -> Success:
        """Check the holder, then authenticate: both on one power-up of one card."""
        signer = RecordedSigner(appliance.pool, self.recorder)
        authenticator = replace(appliance.authenticator, signer=signer)
        async with appliance.card(enter_pin=lambda: stage.PIN, observe=self.recorder.observe) as card:
            recorded = RecordedCard(card, self.recorder)

            async def compare(on_reader: Card) -> None:
                self.tell("front")
                self._look_at(await appliance.front_reader.read(on_reader, scene.number))
                self._authenticating()

            if self.check is not CheckMethod.VISUAL:
                self._authenticating()
            return await _authenticate(
                appliance, authenticator, recorded, self.mode, check=self.check, compare=compare
            )

    def _authenticating(self) -> None:
        self.tell(self.mode)
        self.recorder.unverified = frozenset(self.unverified)

    def _look_at(self, front: Front) -> None:
        """Render what the clerk compares with the person; of a made-up one, so it may lie in a folder."""
        folder = Path(tempfile.mkdtemp(prefix="jpki-front-"))
        for name, png in (
            ("photo", to_png(front.photo_jp2, "JPEG2000")),
            ("name", to_png(front.name_png, "PNG")),
            ("address", to_png(front.address_png, "PNG")),
        ):
            self.images.append(folder / f"{name}.png")
            self.images[-1].write_bytes(png)
        if self.story is not None:
            self.story.front(front, folder)

    async def _compare(self, story: Story, appliance: Appliance, mine: Success) -> None:
        async with appliance.card() as card:
            pinless = await _authenticate(
                appliance,
                appliance.authenticator,
                RecordedCard(card, Recorder(Silence())),
                Mode.PINLESS,
                check=CheckMethod.FACE,
            )
        self.tell("difference")
        story.difference(mine.claims, pinless.claims)

    def _recall(self, story: Story, success: Success) -> None:
        self.tell("ledger")
        story.remembered(success.remembered)

    def _show(self, story: Story, success: Success) -> None:
        self.tell("token")
        story.claims(success.claims)
        if self.unverified:
            story.unverified(self.unverified)


async def _authenticate(  # noqa: PLR0913 - each has its name at the call
    appliance: Appliance,
    authenticator: Authenticator,
    card: Card,
    mode: Mode,
    *,
    check: CheckMethod,
    compare: Compare | None = None,
) -> Success:
    """Authenticate *card*, and verify the token with nothing but the key set."""
    settings = appliance.configuration.settings
    identity_check = None if check is CheckMethod.PIN else IdentityCheck(check, _CHECKED_BY[check])
    result, token = await authenticator.authenticate(
        Request(mode, settings.reader[0].alias, identity_check), card, compare=compare
    )
    jwks = appliance.tokens.jwks()
    claims = tokens.verify(token, msgspec.json.encode(jwks), settings.result.audience, datetime.now(UTC))
    if result.log is None:
        raise ValueError("an authentication of the appliance is in its ledger")
    found = await remembered(appliance, result.log[1])
    return Success(token, jwks, claims, result.evidence.decode(), found)

"""
The daemon's side of the HSMs: workers on each, in order of preference, and what may be asked of them.

This is the public face, with the lifecycle: start, take over new set-ups while requests are served, end. How a request
gets its answer is told in `dispatch`, how workers come and go in `crew`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from appliance.errors import HsmRequestRefused, HsmUnavailable
from appliance.hsm.crews.crew import Crew
from appliance.hsm.crews.dispatch import Dispatch
from appliance.hsm.crews.house import Limits
from appliance.hsm.crews.logins import LoginGate
from appliance.hsm.health import PoolHealth
from appliance.hsm.marker import Marker
from appliance.hsm.messages import (
    Canary,
    CanaryResult,
    KeyLabel,
    Signature,
    SignChallenge,
    SignCheckpoint,
    SignScenario,
    SignToken,
    Status,
    StatusReport,
    Terms,
)
from appliance.hsm.observer import Observer, Unobserved
from appliance.hsm.place import Hsm


async def _at_once() -> None:
    """Nobody has to turn to anything."""


class Pool:
    """
    Workers on *hsms*. Use as an asynchronous context manager, or `start` and `close`.

    *state* is the folder for markers of rejected PINs. Starting a worker takes at most *start_seconds* before and
    after its login; a request at most *sign_seconds*, of which a worker may be silent for as long as its vendor
    profile says; *queue_limit* requests may wait. Every key proves itself each *canary_seconds*. Logins to one token
    are at least *login_seconds* apart. *clock* is monotonic.
    """

    def __init__(  # noqa: PLR0913 - each has its name at the call
        self,
        hsms: Sequence[Hsm],
        *,
        state: Path,
        start_seconds: float = 20.0,
        sign_seconds: float = 5.0,
        queue_limit: int = 64,
        canary_seconds: float = 60.0,
        login_seconds: float = 0.5,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not hsms:
            raise ValueError("a pool has at least one HSM")
        self._state = state
        self._limits = Limits(start_seconds, sign_seconds, canary_seconds)
        self._login_seconds = login_seconds
        self._observer = observer or Unobserved()
        self._clock = clock
        self._dispatch = Dispatch(sign_seconds, queue_limit, self._observer, clock)
        self._gates: dict[Path, LoginGate] = {}
        self._dispatch.crews = tuple(map(self._crew, hsms))
        self._reconfiguring = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """
        Start the workers, one HSM after another, or raise what stopped the first HSM when none has come up.

        After a failure the pool may be used all the same: it goes on trying, and whoever calls hastens that.
        """
        if self._closed:
            raise HsmUnavailable("the pool is closed")
        await self._start(self._dispatch.crews)

    async def close(self) -> None:
        """
        End all workers; whoever waits for one gets HsmUnavailable.

        A worker that is logging in is waited for as long as a start may take, and then left to end when its login
        does; calling this again waits on.
        """
        self._closed = True
        for crew in self._dispatch.all:
            crew.hang_up()
        self._dispatch.close()
        await asyncio.gather(*(crew.ended() for crew in self._dispatch.all))

    async def reconfigure(
        self, hsms: Sequence[Hsm], taken_over: Callable[[], Awaitable[None]] = _at_once
    ) -> None:
        """
        Take over new set-ups, or other HSMs, while requests are served; raise as `start` does, changing nothing.

        Workers with the new set-ups are started first. From then on both are there: *taken_over* has callers turn to
        the new keys and terms, and is waited for. Then the old ones finish what they have, go on for as long as a request
        may take with keys and terms that only they have, and end. Where *taken_over* fails, nobody knows which keys callers
        ask for: both stay, until the next set-ups are taken over.
        """
        async with self._reconfiguring:
            new = tuple(map(self._crew, hsms))
            try:
                await self._start(new)
            except BaseException:
                await _end(new)
                raise
            leaving = self._dispatch.succeed(new)
            await taken_over()
            await asyncio.sleep(self._limits.sign)
            for crew in leaving:
                await crew.drained()
            try:
                self._dispatch.left(leaving)
            finally:
                await _end(leaving)

    async def sign_challenge(self, challenge: bytes, key: str, terms: Terms | None = None) -> bytes:
        """
        Return the signature over a card's *challenge* by the institution key of the fingerprint *key*.

        PKCS#1 v1.5, SHA-256. After HsmTimeout, or any failure of a worker that had the challenge, nobody knows
        whether it was signed: the same challenge is refused from then on with HsmRequestRefused. HsmBusy and
        HsmUnavailable for a request that was not begun leave it to be brought again.

        *terms* are those that the caller began with, here and below: as long as there are workers with them, after others
        have taken over with the same key, they serve.
        """
        if challenge in self._dispatch.unanswered:
            raise HsmRequestRefused("this challenge was given to the HSM before, with unknown outcome")
        answer = await self._dispatch.ask(SignChallenge(challenge, key), key, Signature, terms)
        # Only here has the caller got it; a cancelled one never comes this far.
        self._dispatch.unanswered.forget(challenge)
        return answer.signature

    async def sign_token(
        self, signing_input: bytes, key: str | None = None, terms: Terms | None = None
    ) -> bytes:
        """
        Return the token key's signature over *signing_input*: ECDSA P-256, SHA-256, as DER.

        *key* is the fingerprint of the one that the token names, where two are held while one follows the other.
        """
        key = key or self._key_called(KeyLabel.TOKEN)
        answer = await self._dispatch.ask(SignToken(signing_input), key, Signature, terms)
        return answer.signature

    async def sign_scenario(
        self, signing_input: bytes, key: str | None = None, terms: Terms | None = None
    ) -> bytes:
        """Return the token key's signature over the *signing_input* of a scenario, as `sign_token`."""
        key = key or self._key_called(KeyLabel.TOKEN)
        answer = await self._dispatch.ask(SignScenario(signing_input), key, Signature, terms)
        return answer.signature

    async def sign_checkpoint(self, text: bytes) -> bytes:
        """Return the ledger key's signature over a checkpoint's *text*: Ed25519, or ECDSA P-256, SHA-256, as DER."""
        key = self._key_called(KeyLabel.LEDGER)
        answer = await self._dispatch.ask(SignCheckpoint(text), key, Signature)
        return answer.signature

    async def canary(self, label: KeyLabel = KeyLabel.INSTITUTION) -> float:
        """Have the key called *label* sign a message of the worker's; return the seconds it took, or raise."""
        key = self._key_called(label)
        answer = await self._dispatch.ask(Canary(key), key, CanaryResult)
        return answer.seconds

    async def status(self, alias: str | None = None) -> StatusReport:
        """Return what a worker speaks with: of the HSM called *alias*, or of the one that serves."""
        if alias is None:
            return await self._dispatch.ask(Status(), None, StatusReport)
        for crew in self._dispatch.crews:
            if crew.hsm.alias == alias:
                return await self._dispatch.ask_crew(crew, Status(), StatusReport)
        raise ValueError(f"no HSM is called {alias}")

    def health(self) -> PoolHealth:
        """Return how the HSMs are now."""
        serving = self._dispatch.serving(None)
        return PoolHealth(
            hsms=tuple(crew.health() for crew in self._dispatch.crews),
            serving=None if serving is None else serving.hsm.alias,
            queued=self._dispatch.queued,
        )

    # --- the rest -------------------------------------------------------------------------------------------

    async def _start(self, crews: Sequence[Crew]) -> None:
        for crew in crews:
            self._gates[crew.marker.path].marker.prepare()
        for crew in crews:
            if not self._closed:
                await crew.start()
        if self._closed:
            raise HsmUnavailable("the pool is closed")
        if not any(crew.up for crew in crews):
            cause = crews[0].cause or HsmUnavailable("no worker is ready")
            raise type(cause)(cause.detail) from cause

    def _crew(self, hsm: Hsm) -> Crew:
        marker = Marker.of(hsm, self._state)
        gate = self._gates.setdefault(marker.path, LoginGate(marker, self._login_seconds, self._clock))
        return Crew(
            hsm, gate, limits=self._limits, house=self._dispatch, observer=self._observer, clock=self._clock
        )

    def _key_called(self, label: KeyLabel) -> str:
        for crew in self._dispatch.crews:
            for key, pinned in crew.pinned.items():
                if pinned.label is label:
                    return key
        raise HsmRequestRefused(f"no HSM holds a key called {label}")


async def _end(crews: Sequence[Crew]) -> None:
    for crew in crews:
        crew.hang_up()
    await asyncio.gather(*(crew.ended() for crew in crews))

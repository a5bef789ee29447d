"""
The hand-over's process.

    requests ──claim (rename)──> work ──begun (durable)──> appliance.client ──> results ──> work is cleared

A request is begun once at most: whoever renames it has it, and that it is begun is on disk before the appliance is
asked. What a crash left in `work` is answered at the next start. A folder that is away is looked for again and again.
Nothing that is logged names a request or a patient; each has a random mark.
"""

import asyncio
import fcntl
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from appliance.catalogue import Language
from appliance.client import Client
from appliance.errors import (
    ApplianceError,
    ConfigInvalid,
    HandoverFailed,
    HandoverInterrupted,
    HandoverRepeated,
)
from appliance.handover import folder
from appliance.handover.intake import Intake, Taken
from appliance.handover.records import Begun, Results
from appliance.handover.report import authenticated, refused
from appliance.handover.request import Request
from appliance.handover.result import Result, encoded
from appliance.handover.settings import HandoverConfiguration, HandoverSettings

_LOG = logging.getLogger(__name__)
_CLEAN_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 1.0
_REPEATED: Final = "~repeated"


@dataclass(slots=True)
class Service:
    """Carries out requests by *settings*. Made by `of`."""

    settings: HandoverSettings
    clients: dict[Language, Client]
    intake: Intake
    results: Results
    begun: Begun
    work: Path
    clock: Callable[[], float] = time.time
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _away: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, configuration: HandoverConfiguration) -> Self:
        """Return a service by *configuration*, or raise ConfigInvalid."""
        settings = configuration.settings
        requests, results, work = configuration.folders()
        address, keys = configuration.address(), configuration.keys()
        return cls(
            settings,
            {
                language: Client(address, audience=settings.appliance.audience, keys=keys, language=language)
                for language in Language
            },
            Intake(requests, work, settings.requests),
            Results(results, settings.results.keep_seconds),
            Begun(work, settings.results.remember_hours * 3600),
            work,
        )

    async def run(self) -> None:
        """Carry out requests until a signal ends it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        with _alone(self.work):
            async with AsyncExitStack() as opened:
                for client in self.clients.values():
                    await opened.enter_async_context(client)
                for claimed in await asyncio.to_thread(self.intake.left_over):
                    self._start(self._resume(claimed))
                _LOG.info("hand-over ready")
                try:
                    await self._serve()
                finally:
                    await self._end()
        _LOG.info("hand-over ended")

    async def _serve(self) -> None:
        cleaned = 0.0
        while not self._stopping.is_set():
            if (now := asyncio.get_running_loop().time()) - cleaned >= _CLEAN_SECONDS or not cleaned:
                cleaned = now
                await self._clean()
            for taken in await self._take():
                self._start(self._answer(taken))
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.requests.look_seconds):
                    await self._stopping.wait()

    async def _take(self) -> list[Taken]:
        try:
            taken = await asyncio.to_thread(self.intake.take, self.clock(), len(self._tasks))
        except OSError as error:
            self._is_away("requests", error)
            return []
        self._is_back("requests")
        return taken

    async def _clean(self) -> None:
        try:
            removed = await asyncio.to_thread(self.results.remove_old, self.clock())
            await asyncio.to_thread(self.begun.remove_old, self.clock())
        except OSError as error:
            self._is_away("results", error)
            return
        self._is_back("results")
        if removed:
            _LOG.info("old results removed count=%d", removed)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Not even that it failed could be laid out. It is in the folder for work still, where the next start finds it.
            _LOG.critical("request without an answer until the next start", exc_info=error)

    async def _resume(self, claimed: folder.Claimed) -> None:
        """Answer what an earlier process has claimed: what was not begun is carried out now."""
        taken = await asyncio.to_thread(self.intake.opened, claimed, self.clock())
        if not self.begun.knows(claimed.stem):
            await self._answer(taken)
        elif self.results.has(claimed.stem):
            await asyncio.to_thread(self.intake.discard, claimed)
        else:
            interrupted = HandoverInterrupted("the hand-over ended while this was carried out")
            result = refused(taken, interrupted, self._language(taken), _utc(self.clock()))
            await self._lay_out(taken, encoded(result))

    async def _answer(self, taken: Taken) -> None:
        """Carry out what was *taken*, and lay out what became of it."""
        mark = secrets.token_hex(8)
        try:
            result = await self._result(taken, mark)
            content = encoded(result)
        except Exception:  # noqa: BLE001 - a bug is told to those who wait, too, and loses nobody's request
            _LOG.exception("request failed unexpectedly mark=%s", mark)
            result = refused(taken, HandoverFailed(mark), self._language(taken), _utc(self.clock()))
            content = encoded(result)
        _LOG.info("request ended mark=%s outcome=%s code=%s", mark, result.outcome, result.code or "-")
        await self._lay_out(taken, content)

    async def _result(self, taken: Taken, mark: str) -> Result:
        try:
            if taken.error is not None:
                raise taken.error
            request = taken.request
            if request is None:
                raise RuntimeError("what was taken is a request or an error")
            if not await self._begin(taken):
                taken.again = True
                raise HandoverRepeated("a request of this name was begun before")
            taken.begun = True
            _LOG.info("request begun mark=%s desk=%s mode=%s", mark, request.desk, request.mode)
            return await self._authenticated(taken, request)
        except ApplianceError as error:
            return refused(taken, error, self._language(taken), _utc(self.clock()))
        except asyncio.CancelledError:
            # What was not begun here is answered by the next process; under its name there may be a result already.
            if taken.begun:
                ended = HandoverInterrupted("the hand-over was ended while this was carried out")
                self._lay_out_now(taken, refused(taken, ended, self._language(taken), _utc(self.clock())))
            raise

    async def _begin(self, taken: Taken) -> bool:
        """Write down that *taken* is begun; False where it was before. Raises HandoverInterrupted."""
        try:
            return await asyncio.to_thread(self.begun.begin, taken.claimed.stem)
        except OSError as error:
            self._is_away("work", error)
            raise HandoverInterrupted("the hand-over could not write down that it begins") from error

    async def _authenticated(self, taken: Taken, request: Request) -> Result:
        result = await self.clients[self._language(taken)].authenticate(
            request.desk,
            request.mode,
            request.check(),
            evidence=request.evidence,
            eligibility=request.eligibility,
            last_pin_try=request.last_pin_try,
            seconds=self.settings.requests.answer_seconds,
            **({} if request.nonce is None else {"nonce": request.nonce}),
        )
        return authenticated(taken, request, result, _utc(self.clock()))

    async def _lay_out(self, taken: Taken, content: bytes) -> None:
        """Write the result's *content*, again and again where the folder is away, for as long as it would be kept."""
        until = asyncio.get_running_loop().time() + self.settings.results.keep_seconds
        name = self._name(taken)
        while True:
            try:
                await asyncio.to_thread(self.results.write, name, content)
                break
            except OSError as error:
                self._is_away("results", error)
                if asyncio.get_running_loop().time() > until:
                    break
            await asyncio.sleep(_AGAIN_SECONDS)
        await asyncio.to_thread(self.intake.discard, taken.claimed)

    def _lay_out_now(self, taken: Taken, result: Result) -> None:
        """Write *result* at the end of the process; where that fails, the next one finds the request."""
        with suppress(OSError):
            self.results.write(self._name(taken), encoded(result))
            self.intake.discard(taken.claimed)

    def _name(self, taken: Taken) -> str:
        """Return under which name the result of *taken* is laid out: what another has begun keeps its result."""
        stem = taken.claimed.stem
        is_other = taken.again or (taken.error is not None and self.begun.knows(stem))
        return stem + _REPEATED if is_other else stem

    def _language(self, taken: Taken) -> Language:
        return taken.language or self.settings.results.language

    def _is_away(self, what: str, error: OSError) -> None:
        if what not in self._away:
            self._away.add(what)
            _LOG.warning("folder away folder=%s error=%s", what, error.strerror)

    def _is_back(self, what: str) -> None:
        if what in self._away:
            self._away.discard(what)
            _LOG.info("folder back folder=%s", what)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Be the only hand-over at *work* for the length of a block, or raise ConfigInvalid."""
    descriptor = os.open(work / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigInvalid("another hand-over works in the folder that folders.work names") from error
    else:
        yield
    finally:
        os.close(descriptor)


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"

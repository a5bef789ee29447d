"""
Reading the configuration again while requests are served (SIGHUP).

    1  read it, and look at everything that it names; what is wrong leaves all as it was
    2  make a new generation of institution, trust, revocation and result, beside the old one
    3  where the HSMs changed: new workers come up; both generations of keys are there
    4  the new generation and the new peers count; who connects from now on gets the new certificate; who is no peer any
       more, or rests on a CA that was taken away, is disconnected
    5  from here on the reload is done; authentications under way end with the old generation, then its workers do

How long the fifth takes, people decide, and whom the next reload locks out may not stay for it. A second change of the
HSMs comes when the workers of the first have left, lest a token carries three sets of them: where that takes longer
than a moment, only who may ask, and what for, counts at once. All else stays as it was, and the configuration is read once
more by itself when they have.

What lies at the ground cannot be changed under those who stand on it. It is named in the log, and counts from the next
start on.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from appliance import config
from appliance.config import Configuration, Settings, TlsSettings
from appliance.daemon.check import require_sound
from appliance.daemon.desks import ended
from appliance.daemon.generation import Generation
from appliance.daemon.listeners import Front, server_context
from appliance.daemon.places import hsms
from appliance.daemon.reception import Reception, directory_of
from appliance.daemon.wiring import Appliance
from appliance.errors import ApplianceError
from appliance.gateway.authorities import Authorities
from appliance.gateway.peers import Directory
from appliance.hsm.place import Hsm

_LOG = logging.getLogger(__name__)

T = TypeVar("T", bound=Struct)

_GROUND: Final = ("ledger", "reader", "metrics")
"""Sections that count from the next start on."""
_HSM_GROUND: Final = ("state", "start_seconds", "sign_seconds", "queue_limit", "canary_seconds")
_PATIENCE: Final = 10.0
"""
Seconds that a change of the HSMs waits for the one before, and a HUP that comes meanwhile with it: far less than systemd
gives a reload.
"""
_ADMITTING: Final = ("gateway", "peer", "policy")
"""Sections of who may ask, and what for. Nothing that the HSMs' workers have rests on them."""
_GATEWAY_GROUND: Final = ("socket", "authentications", "connections", "result_seconds")


@dataclass(frozen=True, slots=True)
class _Doors:
    """Who is let in: the peers, and the *network*'s certificate and CAs, where there is one."""

    directory: Directory
    network: tuple[ssl.SSLContext, Authorities] | None

    @classmethod
    def of(cls, new: Configuration) -> Self:
        """Return whom *new* lets in; raise ConfigurationError where a file is of no use."""
        tls = new.settings.gateway.tls
        return cls(directory_of(new), None if tls is None else server_context(new, tls))


class Reload:
    """
    Reads *file* again for *appliance* and its *reception*, which is reached through *front*.

    *again* is set where the file has to be read once more.
    """

    def __init__(
        self, file: Path, appliance: Appliance, reception: Reception, front: Front, again: asyncio.Event
    ) -> None:
        self._file, self._appliance, self._reception, self._front = file, appliance, reception, front
        self._again = again
        self._ground = appliance.configuration.settings
        self._hsms = hsms(appliance.configuration)
        self._leaving: asyncio.Task[None] | None = None
        """What waits for the workers of the set-up before."""
        self._is_put_off = False

    async def run(self) -> bool:
        """Read it, and return whether it counts now. What is wrong with it is in the log, with its code."""
        self._is_put_off = False
        try:
            read = config.load(self._file)
            require_sound(read)
            settings, waiting = grounded(read.settings, self._ground)
            new = Configuration(settings, read.folder)
            wanted = hsms(new)
            if wanted != self._hsms and not await self._have_left():
                self._is_put_off = True
                await self._admit(new)
                _LOG.warning("configuration put off cause=hsm-workers-leaving")
                return False
            await self._apply(new, wanted)
        except ApplianceError as error:
            _LOG.error("configuration refused code=%s detail=%s", error.code, error.detail)
            return False
        except Exception:  # noqa: BLE001 - a bug here is no reason to drop those who are served
            _LOG.exception("configuration cannot be read again")
            return False
        if waiting:
            _LOG.warning("configuration read again from_next_start=%s", ",".join(waiting))
        else:
            _LOG.info("configuration read again")
        return True

    async def end(self) -> None:
        """Wait for nobody any more: workers that have not left stay until the pool is closed."""
        if self._leaving is not None:
            await ended(self._leaving)

    async def _have_left(self) -> bool:
        """Return whether the workers of the set-up before have left, for which those get a while that nobody holds up."""
        if self._leaving is not None:
            await asyncio.wait((self._leaving,), timeout=_PATIENCE)
        return self._leaving is None

    async def _admit(self, new: Configuration) -> None:
        """Let those in, and no others, whom *new* lets in; what signs and decides stays as it is."""
        doors = _Doors.of(new)
        admitting = {name: getattr(new.settings, name) for name in _ADMITTING}
        settings = replace(self._appliance.configuration.settings, **admitting)
        self._appliance.generations.rename(Configuration(settings, new.folder))
        await self._admitted(doors, self._reception.admit)

    async def _apply(self, new: Configuration, wanted: tuple[Hsm, ...]) -> None:
        doors = _Doors.of(new)
        async with self._appliance.generations.prepared(new) as take_over:

            async def taken_over() -> None:
                take_over()
                await self._admitted(doors, self._reception.change)

            if wanted == self._hsms:
                await taken_over()
            else:
                for one in wanted:
                    self._appliance.metrics.know_hsm(one.alias)
                try:
                    await self._change_hsms(wanted, taken_over)
                except BaseException:
                    # What does not count is told of no more: it would stay down for ever, and its alert with it.
                    self._reception.conditions.forget()
                    raise

    async def _admitted(self, doors: "_Doors", change: Callable[[Generation, Directory], None]) -> None:
        """Have the reception go by the generation in use and by *doors*, and send away whom those let in no more."""
        before = self._reception.services.directory
        change(self._appliance.now, doors.directory)
        if doors.network is not None:
            await self._front.renew(*doors.network)
        await self._front.dismiss(before, doors.directory)

    async def _change_hsms(self, wanted: tuple[Hsm, ...], taken_over: Callable[[], Awaitable[None]]) -> None:
        """Have workers on those that are *wanted*, or raise; return when *taken_over* has, while the old ones leave."""
        done = asyncio.Event()

        async def turn() -> None:
            await taken_over()
            self._hsms = wanted
            done.set()
            await self._appliance.generations.left()

        async def change() -> None:
            try:
                await self._appliance.pool.reconfigure(wanted, turn)
            finally:
                done.set()

        changing = asyncio.create_task(change(), name="hsm-change")
        try:
            await done.wait()
        except asyncio.CancelledError:
            await ended(changing)
            raise
        if changing.done():
            changing.result()
        else:
            self._leaving = changing
            changing.add_done_callback(self._left)

    def _left(self, leaving: asyncio.Task[None]) -> None:
        self._leaving = None
        if leaving.cancelled():
            return
        if (error := leaving.exception()) is not None:
            _LOG.error("hsm workers not ended", exc_info=error)
        if self._is_put_off:
            self._again.set()


def grounded(new: Settings, ground: Settings) -> tuple[Settings, list[str]]:
    """Return *new* with what cannot be changed as it is in *ground*, and the names of what was to be changed in that."""
    waiting = [name for name in _GROUND if getattr(new, name) != getattr(ground, name)]
    hsm, hsm_waiting = _kept("hsm", new.hsm, ground.hsm, _HSM_GROUND)
    fixed = _GATEWAY_GROUND if _same_door(new.gateway.tls, ground.gateway.tls) else (*_GATEWAY_GROUND, "tls")
    gateway, gateway_waiting = _kept("gateway", new.gateway, ground.gateway, fixed)
    settings = replace(new, hsm=hsm, gateway=gateway, **{name: getattr(ground, name) for name in _GROUND})
    return settings, [*waiting, *hsm_waiting, *gateway_waiting]


def _kept(name: str, new: T, ground: T, fields: Sequence[str]) -> tuple[T, list[str]]:
    before = {field: getattr(ground, field) for field in fields}
    return replace(new, **before), [
        f"{name}.{field}" for field, value in before.items() if getattr(new, field) != value
    ]


def _same_door(new: TlsSettings | None, ground: TlsSettings | None) -> bool:
    """Whether the listener on the network stays where it is, so that its files may change."""
    if new is None or ground is None:
        return new is ground
    return (new.address, new.port) == (ground.address, ground.port)

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
than a moment, all stays as it was, and the configuration is read once more by itself when they have.

What lies at the ground cannot be changed under those who stand on it. It is named in the log, and counts from the next
start on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from appliance import config
from appliance.config import Configuration, Settings, TlsSettings
from appliance.daemon.check import require_sound
from appliance.daemon.desks import ended
from appliance.daemon.listeners import Front, server_context
from appliance.daemon.places import hsms
from appliance.daemon.reception import Reception, directory_of
from appliance.daemon.wiring import Appliance
from appliance.errors import ApplianceError
from appliance.hsm.place import Hsm

_LOG = logging.getLogger(__name__)

T = TypeVar("T", bound=Struct)

_GROUND: Final = ("ledger", "reader", "metrics")
"""Sections that count from the next start on."""
_HSM_GROUND: Final = ("state", "start_seconds", "sign_seconds", "queue_limit", "canary_seconds")
_LONGEST_AUTHENTICATION: Final = 360.0
"""Seconds for which workers stay whose keys an authentication may still ask for that began before."""
_PATIENCE: Final = 10.0
"""Seconds that a change of the HSMs waits for the one before, as long as the next HUP does: far less than systemd's time for it."""
_GATEWAY_GROUND: Final = ("socket", "authentications", "connections", "result_seconds")


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

    async def _apply(self, new: Configuration, wanted: tuple[Hsm, ...]) -> None:
        tls = new.settings.gateway.tls
        network = None if tls is None else server_context(new, tls)
        directory = directory_of(new)
        generations = self._appliance.generations
        async with generations.prepared(new) as take_over:

            async def taken_over() -> None:
                before = self._reception.services.directory
                take_over()
                self._reception.change(generations.now, directory)
                if network is not None:
                    await self._front.renew(*network)
                await self._front.dismiss(before, directory)

            if wanted == self._hsms:
                await taken_over()
            else:
                for one in wanted:
                    self._appliance.metrics.know_hsm(one.alias)
                await self._change_hsms(wanted, taken_over)

    async def _change_hsms(self, wanted: tuple[Hsm, ...], taken_over: Callable[[], Awaitable[None]]) -> None:
        """Have workers on those that are *wanted*, or raise; return when *taken_over* has, while the old ones leave."""
        done = asyncio.Event()

        async def turn() -> None:
            await taken_over()
            self._hsms = wanted
            done.set()
            await self._appliance.generations.left(_LONGEST_AUTHENTICATION)

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

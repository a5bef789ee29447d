"""
`/v1/surface-readings`: the front of the card at a desk, for the check by the staff's eyes (目視).

The front is in the answer and nowhere else: not kept, not logged, and not to be kept by whoever is in between. So there
is nothing to come back for, and a reading whose caller has gone is cancelled and lets go of the card.
"""

import asyncio
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Final

import msgspec
from aiohttp import web

from appliance.card.front import Front
from appliance.card.verification_number import VerificationNumber
from appliance.errors import AccessDenied, ConfigInvalid, GatewayDraining
from appliance.front_reading import FrontReader
from appliance.gateway.aside import Aside
from appliance.gateway.desks import Desks, Purpose, Stage, Work
from appliance.gateway.http import json_response, no_query, read_json
from appliance.gateway.jobs import Jobs
from appliance.gateway.order import DeskName
from appliance.gateway.picture import to_png
from appliance.gateway.services import PEER, SERVICES

PATH: Final = "/v1/surface-readings"
_LOOK_SECONDS: Final = 0.2
"""How often it is looked whether the caller is still there: aiohttp does not say."""
_LETTING_GO_SECONDS: Final = 5.0


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is printed on the card, of which 照合番号B is made."""

    desk: DeskName
    birth: date
    expiry_year: Annotated[int, msgspec.Meta(ge=2000, le=2100)]
    security_code: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}\Z")]
    last_try: bool = False

    def __repr__(self) -> str:
        # What opens name, address and photo is shown nowhere.
        return f"Order(desk={self.desk!r})"

    @property
    def number(self) -> VerificationNumber:
        """照合番号B; raises VerificationNumberInvalid."""
        return VerificationNumber.of(self.birth, self.expiry_year, self.security_code)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The front as the staff compare it with the person. Images are PNG in base64."""

    birth: date
    sex: str
    """1 male, 2 female, 9 other (JIS X 0303)."""
    expiry: date
    photo: str
    name: str
    address: str

    def __repr__(self) -> str:
        return "View()"


@dataclass(slots=True)
class SurfaceReadings:
    """The resource at `PATH`. Without a *reader* no front is read. Readings count among *jobs*' conversations."""

    jobs: Jobs
    reader: FrontReader | None
    rendering: Aside = field(default_factory=lambda: Aside("fronts"))

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [web.post(PATH, self.read)]

    async def read(self, request: web.Request) -> web.StreamResponse:
        """Read the front of the card at a desk while the caller waits."""
        no_query(request)
        order = await read_json(request, Order)
        peer, services = request[PEER], request.app[SERVICES]
        if not peer.may_use(order.desk):
            raise AccessDenied("this desk is not for this peer")
        if self.reader is None:
            raise ConfigInvalid("trust.front_root is not set, so no front can be read")
        number = order.number
        ended = services.budgets.begin(peer)
        try:
            reading = asyncio.create_task(self._read(self.reader, services.desks, order, number))
            await _with_caller(request, reading)
        finally:
            ended()
        if reading.cancelled():
            raise GatewayDraining("the appliance has ended meanwhile")
        return json_response(reading.result())

    async def _read(
        self, reader: FrontReader, desks: Desks, order: Order, number: VerificationNumber
    ) -> View:
        with self.jobs.admitted():
            async with desks.card(order.desk, Work(Purpose.FRONT), _unheard) as card:
                front = await reader.read(card, number, last_try=order.last_try)
            return await self.rendering.run(lambda: rendered(front))


def rendered(front: Front) -> View:
    """Return *front* with images that a browser shows, or raise FrontImageUnreadable."""
    return View(
        birth=front.birth,
        sex=front.sex,
        expiry=front.expiry,
        photo=b64encode(to_png(front.photo_jp2, "JPEG2000")).decode(),
        name=b64encode(to_png(front.name_png, "PNG")).decode(),
        address=b64encode(to_png(front.address_png, "PNG")).decode(),
    )


def _unheard(_stage: Stage) -> None:
    """Nobody follows a reading."""


async def _with_caller(request: web.Request, reading: asyncio.Task[View]) -> None:
    """Wait until *reading* has ended; cancel it when its caller has gone, and raise ConnectionError."""
    try:
        while not reading.done():
            await asyncio.wait((reading,), timeout=_LOOK_SECONDS)
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the caller has gone")
    finally:
        if not reading.done():
            reading.cancel()
            await asyncio.wait((reading,), timeout=_LETTING_GO_SECONDS)
        if reading.done() and not reading.cancelled():
            # Looked at, so that nobody complains of an error that nobody has heard of.
            reading.exception()

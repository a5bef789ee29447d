"""
The front of a card as it is shown to whoever compares it with the person, for the length of one authentication.

    read ──> shown ──decided──> it goes on with the same card, or HolderNotMatched
                   └─seconds──> DecisionLate

The front is here and nowhere else, and only as long as it is looked at: not kept, not logged, and not to be kept by
whoever is in between.
"""

import asyncio
from base64 import b64encode
from datetime import date
from typing import Annotated, Protocol

import msgspec

from appliance.card.front import Front
from appliance.card.verification_number import VerificationNumber
from appliance.errors import DecisionLate, DecisionNotAwaited, HolderNotMatched, ResourceAbsent
from appliance.front_reading import FrontReader
from appliance.gateway.aside import Aside
from appliance.gateway.picture import to_png


class Printed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is printed on the card, of which 照合番号B is made; and whether its last try may be used."""

    birth: date
    expiry_year: Annotated[int, msgspec.Meta(ge=2000, le=2100)]
    security_code: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}\Z")]
    last_try: bool = False

    def __repr__(self) -> str:
        # What opens name, address and photo is shown nowhere.
        return "Printed()"

    @property
    def number(self) -> VerificationNumber:
        """照合番号B; raises VerificationNumberInvalid."""
        return VerificationNumber.of(self.birth, self.expiry_year, self.security_code)


class FrontView(msgspec.Struct, frozen=True, kw_only=True):
    """The front as it is compared with the person. Images are PNG in base64."""

    birth: date
    sex: str
    """1 male, 2 female, 9 other (JIS X 0303)."""
    expires: date
    photo_png: str
    name_png: str
    address_png: str

    def __repr__(self) -> str:
        return "FrontView()"


class Fronts(Protocol):
    """What fronts are read and rendered with."""

    @property
    def reader(self) -> FrontReader | None:
        """Return what reads them; None where no root for them is configured."""

    @property
    def rendering(self) -> Aside:
        """Return where their images are made."""


def front_view(front: Front) -> FrontView:
    """Return *front* with images that a browser shows, or raise FrontImageUnreadable."""
    return FrontView(
        birth=front.birth,
        sex=front.sex,
        expires=front.expiry,
        photo_png=b64encode(to_png(front.photo_jp2, "JPEG2000")).decode(),
        name_png=b64encode(to_png(front.name_png, "PNG")).decode(),
        address_png=b64encode(to_png(front.address_png, "PNG")).decode(),
    )


class Comparison:
    """The comparison of one authentication: what is shown, and what was decided."""

    __slots__ = ("_decided", "_decision", "_front")

    def __init__(self) -> None:
        self._front: FrontView | None = None
        self._decision: asyncio.Future[bool] | None = None
        self._decided: bool | None = None

    @property
    def front(self) -> FrontView:
        """The front, as long as a decision is awaited; raise ResourceAbsent at any other time."""
        if self._front is None or not self._is_awaited:
            raise ResourceAbsent("no front is shown now")
        return self._front

    def decide(self, *, same_person: bool) -> None:
        """Say whether it is the *same person*, once; the same may be said again. Raises DecisionNotAwaited."""
        if self._decided is not None and self._decided is same_person:
            return
        if self._decided is not None or self._decision is None or not self._is_awaited:
            raise DecisionNotAwaited("no decision is awaited, or it was another one")
        self._decided = same_person
        self._decision.set_result(same_person)

    async def made(self, front: FrontView, seconds: float) -> None:
        """Show *front* until it is decided on, for *seconds* at most; raise HolderNotMatched and DecisionLate."""
        decision = asyncio.get_running_loop().create_future()
        self._front, self._decision = front, decision
        try:
            async with asyncio.timeout(seconds):
                same_person = await decision
        except TimeoutError as error:
            raise DecisionLate(f"nobody decided within {seconds:g} seconds") from error
        finally:
            self._front = self._decision = None
        if not same_person:
            raise HolderNotMatched("the operator says that this is another person")

    @property
    def _is_awaited(self) -> bool:
        return self._decision is not None and not self._decision.done()

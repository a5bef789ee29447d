"""
A request file: JSON in UTF-8, with or without a byte order mark.

Nothing in it names a file. What its writer wants to see again stands in `echo`, and is no concern of ours.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias, assert_never

import msgspec

from appliance import client
from appliance.catalogue import Language
from appliance.errors import HandoverRequestInvalid

LARGEST: Final = 16 << 10
"""Bytes."""
_BOM: Final = b"\xef\xbb\xbf"
_MOST_ECHOED: Final = 16

_Alias: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
_Desk: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}(?:\.[a-z0-9][a-z0-9-]{0,31})?\Z")
]
_Echoed: TypeAlias = Annotated[str, msgspec.Meta(max_length=512)]


class FaceCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="face"):
    """A device has compared the holder's face with the card."""

    device: _Alias


class EmergencyCheck(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="none_emergency"
):
    """Nobody can compare anything; it counts while two operators keep a window open for that."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    What is asked for.

    The visual check is not among it: a person has to see the card's front in the very session, and files show nobody
    anything. The desk page is for that.
    """

    version: Literal[1]
    desk: _Desk
    mode: Literal["pinless", "pin"]
    identity_check: FaceCheck | EmergencyCheck | None = None
    nonce: Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,128}\Z")] | None = None
    last_pin_try: bool = False
    evidence: bool = False
    eligibility: bool = False
    language: Language | None = None
    encoding: Literal["utf-8", "shift_jis"] = "utf-8"
    echo: Annotated[dict[_Alias, _Echoed], msgspec.Meta(max_length=_MOST_ECHOED)] = {}

    def __post_init__(self) -> None:
        if (self.mode == "pin") is (self.identity_check is not None):
            raise ValueError("identity_check goes with the mode 'pinless' alone, and has to be there")
        if self.mode == "pinless" and self.last_pin_try:
            raise ValueError("without a PIN there is no last try of it")

    def check(self) -> client.IdentityCheck | None:
        """Return the identity check as the appliance is told of it."""
        match self.identity_check:
            case FaceCheck(device):
                return client.FaceCheck(device)
            case EmergencyCheck():
                return client.EmergencyCheck()
            case None:
                return None
            case _:
                assert_never(self.identity_check)

    def __repr__(self) -> str:
        return f"Request(desk={self.desk!r}, mode={self.mode!r})"


def is_complete(content: bytes) -> bool:
    """Return whether *content* is a whole JSON document: one that is half written never is, as requests are objects."""
    try:
        return isinstance(_document(content), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def parse(content: bytes) -> Request:
    """Return the request that *content* is, or raise HandoverRequestInvalid."""
    try:
        return msgspec.convert(_document(content), Request)
    except msgspec.ValidationError as error:
        raise HandoverRequestInvalid(_printable(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HandoverRequestInvalid("the file is not JSON in UTF-8") from error


def wishes(content: bytes) -> tuple[Language | None, str]:
    """Return language and encoding that *content* asks for, as far as it can be read: a refusal is in them, too."""
    try:
        found = _document(content)
        wished = found if isinstance(found, dict) else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wished = {}
    language, encoding = wished.get("language"), wished.get("encoding")
    return (
        Language(language) if isinstance(language, str) and language in tuple(Language) else None,
        "shift_jis" if encoding == "shift_jis" else "utf-8",
    )


def _document(content: bytes) -> Any:  # noqa: ANN401 - any JSON
    return msgspec.json.decode(content.removeprefix(_BOM))


def _printable(text: str) -> str:
    """Return *text*, which may quote the writer's own member names, as short ASCII."""
    return text.encode("ascii", "backslashreplace").decode()[:300]

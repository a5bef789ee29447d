"""
EF 0006: what kind of token holds the JPKI application.

160 bytes in the layout of PKCS#11's CK_TOKEN_INFO; the label alone tells the kind (card facts 1.4). A card is
never recognised by its ATR: several kinds share one.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from appliance.errors import CardAnswerMalformed

LENGTH: Final = 160
_LABEL: Final = 32


class Kind(StrEnum):
    """What somebody put on the reader."""

    MY_NUMBER_CARD = "my-number-card"
    BASIC_RESIDENT_CARD = "basic-resident-card"
    ANDROID = "android"
    IPHONE = "iphone"
    UNKNOWN = "unknown"


_KINDS: Final = {
    "JPKIAPICCTOKEN2": Kind.MY_NUMBER_CARD,
    "JPKIAPICCTOKEN": Kind.BASIC_RESIDENT_CARD,
    "JPKIAPGPSETOKEN": Kind.ANDROID,
    "JPKIAPIOSTOKEN": Kind.IPHONE,
}


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """The label, and the *kind* it stands for. The serial is not read: it would identify the card."""

    label: str

    @property
    def kind(self) -> Kind:
        """The kind of token; UNKNOWN for a label that nobody has described."""
        return _KINDS.get(self.label, Kind.UNKNOWN)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Return the token info that *encoded*, at least the label's 32 bytes, begins with."""
        label = encoded[:_LABEL]
        if len(label) != _LABEL or not label.isascii():
            raise CardAnswerMalformed("the token info does not begin with a label")
        return cls(label.decode("ascii").rstrip(" \x00"))


@dataclass(frozen=True, slots=True)
class Presence:
    """EF 0008: which certificates the card holds."""

    signing: bool
    authentication: bool

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Return what the three bytes *encoded* say; 8F stands for present."""
        if len(encoded) != 3:
            raise CardAnswerMalformed("the certificates' presence is three bytes")
        return cls(encoded[0] == 0x8F, encoded[1] == 0x8F)

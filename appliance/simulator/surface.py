"""
The application 券面事項確認AP: what is printed on the card, for whoever holds the card (card facts 1.5).

照合番号B opens the front, 照合番号A the image of the My Number as well. The card's key signs for everyone, which
proves a card to be no copy (card facts 4.4).
"""

from typing import Final

from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import CredentialName, Keep
from appliance.simulator.files import Application, Data, File, Pin, Shut, SigningKey
from appliance.simulator.keys import OPERATIONS, RsaKey

NAME: Final = bytes.fromhex("D3921000310001010402")

_BIRTH, _NUMBER_B, _NUMBER_A, _CARD_KEY = 0x11, 0x12, 0x13, 0x1A
_OPENED_BY: Final = {
    0x01: frozenset({_BIRTH, _NUMBER_B, _NUMBER_A}),
    0x02: frozenset({_NUMBER_B, _NUMBER_A}),
    0x05: frozenset({_NUMBER_A}),
}
"""The files that are not free."""
_SIZES: Final = {0x01: 0x240, 0x02: 0x2000, 0x03: 0x200, 0x04: 0x240, 0x05: 0x800}
"""Sizes of files, so that a content has filler behind it: our choice. EF 0006 has none."""


def surface_application(data: CardData, keep_tries: Keep | None = None) -> Application:
    """Return the application of the card made of *data*; *keep_tries* is told every new count of tries."""
    files: dict[int, File] = {
        file_id: Data.filled(content, _SIZES.get(file_id, 0), _OPENED_BY.get(file_id, frozenset()))
        for file_id, content in data.surface.items()
    }
    files |= {
        _BIRTH: Pin.of(data, CredentialName.SURFACE_BIRTH, keep_tries),
        _NUMBER_B: Pin.of(data, CredentialName.SURFACE_B, keep_tries),
        _NUMBER_A: Pin.of(data, CredentialName.SURFACE_A, keep_tries),
        0x14: Shut(),
        0x15: Shut(),
        _CARD_KEY: SigningKey(RsaKey(data.card_key)),
        0x1C: Shut(),
        0x1E: Shut(),
    }
    references = {0x00: _CARD_KEY, 0x80: None, 0x80 | _CARD_KEY: _CARD_KEY}
    return Application(NAME, files, OPERATIONS, references)

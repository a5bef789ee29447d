"""
The application 券面事項入力補助AP: what is printed on the card, as text to fill in forms with (card facts 1.6).

Its session key and secure messaging are not played: EF 0006 stays shut and SET SESSION KEY is unknown.
"""

from typing import Final

from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import CredentialName, Keep
from appliance.simulator.files import Application, Data, File, Holds, Pin, Shut, SigningKey
from appliance.simulator.keys import OPERATIONS, RsaKey
from appliance.simulator.kinds import traits

NAME: Final = bytes.fromhex("D3921000310001010408")

_PIN, _CARD_KEY, _NUMBER_A, _NUMBER_B = 0x11, 0x13, 0x14, 0x15
_OPENED_BY: Final = {
    0x01: frozenset({_PIN, _NUMBER_A}),
    0x02: frozenset({_PIN, _NUMBER_A, _NUMBER_B}),  # 照合番号A opens all (card facts 4.1)
    0x03: frozenset({_PIN, _NUMBER_A, _NUMBER_B}),
}
"""The files that are not free."""
_SIZES: Final = {0x02: 0x200, 0x03: 0x180, 0x04: 0x240, 0x05: 0x40, 0x07: 0x240}
"""Sizes of files: our choice. EF 0001 brings its two bytes of filler along, EF 0008 has none."""


def text_application(data: CardData, keep_tries: Keep | None = None) -> Application:
    """Return the application of the card made of *data*; *keep_tries* is told every new count of tries."""
    files: dict[int, File] = {
        file_id: Data.filled(content, _SIZES.get(file_id, 0), _OPENED_BY.get(file_id, frozenset()))
        for file_id, content in data.text.items()
    }
    files |= {
        0x06: Shut(),
        0x10: Shut(Holds.CREDENTIAL),
        _PIN: Shut(Holds.CREDENTIAL),
        0x12: Shut(Holds.CREDENTIAL),
        _CARD_KEY: SigningKey(RsaKey(data.card_key)),
        _NUMBER_A: Pin.of(data, CredentialName.TEXT_A, keep_tries),
        _NUMBER_B: Pin.of(data, CredentialName.TEXT_B, keep_tries),
        0x1C: Shut(),
        0x1E: Shut(),
    }
    if traits(data.kind).pins:
        files[_PIN] = Pin.of(data, CredentialName.TEXT_PIN, keep_tries)
    references = {0x00: _CARD_KEY, 0x80: None, 0x80 | _CARD_KEY: _CARD_KEY}
    return Application(NAME, files, OPERATIONS, references)

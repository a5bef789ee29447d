"""The JPKI application 公的個人認証: its table of files (card facts 1.3 and 1.4)."""

from collections.abc import Callable
from typing import Final

from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import Credential
from appliance.simulator.files import Anchor, Application, Data, File, Holds, Pin, Shut, SigningKey
from appliance.simulator.institution import TrustAnchor
from appliance.simulator.keys import OPERATIONS, RsaKey

NAME: Final = bytes.fromhex("D392F000260100000001")

_AUTHENTICATION_KEY, _AUTHENTICATION_PIN, _SIGNATURE_KEY = 0x17, 0x18, 0x1A
_CERTIFICATE_FILE: Final = 2_000
"""Size of a certificate file: room for every real certificate, and less than readers ask for (ruling 17)."""
_PRESENT: Final = bytes.fromhex("008F00")
"""EF 0008: no signing certificate, an authentication certificate (ruling 20)."""


def jpki_application(data: CardData, keep_tries: Callable[[int], None] | None = None) -> Application:
    """Return the application of the card made of *data*; *keep_tries* is told every new count of the PIN's tries."""
    credential = Credential(data.pin.encode("ascii"), data.tries, data.tries_left)
    if keep_tries is not None:
        credential.keep = keep_tries
    files: dict[int, File] = {
        0x01: Shut(),
        0x02: Shut(),
        0x05: Shut(),
        0x06: Data(token_information(data.serial)),
        0x08: Data(_PRESENT),
        0x09: Shut(),
        0x0A: Data.filled(data.certificate, _CERTIFICATE_FILE),
        0x0B: Data.filled(data.ca_certificate, _CERTIFICATE_FILE),
        0x10: Shut(Holds.CREDENTIAL),
        0x16: Anchor(TrustAnchor(data.anchor_reference, data.anchor_key)),
        _AUTHENTICATION_KEY: SigningKey(
            RsaKey(data.private_key), _AUTHENTICATION_PIN, serves_institution=True
        ),
        _AUTHENTICATION_PIN: Pin(credential),
        0x19: Shut(),
        _SIGNATURE_KEY: Shut(Holds.KEY),
        0x1B: Shut(Holds.CREDENTIAL),
        0x1C: Shut(),
        0x1E: Shut(),
    }
    references = {
        0x80: None,
        0x80 | _AUTHENTICATION_KEY: _AUTHENTICATION_KEY,
        0x80 | _SIGNATURE_KEY: _SIGNATURE_KEY,
    }
    return Application(NAME, files, OPERATIONS, references)


def token_information(serial: str) -> bytes:
    """Return EF 0006 of a card with *serial*: 160 bytes laid out as CK_TOKEN_INFO, big-endian (card facts 1.4)."""
    flags, most_sessions, sessions, longest_pin, shortest_pin = 0x40D, 1, 0, 16, 6
    numbers = (flags, most_sessions, sessions, most_sessions, sessions, longest_pin, shortest_pin)
    return b"".join(
        (
            _padded("JPKIAPICCTOKEN2", 32),
            _padded("JPKI-TEST", 32),
            _padded("TESTCARD", 16),
            _padded(serial, 16),
            *(number.to_bytes(4) for number in numbers),
            b"\xff" * 16,  # four amounts of memory, not told
            b"03",
            b"01",
            b"9" * 16,
        )
    )


def _padded(text: str, length: int) -> bytes:
    return text.encode("ascii").ljust(length)

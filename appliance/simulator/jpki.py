"""The JPKI application 公的個人認証: its table of files (card facts 1.3 and 1.4)."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import CredentialName, Keep
from appliance.simulator.files import FREE, Anchor, Application, Data, File, Holds, Pin, Shut, SigningKey
from appliance.simulator.institution import TrustAnchor
from appliance.simulator.key_files import PrivateKey
from appliance.simulator.keys import CURVE_OPERATIONS, OPERATIONS, CardKey, CurveKey, RsaKey
from appliance.simulator.kinds import Traits, traits

NAME: Final = bytes.fromhex("D392F000260100000001")

_KEY, _PIN, _SIGNING_KEY, _PASSWORD = 0x17, 0x18, 0x1A, 0x1B
_CERTIFICATE_FILE: Final = 2_000
"""Size of a certificate file: room for every real certificate, and less than readers ask for (ruling 17)."""
_PRESENT, _ABSENT = b"\x8f", b"\x00"


def jpki_application(data: CardData, label: str, keep_tries: Keep | None = None) -> Application:
    """Return the application, which calls itself *label*, of the card made of *data*."""
    kind = traits(data.kind)
    files: dict[int, File] = {
        0x05: Shut(),
        0x06: Data(token_information(label, data.serial)),
        0x09: Shut(),
        0x10: Shut(Holds.CREDENTIAL),
        0x19: Shut(),
        0x1C: Shut(),
        0x1E: Shut(),
    }
    files |= _signing(data, keep_tries)
    if kind.authenticates:
        files |= _authentication(data, kind, keep_tries)
    present = (data.signing is not None, kind.certified)
    files[0x08] = Data(b"".join(_PRESENT if each else _ABSENT for each in present) + b"\x00")
    references = {0x80: None, 0x80 | _KEY: _KEY, 0x80 | _SIGNING_KEY: _SIGNING_KEY}
    operations = OPERATIONS if isinstance(data.private_key, rsa.RSAPrivateKey) else CURVE_OPERATIONS
    return Application(NAME, files, operations, references)


def _authentication(data: CardData, kind: Traits, keep_tries: Keep | None) -> dict[int, File]:
    """Return what the application has for user authentication (利用者証明用)."""
    opened_by = FREE if kind.free_certificate else frozenset({_PIN})
    certificate, authority = (data.certificate, data.ca_certificate) if kind.certified else (b"", b"")
    files: dict[int, File] = {
        0x0A: Data.filled(certificate, _CERTIFICATE_FILE, opened_by),
        0x0B: Data.filled(authority, _CERTIFICATE_FILE),
        _KEY: Shut(Holds.KEY),
        _PIN: Shut(Holds.CREDENTIAL),
    }
    if kind.certified:
        files[_KEY] = SigningKey(_card_key(data.private_key), frozenset({_PIN}), serves_institution=True)
    if kind.pins:
        files[_PIN] = Pin.of(data, CredentialName.PIN, keep_tries)
    if kind.institution:
        files[0x16] = Anchor(TrustAnchor(data.anchor_reference, data.anchor_key))
    return files


def _signing(data: CardData, keep_tries: Keep | None) -> dict[int, File]:
    """Return what the application has for signing (署名用): all of it shut without a certificate (ruling 20)."""
    if data.signing is None:
        return {0x01: Shut(), 0x02: Shut(), _SIGNING_KEY: Shut(Holds.KEY), _PASSWORD: Shut(Holds.CREDENTIAL)}
    return {
        0x01: Data.filled(data.signing.certificate, _CERTIFICATE_FILE, frozenset({_PASSWORD})),
        0x02: Data.filled(data.signing.ca_certificate, _CERTIFICATE_FILE),
        _SIGNING_KEY: SigningKey(RsaKey(data.signing.private_key), frozenset({_PASSWORD})),
        _PASSWORD: Pin.of(data, CredentialName.PASSWORD, keep_tries),
    }


def _card_key(key: PrivateKey) -> CardKey:
    return RsaKey(key) if isinstance(key, rsa.RSAPrivateKey) else CurveKey(key)


def token_information(label: str, serial: str) -> bytes:
    """Return EF 0006 of a card with *label* and *serial*: 160 bytes laid out as CK_TOKEN_INFO, big-endian (card facts 1.4)."""
    flags, most_sessions, sessions, longest_pin, shortest_pin = 0x40D, 1, 0, 16, 6
    numbers = (flags, most_sessions, sessions, most_sessions, sessions, longest_pin, shortest_pin)
    return b"".join(
        (
            _padded(label, 32),
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

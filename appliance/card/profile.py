"""
The card profile: every application, file, command and encoding of a kind of card, as data.

Four things about 特定機関認証 are not public (reference profile 1). An institution that knows them writes them
into a profile file; no code changes. A profile is refused when a value is missing, unknown, or would
make the institution key or a proof worth less than promised.
"""

from collections.abc import Callable
from importlib import resources
from typing import Annotated, Final, Literal, Self

import msgspec

from appliance.card.algorithm import SIGNATURE_LENGTH, UNHASHED, Algorithm
from appliance.card.apdu import Command
from appliance.card.cvc import Shape
from appliance.card.reach import require_in_reach
from appliance.errors import ProfileInvalid, ProfileUnsafe

LONGEST_CHALLENGE: Final = 32
"""Bytes. A longer one could be something else than a challenge that somebody wants signed."""
SHORTEST_NONCE: Final = 16
"""Bytes. A shorter one could come twice."""

_SHIPPED: Final = "appliance.card.profiles"


class _Octets(bytes):
    """Bytes of a fixed length, written in hexadecimal."""

    length: range

    @classmethod
    def from_hex(cls, text: object) -> Self:
        """Return the bytes *text* stands for, or raise ValueError."""
        if not isinstance(text, str) or len(octets := bytes.fromhex(text)) not in cls.length:
            raise ValueError(f"{text!r} is not the hexadecimal form of a {cls.__name__}")
        return cls(octets)


class ApplicationId(_Octets):
    """AID, ISO/IEC 7816-4 §8.2.1.2."""

    length = range(5, 17)


class FileId(_Octets):
    """Name of an elementary file."""

    length = range(2, 3)


class Header(_Octets):
    """CLA, INS, P1 and P2 of a command."""

    length = range(4, 5)

    def command(self, data: bytes = b"", le: int | None = None, *, extended: bool = False) -> Command:
        """Return the command with this header."""
        cla, ins, p1, p2 = self
        return Command(cla, ins, p1, p2, data, le, extended)


class StatusWord(_Octets):
    """SW1 and SW2."""

    length = range(2, 3)

    def __int__(self) -> int:
        """Return the word as the number that responses carry."""
        return int.from_bytes(self)


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables of a profile have in common."""


class Application(_Table, frozen=True):
    """The JPKI application (公的個人認証AP)."""

    aid: ApplicationId


class Files(_Table, frozen=True):
    """Elementary files of the JPKI application."""

    token_info: FileId
    presence: FileId
    certificate: FileId
    authority: FileId
    anchor: FileId
    key: FileId
    pin: FileId


class Institution(_Table, frozen=True):
    """How the institution proves itself to the card."""

    certificate: Shape
    load_body: Header
    load_signature: Header
    get_challenge: Header
    challenge_length: Annotated[int, msgspec.Meta(ge=8, le=256)]
    algorithm: Algorithm
    present_signature: Header


class Proof(_Table, frozen=True):
    """How the card proves its holder to us."""

    algorithm: Algorithm
    nonce_length: Annotated[int, msgspec.Meta(ge=1, le=128)]
    sign_pinless: Header
    message_pinless: Literal["nonce-institution-code"]
    """What the card hashes and signs without a PIN."""
    sign_with_pin: Header
    input_with_pin: Literal["digest-info", "digest"]
    """In which form the card is given the nonce's hash where the PIN was entered."""


class Pin(_Table, frozen=True):
    """The holder's PIN (利用者証明用電子証明書の暗証番号)."""

    verify: Header
    digits: Annotated[int, msgspec.Meta(ge=4, le=16)]
    blocked: tuple[StatusWord, ...]


class Surface(_Table, frozen=True):
    """The surface application (券面事項確認AP), as far as it holds the card's front. No file with the My Number."""

    aid: ApplicationId
    front: FileId
    certificate: FileId
    verification_number: FileId
    """照合番号B."""
    key: FileId
    verify: Header
    sign: Header


class Profile(_Table, frozen=True):
    """One kind of card. *unverified* names what nobody has confirmed against a real card."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}\Z")]
    version: Annotated[int, msgspec.Meta(ge=1)]
    unverified: tuple[str, ...]
    application: Application
    files: Files
    institution: Institution
    proof: Proof
    pin: Pin
    surface: Surface

    @property
    def proof_length(self) -> int:
        """How many bytes a holder's signature has."""
        return SIGNATURE_LENGTH[self.proof.algorithm]

    @classmethod
    def from_toml(cls, text: bytes) -> Self:
        """Return the profile in *text*; raise ProfileInvalid or ProfileUnsafe, naming the value."""
        try:
            profile = msgspec.toml.decode(text, type=cls, dec_hook=_decode_octets)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            # What Python's own parser makes of endless digits or brackets does not become a DecodeError.
            raise ProfileInvalid(str(error)) from error
        profile.require_safe()
        return profile

    def require_safe(self) -> None:
        """Raise ProfileUnsafe where following the profile would weaken the key or the proof, or reach what `reach` says."""
        require_in_reach(self)
        if self.institution.challenge_length > LONGEST_CHALLENGE:
            raise ProfileUnsafe(
                f"institution.challenge_length {self.institution.challenge_length} is over {LONGEST_CHALLENGE}: "
                "a long challenge can be something else that somebody wants signed"
            )
        if self.institution.algorithm in UNHASHED:
            raise ProfileUnsafe(
                f"institution.algorithm {self.institution.algorithm} signs the challenge without hashing it: "
                "the card could choose what the institution key signs"
            )
        if self.proof.algorithm in UNHASHED:
            raise ProfileUnsafe(f"proof.algorithm {self.proof.algorithm} signs without hashing")
        if self.institution.certificate.algorithm is not self.institution.algorithm:
            raise ProfileInvalid(
                f"institution.algorithm {self.institution.algorithm} does not go with a key in a certificate "
                f"of the shape {self.institution.certificate}"
            )
        if (self.proof.input_with_pin == "digest-info") is not (
            self.proof.algorithm is Algorithm.RSA_2048_PKCS1_SHA256
        ):
            raise ProfileInvalid(
                f"proof.input_with_pin {self.proof.input_with_pin} does not go with {self.proof.algorithm}"
            )
        if self.proof.nonce_length < SHORTEST_NONCE:
            raise ProfileUnsafe(
                f"proof.nonce_length {self.proof.nonce_length} is under {SHORTEST_NONCE}: nonces could repeat"
            )


def shipped(name: str) -> Profile:
    """Return the profile that ships under *name*, or raise ProfileInvalid."""
    if name not in shipped_names():
        raise ProfileInvalid(f"no profile '{name}' ships; there are: {', '.join(shipped_names())}")
    return Profile.from_toml((resources.files(_SHIPPED) / f"{name}.toml").read_bytes())


def shipped_names() -> list[str]:
    """Return the names of the profiles that ship with the appliance."""
    names = (entry.name for entry in resources.files(_SHIPPED).iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def _decode_octets(kind: type, value: object) -> object:
    from_hex: Callable[[object], object] = kind.from_hex  # type: ignore[attr-defined]  # only _Octets come here
    return from_hex(value)

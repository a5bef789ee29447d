"""
What a profile may not lead to, whoever wrote it: the My Number, the key for signatures (署名用) and its PIN, and commands
that read, write or try something else than what they are for. Other applications of a card may be named, as a later
generation may have its own; only commands of the kinds below reach them.

Both ends ask: the appliance when it loads a profile, and a terminal before it lets the first command through. Card
facts 1.1 to 1.3 and 1.5 to 1.7 name the applications, files and instructions.
"""

from typing import TYPE_CHECKING, Final

from appliance.errors import ProfileUnsafe

if TYPE_CHECKING:
    from appliance.card.profile import Profile

MY_NUMBER_FILE: Final = bytes.fromhex("0005")
"""EF of the surface application with the My Number as a picture. Nothing of ours ever reads it."""
MY_NUMBER_CREDENTIAL: Final = bytes.fromhex("0013")
"""EF of the surface application with 照合番号A, which is the My Number. Nothing of ours ever tries it."""
TEXT_APPLICATION: Final = bytes.fromhex("D3921000310001010408")
"""AID of 券面事項入力補助AP, which holds the My Number as text. Nothing of ours ever selects it."""
RESIDENT_APPLICATION: Final = bytes.fromhex("D3921000310001010401")
"""AID of 住基AP, the resident register's. Nothing of ours ever selects it."""

SIGNING_FILES: Final = frozenset(bytes.fromhex(name) for name in ("0001", "001A", "001B"))
"""EFs of the JPKI application for signatures (署名用): certificate, key, PIN. Only the holder's own will uses them."""

_PRINTED: Final = bytes.fromhex("D392100031")
"""With what the AIDs begin of all applications with printed and register data, which prove no holder."""
_VERIFY: Final = 0x20
_GET_CHALLENGE: Final = 0x84
_SIGNING: Final = frozenset({0x2A, 0x88})
"""PERFORM SECURITY OPERATION and INTERNAL AUTHENTICATE."""
_NEVER: Final = frozenset(
    {
        # selects or reads
        *(0xA0, 0xA1, 0xA4, 0xB0, 0xB1, 0xB2, 0xB3, 0xC0, 0xCA, 0xCB),
        # tries or changes a credential or key
        *(0x20, 0x21, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2C, 0x2D, 0x32),
        # writes or erases
        *(0x0C, 0x0E, 0x0F, 0xD0, 0xD1, 0xD2, 0xD3, 0xD6, 0xD7, 0xDA, 0xDB, 0xDC, 0xDD),
        # makes, ends or loads files, keys, applications
        *(0x04, 0x44, 0x46, 0x47, 0xE0, 0xE2, 0xE4, 0xE6, 0xE8, 0xFE),
        # is not how anything is presented
        0x84,
    }
)
"""What no command is that introduces the institution. Which instructions those are is not public in full."""
_SHORT_FILE: Final = 0x1F
"""Of P2, what names another file than the one that was selected."""


def require_in_reach(profile: "Profile") -> None:
    """Raise ProfileUnsafe where *profile* names an application, a file or an instruction that is never used."""
    _require_applications(profile)
    files, surface = profile.files, profile.surface
    for name in files.__struct_fields__:
        if getattr(files, name) in SIGNING_FILES:
            raise ProfileUnsafe(f"files.{name}: this belongs to the key for signatures, which is never used")
    for name in ("front", "certificate", "verification_number", "key"):
        if getattr(surface, name) in {MY_NUMBER_FILE, MY_NUMBER_CREDENTIAL}:
            raise ProfileUnsafe(
                f"surface.{name}: this is where the My Number is kept, which must never be read"
            )
    institution, proof = profile.institution, profile.proof
    _require(
        "institution.get_challenge", institution.get_challenge, institution.get_challenge[1] == _GET_CHALLENGE
    )
    for name in ("load_body", "load_signature", "present_signature"):
        header = getattr(institution, name)
        _require(f"institution.{name}", header, header[1] not in _NEVER)
    for name, header in (("pin.verify", profile.pin.verify), ("surface.verify", surface.verify)):
        _require(name, header, header[1] == _VERIFY and not header[3] & _SHORT_FILE)
    for name, header in (
        ("proof.sign_pinless", proof.sign_pinless),
        ("proof.sign_with_pin", proof.sign_with_pin),
        ("surface.sign", surface.sign),
    ):
        _require(name, header, header[1] in _SIGNING and not header[3] & _SHORT_FILE)


def _require_applications(profile: "Profile") -> None:
    aid = profile.surface.aid
    # A card takes a leading part of an AID for whichever application it likes.
    for closed in (TEXT_APPLICATION, RESIDENT_APPLICATION):
        if aid.startswith(closed) or closed.startswith(aid):
            raise ProfileUnsafe(
                "surface.aid: this is, or may be taken for, an application with the My Number, which must never be read"
            )
    if not aid.startswith(_PRINTED):
        # What is printed would be tried there as if it were a PIN.
        raise ProfileUnsafe("surface.aid: this is no application with what is printed on a card")
    if profile.application.aid.startswith(_PRINTED):
        raise ProfileUnsafe("application.aid: this is where the My Number is kept, which must never be read")


def _require(name: str, header: bytes, is_fit: bool) -> None:  # noqa: FBT001  # read with its condition
    if not is_fit:
        raise ProfileUnsafe(f"{name}: {header.hex().upper()} is a command that is never used in this place")

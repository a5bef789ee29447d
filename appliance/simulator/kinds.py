"""
The kinds of cards and phones that somebody may put on a reader, and how they differ.

What is public of a kind is in card facts 1.4, 5 and 6. Where they end, the choice is ours: it is what a driver must
be ready for, not a statement about real cards.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What is put on the reader."""

    MY_NUMBER = "my-number"
    """個人番号カード of today."""
    FACE_ONLY = "face-only"
    """顔認証マイナンバーカード. Ours: its two PINs are there and have no try left."""
    NO_CERTIFICATE = "no-certificate"
    """Its holder wanted no certificate. Ours: EF 0008 says so, the files are all filler, the key stays shut."""
    ANDROID = "android"
    """The PIN opens its certificate too. Ours: neither EF 0016 nor any other application."""
    IPHONE = "iphone"
    """Ours: as the Android phone, but its certificate is free; what iPhones ask beyond that is not played."""
    BASIC_RESIDENT = "basic-resident"
    """住基カード, of before 2016. Ours: nothing of user authentication is there but EF 0008, no other application."""
    OTHER = "other"
    """A card of another issuer: no application of ours."""
    NEXT = "next"
    """次期個人番号カード as the profile jpki-next guesses it: ECDSA on P-384 in the JPKI application."""


@dataclass(frozen=True, slots=True)
class Traits:
    """
    In what a kind differs: the *label* in EF 0006, or None where there is no JPKI application.

    *authenticates* says whether there is anything for user authentication; *certified* whether a certificate is
    among it; *institution* whether EF 0016 is; *free_certificate* whether the certificate needs no PIN; *pins*
    whether its PINs have tries; *printed* whether the two applications with the printed data are there.
    """

    label: str | None = "JPKIAPICCTOKEN2"
    authenticates: bool = True
    certified: bool = True
    institution: bool = True
    free_certificate: bool = True
    pins: bool = True
    printed: bool = True


_TRAITS: Final = {
    Kind.MY_NUMBER: Traits(),
    Kind.FACE_ONLY: Traits(pins=False),
    Kind.NO_CERTIFICATE: Traits(certified=False),
    Kind.ANDROID: Traits("JPKIAPGPSETOKEN", institution=False, free_certificate=False, printed=False),
    Kind.IPHONE: Traits("JPKIAPIOSTOKEN", institution=False, printed=False),
    Kind.BASIC_RESIDENT: Traits("JPKIAPICCTOKEN", authenticates=False, certified=False, printed=False),
    Kind.OTHER: Traits(None, printed=False),
    Kind.NEXT: Traits(),
}


def traits(kind: Kind) -> Traits:
    """Return in what *kind* differs."""
    return _TRAITS[kind]

"""
The number used once that the card signs for us.

Its last byte is 0x80 or above. An institution code is ASCII digits, so no nonce can be read as a shorter nonce
followed by somebody's institution code: a PIN-less proof can never pass for a PIN proof, whatever length the
card accepts (reference profile 2). Maker and verifier both insist, which is why it is a type.
"""

from dataclasses import dataclass
from typing import Final, Self

_NOT_A_DIGIT: Final = 0x80


@dataclass(frozen=True, slots=True)
class Nonce:
    """Bytes of the profile's length, the last one 0x80 or above; ValueError otherwise."""

    octets: bytes

    def __post_init__(self) -> None:
        if not self.octets or self.octets[-1] < _NOT_A_DIGIT:
            raise ValueError("the last byte of a nonce is 0x80 or above")

    @classmethod
    def from_random(cls, octets: bytes) -> Self:
        """Return the nonce made of random *octets*, of which one bit is given up."""
        return cls(octets[:-1] + bytes([octets[-1] | _NOT_A_DIGIT]))

"""
Reading the front for the staff's eyes (目視): a use case of its own, on the card that is authenticated next.

The front lives for the length of a request. It is never logged, stored or put into evidence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric import rsa

from appliance.authentication import Card, converse
from appliance.card import surface
from appliance.card.front import Front
from appliance.card.nonce import Nonce
from appliance.card.profile import Profile
from appliance.card.verification_number import VerificationNumber
from appliance.trust import front


@dataclass(frozen=True, slots=True)
class FrontReader:
    """Reads fronts that lead to *root_key*, the public key of the surface root."""

    profile: Profile
    root_key: rsa.RSAPublicKey
    random: Callable[[int], bytes]

    async def read(self, card: Card, number: VerificationNumber, *, last_try: bool = False) -> Front:
        """
        Return the front of *card*, genuine and its own; or raise a CardError or FrontNotGenuine.

        A single try of *number* that is left is not used unless *last_try* allows it.
        """
        nonce = Nonce.from_random(self.random(self.profile.proof.nonce_length))
        dialogue = surface.read_front(self.profile, number, nonce, last_try=last_try)
        reading = await converse(dialogue, card, _no_signature)
        return front.verify(reading, nonce, self.root_key)


async def _no_signature(_challenge: bytes) -> NoReturn:
    raise TypeError("reading the front needs no institution key")

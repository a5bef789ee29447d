"""The institution's certificate chains, as an authentication offers them to cards."""

from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.card.cvc import Chain


class Chains:
    """
    The institution's certificate chains in order of preference: one, or in a rotation the new one first.

    A chain that no card has taken yet may be refused, and the next one is offered to the same card. From the first
    card on that takes it, it is proven, and a refusal is a refusal.
    """

    __slots__ = ("_all", "_keys", "_proven")

    def __init__(self, *chains: Chain) -> None:
        if not chains:
            raise ValueError("an institution has at least one chain")
        self._all = chains
        self._keys = tuple(map(fingerprint, chains))
        self._proven: set[int] = set()

    @property
    def preferred(self) -> Chain:
        """The chain that is offered first."""
        return self._all[0]

    def key(self, chain: Chain) -> str:
        """Return the fingerprint of the key of *chain*."""
        return self._keys[self._all.index(chain)]

    def after(self, refused: Chain) -> Chain | None:
        """Return what is offered to a card that has *refused* a chain; None where it is a refusal."""
        place = self._all.index(refused)
        is_last = place + 1 == len(self._all)
        return None if is_last or place in self._proven else self._all[place + 1]

    def taken(self, chain: Chain) -> None:
        """Remember that a genuine card has taken *chain*."""
        self._proven.add(self._all.index(chain))


def fingerprint(chain: Chain) -> str:
    """Return how a `Signer` is told the key of *chain*."""
    spki = chain.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(spki).hexdigest()

"""
特定機関認証 as the card does it: takes the institution's certificates, gives a challenge, checks the answer.

This is the card's half of rulings 1 to 7. What a ruling orders is done in its order, and what ends with a
refusal leaves exactly what the ruling says.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from appliance.card.algorithm import PublicKey, verified
from appliance.card.cvc import Body, Certificate, KeyReference, Shape
from appliance.errors import CvcChainInvalid, CvcMalformed
from appliance.simulator.status import Status, refuse, require

CHALLENGE_LENGTH: Final = 16
"""UNVERIFIED: the reference profile's choice."""

_CHAIN_LENGTH: Final = 2


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """The public key behind EF 0016 and the reference by which certificates name it as their issuer."""

    reference: KeyReference
    public_key: PublicKey = field(repr=False)

    @property
    def shape(self) -> Shape:
        """The one shape of certificates that the card takes: that of its anchor's key."""
        return Body(self.reference, self.reference, self.public_key).shape


@dataclass(slots=True)
class InstitutionAuthentication:
    """
    The state of one institution's authentication, in one application, since it was selected.

    *code* is the institution code of the key that authenticated (機関コード), or None.
    """

    chain: tuple[Body, ...] = ()
    pending: Body | None = None
    challenge: bytes | None = field(default=None, repr=False)
    code: bytes | None = None

    def new_challenge(self, length: int, random: Callable[[int], bytes]) -> bytes:
        """Return a challenge of *length* bytes in place of any earlier one (ruling 7)."""
        self.challenge = random(length)
        return self.challenge

    def load_first_block(self, block: bytes, shape: Shape) -> None:
        """Keep the body in *block* until its signature comes. The caller has ended the authentication."""
        require(
            len(block) == shape.block_1_length and block.startswith(shape.block_1_start), Status.WRONG_LENGTH
        )
        try:
            self.pending = Body.from_bytes(block[len(shape.block_1_start) :])
        except CvcMalformed:
            refuse(Status.WRONG_LENGTH)  # block 1 is judged by its shape alone (ruling 4)

    def load_last_block(self, block: bytes, anchor: TrustAnchor) -> None:
        """Check the pending body with the signature in *block*, and trust its key from now on (rulings 3, 4)."""
        body, self.pending, shape = self.pending, None, anchor.shape
        require(
            len(block) == shape.block_2_length and block.startswith(shape.block_2_start), Status.WRONG_LENGTH
        )
        if body is None:
            refuse(Status.CONDITIONS_NOT_SATISFIED)
        chain, issuer_key = self._place(body, anchor)
        try:
            Certificate(body, block[len(shape.block_2_start) :]).verify(issuer_key)
        except CvcChainInvalid:
            refuse(Status.WRONG_DATA)
        self.chain = chain

    def _place(self, body: Body, anchor: TrustAnchor) -> tuple[tuple[Body, ...], PublicKey]:
        """Return the chain that *body* would make, and the key it must be signed with; its issuer alone decides."""
        if self.chain and body.issuer == self.chain[-1].holder:
            require(
                len(self.chain) < _CHAIN_LENGTH, Status.KEY_NOT_FOUND
            )  # a leaf certifies nobody (ruling 2)
            return (*self.chain, body), self.chain[-1].public_key
        require(body.issuer == anchor.reference, Status.KEY_NOT_FOUND)
        return (body,), anchor.public_key

    def authenticate(self, signature: bytes) -> None:
        """Check *signature* over the challenge, which serves once, and fix the institution code (rulings 1, 7)."""
        self.code = None
        challenge, self.challenge = self.challenge, None
        if challenge is None or len(challenge) != CHALLENGE_LENGTH or len(self.chain) != _CHAIN_LENGTH:
            refuse(Status.CONDITIONS_NOT_SATISFIED)
        leaf = self.chain[-1]
        require(
            verified(leaf.shape.algorithm, leaf.public_key, signature, challenge),
            Status.AUTHENTICATION_FAILED,
        )
        self.code = leaf.holder.code.encode("ascii")

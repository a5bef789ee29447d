"""
The institution's side of the test hierarchy: a root, one intermediate, and a leaf for each institution's key.

There is one such side for the cards of today, with RSA keys, and one for those of the next generation, on P-384.
The root's public half is what every software card keeps behind EF 0016. References have the shape of the
real card's and begin with 0, so that they cannot be mistaken for it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from appliance.card.algorithm import PublicKey
from appliance.card.cvc import Body, Certificate, KeyReference
from appliance.simulator.key_files import (
    PrivateKey,
    new_curve_key,
    new_key,
    private_pem,
    public_pem,
    read_either_private,
    write_private,
)
from appliance.simulator.keys import sign_message

ROOT: Final = KeyReference.of("0200073")
INTERMEDIATE: Final = KeyReference.of("0299774")

_ROOT_KEY, _ROOT = "root-key.pem", "root.pem"
_INTERMEDIATE_KEY, _INTERMEDIATE = "intermediate-key.pem", "intermediate.cvc"


@dataclass(frozen=True, slots=True)
class InstitutionAuthority:
    """Who certifies institutions for software cards."""

    root_key: PrivateKey = field(repr=False)
    intermediate_key: PrivateKey = field(repr=False)
    intermediate: Certificate

    @classmethod
    def create(cls) -> Self:
        """Return an authority with new RSA keys."""
        return cls._of(new_key(), new_key())

    @classmethod
    def create_next(cls) -> Self:
        """Return an authority with new keys on P-384 (hypothetical, ruling 28)."""
        return cls._of(new_curve_key(), new_curve_key())

    @classmethod
    def _of(cls, root_key: PrivateKey, intermediate_key: PrivateKey) -> Self:
        return cls(
            root_key, intermediate_key, certify(ROOT, root_key, INTERMEDIATE, intermediate_key.public_key())
        )

    def leaf(self, public_key: PublicKey, code: str) -> Certificate:
        """Return the certificate of the institution with the seven-digit *code* and *public_key* of the same kind."""
        return certify(INTERMEDIATE, self.intermediate_key, KeyReference.of(code), public_key)

    def save(self, folder: Path) -> None:
        """Write keys and certificate into *folder*, which is made if need be."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / _ROOT_KEY, private_pem(self.root_key))
        (folder / _ROOT).write_bytes(public_pem(self.root_key.public_key()))
        write_private(folder / _INTERMEDIATE_KEY, private_pem(self.intermediate_key))
        (folder / _INTERMEDIATE).write_bytes(self.intermediate.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the authority that was saved into *folder*."""
        return cls(
            read_either_private(folder / _ROOT_KEY),
            read_either_private(folder / _INTERMEDIATE_KEY),
            Certificate.from_bytes((folder / _INTERMEDIATE).read_bytes()),
        )


def certify(
    issuer: KeyReference, issuer_key: PrivateKey, holder: KeyReference, holder_key: PublicKey
) -> Certificate:
    """Return the certificate by which *issuer*, with *issuer_key*, says that *holder* has *holder_key*."""
    body = Body(issuer, holder, holder_key)
    return Certificate(body, sign_message(issuer_key, body.to_bytes()))

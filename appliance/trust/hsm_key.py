"""
JWTs of the token key: result tokens and signed scenarios. The HSM signs, and checks for itself what it signs.

PyJWT writes them, and wants a key that signs at once. So it writes each twice: the first time the key only notes what is
to be signed, the second time it has the HSM's signature. That takes no thread, which would cost more than all the rest.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm

from appliance.trust.jwk import ALGORITHM, thumbprint

_ENCODER: Final = msgspec.json.Encoder()
_PLACEHOLDER: Final = bytes.fromhex("3006020101020101")
"""A signature of the right form, DER, in the place of the one to come."""


@dataclass(slots=True)
class _Noting:
    """A key that notes the *signing_input* and has its *signature* already."""

    curve: ec.EllipticCurve
    signature: bytes
    signing_input: bytes = b""

    def sign(self, signing_input: bytes, _algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Return the signature that is there."""
        self.signing_input = signing_input
        return self.signature


class _Es256(ECAlgorithm):
    """ES256, with a key of the kind above."""

    def prepare_key(self, key: Any) -> Any:  # noqa: ANN401  # as the library has it
        """Return *key* as it is."""
        return key


_JWS: Final = PyJWS(algorithms=[])
_JWS.register_algorithm(ALGORITHM, _Es256(ECAlgorithm.SHA256))


@dataclass(frozen=True, slots=True)
class Writer:
    """
    Writes JWTs of the type *kind*, signed with the key whose public half is *public_key*.

    *sign* has a signing input signed and returns the DER signature; what it raises comes through.
    """

    kind: str
    public_key: ec.EllipticCurvePublicKey
    sign: Callable[[bytes], Awaitable[bytes]]
    _headers: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_headers", {"typ": self.kind, "kid": thumbprint(self.public_key)})

    async def write(self, claims: Mapping[str, Any] | msgspec.Struct) -> str:
        """Return the JWT that states *claims*."""
        payload = _ENCODER.encode(claims)
        unsigned = _Noting(self.public_key.curve, _PLACEHOLDER)
        self._encode(payload, unsigned)
        signature = await self.sign(unsigned.signing_input)
        return self._encode(payload, _Noting(self.public_key.curve, signature))

    def _encode(self, payload: bytes, key: _Noting) -> str:
        return _JWS.encode(payload, key, algorithm=ALGORITHM, headers=dict(self._headers))  # type: ignore[arg-type]  # what ECAlgorithm uses of a key is there

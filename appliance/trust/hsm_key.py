"""
JWTs of the token key: result tokens and signed scenarios. The HSM signs, and checks for itself what it signs.

Written here and not by PyJWT, which would wait for the HSM in a thread of its own: eight times the processor time of
all the rest of a token. RFC 7515 §7.1 is three parts and two dots; who reads tokens does so with PyJWT, our tests too.
"""

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from appliance.trust.jwk import ALGORITHM, thumbprint

_ENCODER: Final = msgspec.json.Encoder()
_NUMBER_BYTES: Final = 32
"""Of `r` and of `s` (RFC 7518 §3.4)."""


@dataclass(frozen=True, slots=True)
class Writer:
    """
    Writes JWTs of the type *kind*, signed with the key whose public half is *public_key*.

    *sign* has a signing input signed and returns the DER signature; what it raises comes through.
    """

    kind: str
    public_key: ec.EllipticCurvePublicKey
    sign: Callable[[bytes], Awaitable[bytes]]
    _header: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        header = {"typ": self.kind, "alg": ALGORITHM, "kid": thumbprint(self.public_key)}
        object.__setattr__(self, "_header", _base64url(_ENCODER.encode(header)))

    async def write(self, claims: Mapping[str, Any] | msgspec.Struct) -> str:
        """Return the JWT that states *claims*."""
        signing_input = self._header + b"." + _base64url(_ENCODER.encode(claims))
        r, s = decode_dss_signature(await self.sign(signing_input))
        signature = r.to_bytes(_NUMBER_BYTES) + s.to_bytes(_NUMBER_BYTES)
        return (signing_input + b"." + _base64url(signature)).decode()


def _base64url(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")

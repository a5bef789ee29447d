"""
The public keys that result tokens verify with, as a JWKS (RFC 7517): the one that signs now, and earlier ones.

In a rotation the earlier key stays in the list until the last token that it signed has ended. The configuration says when
that is, and after it the key is gone from the list without anybody's doing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.config import Configuration
from appliance.errors import ConfigInvalid
from appliance.trust.jwk import jwk

MOST_CACHE_SECONDS: Final = 300
"""How long others may keep the list. A token that names a key they do not have is a reason to ask again."""


@dataclass(frozen=True, slots=True)
class EarlierKey:
    """A key that signs no more, and *until* when its tokens last."""

    key: ec.EllipticCurvePublicKey
    until: datetime


@dataclass(frozen=True, slots=True)
class PublishedKeys:
    """The key of today, and *earlier* ones."""

    current: ec.EllipticCurvePublicKey
    earlier: Sequence[EarlierKey] = ()

    @classmethod
    def of(cls, configuration: Configuration, current: ec.EllipticCurvePublicKey) -> "PublishedKeys":
        """Return *current* with the earlier keys of *configuration*; raise ConfigInvalid where one is no P-256 key."""
        settings = configuration.settings.result.earlier_token_keys
        return cls(current, tuple(EarlierKey(_key(configuration, one.file), one.until) for one in settings))

    def jwks(self, now: datetime) -> dict[str, list[dict[str, str]]]:
        """Return the key set at *now*, the current key first."""
        listed = [jwk(self.current)]
        for one in self.earlier:
            published = jwk(one.key)
            if now < one.until and published not in listed:
                listed.append(published)
        return {"keys": listed}

    def encoded(self, now: datetime) -> bytes:
        """Return the key set at *now* as JSON."""
        return msgspec.json.encode(self.jwks(now))

    def cache_seconds(self, now: datetime) -> int:
        """Return for how long the key set of *now* stays as it is, at most MOST_CACHE_SECONDS."""
        ends = [(one.until - now).total_seconds() for one in self.earlier if now < one.until]
        return int(min([MOST_CACHE_SECONDS, *ends]))


def _key(configuration: Configuration, named: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(configuration.read(named))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid(f"{configuration.path(named)} holds no PEM public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigInvalid(f"{configuration.path(named)} is not a P-256 key")
    return key

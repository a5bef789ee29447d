"""
Wiring: settings in, one appliance out, with its adapters joined to the use case.

What is wrong with the configuration shows here, before a card is touched; what is wrong with the HSM shows when
its workers start.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from appliance.authentication import Authenticator
from appliance.card import cvc, profile
from appliance.card.profile import Profile
from appliance.config import Configuration
from appliance.errors import ConfigInvalid
from appliance.gateway.token import ResultTokens
from appliance.hsm.messages import TokenSetup
from appliance.hsm.pool import Pool
from appliance.terminals.pcsc import PcscCard, card_on
from appliance.terminals.steps import EnterPin, Observe, ignore, no_pin_entry
from appliance.trust.certificates import Anchors
from appliance.trust.pseudonym import PseudonymKey


@dataclass(frozen=True, slots=True)
class Appliance:
    """One appliance, its workers running. Made by `running`."""

    configuration: Configuration
    authenticator: Authenticator
    tokens: ResultTokens
    pool: Pool

    def card(
        self, enter_pin: EnterPin = no_pin_entry, observe: Observe = ignore
    ) -> AbstractAsyncContextManager[PcscCard]:
        """Give the card on the local reader (`terminals.pcsc.card_on`)."""
        reader = self.configuration.settings.reader
        return card_on(
            reader.name,
            wait=reader.card_seconds,
            seconds=reader.exchange_seconds,
            enter_pin=enter_pin,
            observe=observe,
        )


@asynccontextmanager
async def running(configuration: Configuration) -> AsyncIterator[Appliance]:
    """Give the appliance that *configuration* describes; raise ConfigurationError, InstitutionError, HsmError."""
    settings = configuration.settings
    card_profile = load_profile(configuration)
    chain = load_chain(configuration)
    token_key = _public_key(configuration, settings.hsm.token_key)
    if not isinstance(token_key, ec.EllipticCurvePublicKey) or not isinstance(token_key.curve, ec.SECP256R1):
        raise ConfigInvalid("hsm.token_key is not a P-256 key")
    anchors = Anchors.from_pem(configuration.read(name) for name in settings.trust.authorities)
    pseudonym_key = PseudonymKey(configuration.read_secret(settings.result.pseudonym_key_file))
    setup = TokenSetup(
        module=settings.hsm.module,
        token=settings.hsm.token,
        pin_file=str(configuration.path(settings.hsm.pin_file)),
        institution_key=_spki(chain.public_key),
        token_key=_spki(token_key),
        challenge_bytes=card_profile.institution.challenge_length,
        challenges_per_minute=settings.hsm.challenges_per_minute,
        issuer=settings.result.issuer,
        token_lifetime_seconds=settings.result.lifetime_seconds,
    )
    async with Pool(
        setup,
        environment=configuration.hsm_environment,
        workers=settings.hsm.workers,
        start_seconds=settings.hsm.start_seconds,
        sign_seconds=settings.hsm.sign_seconds,
    ) as pool:
        tokens = ResultTokens(
            issuer=settings.result.issuer,
            audience=settings.result.audience,
            lifetime=timedelta(seconds=settings.result.lifetime_seconds),
            public_key=token_key,
            pseudonym_key=pseudonym_key,
            sign=pool.sign_token,
            new_id=uuid4,
        )
        authenticator = Authenticator(
            card_profile, chain, anchors, pool, tokens, lambda: datetime.now(UTC), secrets.token_bytes
        )
        yield Appliance(configuration, authenticator, tokens, pool)


def load_profile(configuration: Configuration) -> Profile:
    """Return the card profile that *configuration* names: a packaged one, or a file beside it."""
    named = configuration.settings.institution.profile
    if named in profile.shipped_names():
        return profile.shipped(named)
    return Profile.from_toml(configuration.read(named))


def load_chain(configuration: Configuration) -> cvc.Chain:
    """Return the institution's certificates, checked as far as the configuration allows (ruling 9)."""
    institution = configuration.settings.institution
    return cvc.check_chain(
        cvc.Certificate.from_bytes(configuration.read(institution.intermediate)),
        cvc.Certificate.from_bytes(configuration.read(institution.leaf)),
        None if institution.root_key is None else _root_key(configuration, institution.root_key),
    )


def _root_key(configuration: Configuration, named: str) -> rsa.RSAPublicKey:
    key = _public_key(configuration, named)
    if not isinstance(key, rsa.RSAPublicKey):
        raise ConfigInvalid("institution.root_key is not an RSA key")
    return key


def _public_key(configuration: Configuration, named: str) -> object:
    try:
        return load_pem_public_key(configuration.read(named))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid(f"{configuration.path(named)} holds no PEM public key") from error


def _spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

"""
Wiring: settings in, one appliance out, with its adapters joined to the use case.

What is wrong with the configuration shows here, before a card is touched; what is wrong with the HSM shows when
its workers start.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from appliance.authentication import Authenticator, Chains
from appliance.card import cvc, profile
from appliance.card.algorithm import PublicKey
from appliance.card.profile import Profile
from appliance.config import Configuration
from appliance.errors import ConfigInvalid
from appliance.front_reading import FrontReader
from appliance.gateway.token import ResultTokens
from appliance.hsm.messages import TokenSetup
from appliance.hsm.place import Hsm
from appliance.hsm.pool import Pool
from appliance.hsm.vendor import Vendor, load_vendor
from appliance.ledger import place as ledger_place
from appliance.ledger.authentications import AuthenticationLedger
from appliance.ledger.keeper import Keeper
from appliance.ledger.log import Log
from appliance.ledger.note import PublicKey as LedgerKey
from appliance.revocation.knowledge import knowledge
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
    ledger: Keeper

    @property
    def front_reader(self) -> FrontReader:
        """What reads fronts; raise ConfigInvalid where the configuration names no root for them."""
        named = self.configuration.settings.trust.front_root
        if named is None:
            raise ConfigInvalid("trust.front_root is not set, so no front can be read")
        root_key = _rsa_key(self.configuration, named)
        return FrontReader(self.authenticator.profile, root_key, self.authenticator.random)

    def card(
        self, enter_pin: EnterPin = no_pin_entry, observe: Observe = ignore
    ) -> AbstractAsyncContextManager[PcscCard]:
        """Give the card on the first local reader (`terminals.pcsc.card_on`); raise ConfigInvalid if there is none."""
        if not self.configuration.settings.reader:
            raise ConfigInvalid("no [[reader]] is configured")
        reader = self.configuration.settings.reader[0]
        return card_on(
            reader.name,
            wait=reader.card_seconds,
            seconds=reader.exchange_seconds,
            enter_pin=enter_pin,
            observe=observe,
        )


@asynccontextmanager
async def running(configuration: Configuration) -> AsyncIterator[Appliance]:
    """
    Give the appliance that *configuration* describes.

    Raises ConfigurationError, InstitutionError, HsmError, LedgerError.
    """
    settings = configuration.settings
    card_profile = load_profile(configuration)
    chains = load_chains(configuration)
    token_key = load_token_key(configuration)
    anchors = Anchors.from_pem(configuration.read(name) for name in settings.trust.authorities)
    pseudonym_key = PseudonymKey(configuration.read_secret(settings.result.pseudonym_key_file))
    async with (
        Pool(
            hsms(configuration),
            state=configuration.path(settings.hsm.state),
            start_seconds=settings.hsm.start_seconds,
            sign_seconds=settings.hsm.sign_seconds,
            queue_limit=settings.hsm.queue_limit,
            canary_seconds=settings.hsm.canary_seconds,
        ) as pool,
        knowledge(configuration, anchors) as revocation,
        remembering(configuration, pool) as ledger,
    ):
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
            card_profile,
            Chains(*chains),
            anchors,
            pool,
            tokens,
            lambda: datetime.now(UTC),
            secrets.token_bytes,
            revocation,
            AuthenticationLedger(ledger.recorder, pseudonym_key, lambda: datetime.now(UTC)),
        )
        yield Appliance(configuration, authenticator, tokens, pool, ledger)


@asynccontextmanager
async def remembering(configuration: Configuration, pool: Pool) -> AsyncIterator[Keeper]:
    """Give the ledger, checked against its checkpoints, whose last one is signed at the end."""
    log = Log(ledger_place.store(configuration), seconds=configuration.settings.ledger.append_seconds)
    keeper = ledger_place.keeper(configuration, log, pool, time.monotonic)
    async with log:
        await keeper.start()
        keeping = asyncio.create_task(keeper.run())
        try:
            yield keeper
        finally:
            keeping.cancel()
            await asyncio.wait((keeping,))
            await keeper.turn()
        if not keeping.cancelled():
            # It ended by itself: a bug, which must not pass unheard.
            keeping.result()


def hsms(configuration: Configuration) -> tuple[Hsm, ...]:
    """Return the HSMs of *configuration* in order of preference, each with all keys pinned."""
    settings = configuration.settings
    card_profile = load_profile(configuration)
    chains = load_chains(configuration)
    token_key = load_token_key(configuration)
    ledger_key = ledger_place.verifier_key(configuration).key
    found = tuple(
        Hsm(
            alias=one.alias,
            setup=TokenSetup(
                vendor=vendor,
                module=one.module or vendor.module,
                token=one.token,
                pin_file=str(configuration.path(one.pin_file)),
                institution_keys=tuple(_spki(chain.public_key) for chain in chains),
                token_key=_spki(token_key) if vendor.signing.ec else None,
                challenge_bytes=card_profile.institution.challenge_length,
                challenges_per_minute=settings.hsm.challenges_per_minute,
                issuer=settings.result.issuer,
                token_lifetime_seconds=settings.result.lifetime_seconds,
                ledger_key=_ledger_key(vendor, ledger_key),
                ledger_origin=settings.ledger.origin,
            ),
            environment=configuration.environment(one),
            workers=one.workers,
        )
        for one in settings.hsm.all
        for vendor in (load_vendor(one.vendor, configuration.folder),)
    )
    if all(hsm.setup.token_key is None for hsm in found):
        raise ConfigInvalid(
            "no HSM can hold the key that signs result tokens: none of the modules has EC keys"
        )
    if all(hsm.setup.ledger_key is None for hsm in found):
        raise ConfigInvalid(
            "no HSM can hold the key that ledger.key names: none of the modules has such keys"
        )
    return found


def _ledger_key(vendor: Vendor, key: LedgerKey) -> bytes | None:
    """Return *key* where the module can have it: it makes ledger keys of one kind."""
    is_ed25519 = isinstance(key, ed25519.Ed25519PublicKey)
    if not vendor.signing.ec or is_ed25519 != (vendor.signing.ledger == "ed25519"):
        return None
    return _spki(key)


def load_profile(configuration: Configuration) -> Profile:
    """Return the card profile that *configuration* names: a packaged one, or a file beside it."""
    named = configuration.settings.institution.profile
    if named in profile.shipped_names():
        return profile.shipped(named)
    return Profile.from_toml(configuration.read(named))


def load_chains(configuration: Configuration) -> tuple[cvc.Chain, ...]:
    """
    Return the institution's chains in order of preference, checked as far as the configuration allows (ruling 9).

    A rotation changes keys and not who the institution is.
    """
    institution = configuration.settings.institution
    shape = load_profile(configuration).institution.certificate
    root_key = None if institution.root_key is None else _card_key(configuration, institution.root_key)
    chains = tuple(
        cvc.check_chain(
            cvc.Certificate.from_bytes(configuration.read(chain.intermediate)),
            cvc.Certificate.from_bytes(configuration.read(chain.leaf)),
            root_key,
        )
        for chain in institution.chains
    )
    for chain in chains:
        if chain.leaf.body.shape is not shape:
            raise ConfigInvalid(
                f"the institution's certificates are {chain.leaf.body.shape}, the profile wants {shape}"
            )
    if len({chain.institution_code for chain in chains}) > 1:
        raise ConfigInvalid("institution.next is a chain of another institution")
    if len({_spki(chain.public_key) for chain in chains}) < len(chains):
        raise ConfigInvalid("institution.next certifies the key that is in use already")
    return chains


def load_token_key(configuration: Configuration) -> ec.EllipticCurvePublicKey:
    """Return the public key that result tokens are verified with."""
    key = _public_key(configuration, configuration.settings.hsm.token_key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigInvalid("hsm.token_key is not a P-256 key")
    return key


def _card_key(configuration: Configuration, named: str) -> PublicKey:
    key = _public_key(configuration, named)
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ConfigInvalid(f"{configuration.path(named)} holds a key that no card uses")
    return key


def _rsa_key(configuration: Configuration, named: str) -> rsa.RSAPublicKey:
    key = _public_key(configuration, named)
    if not isinstance(key, rsa.RSAPublicKey):
        raise ConfigInvalid(f"{configuration.path(named)} holds another key than an RSA one")
    return key


def _public_key(configuration: Configuration, named: str) -> object:
    try:
        return load_pem_public_key(configuration.read(named))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigInvalid(f"{configuration.path(named)} holds no PEM public key") from error


def _spki(key: rsa.RSAPublicKey | LedgerKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

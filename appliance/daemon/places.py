"""The HSMs that a configuration names, each with all keys pinned that it can have."""

from cryptography.hazmat.primitives.asymmetric import ed25519

from appliance.config import Configuration
from appliance.daemon.keys import load_chains, load_profile, load_token_key, spki
from appliance.errors import ConfigInvalid
from appliance.hsm.messages import TokenSetup
from appliance.hsm.place import Hsm
from appliance.hsm.vendor import Vendor, load_vendor
from appliance.ledger import place as ledger_place
from appliance.ledger.note import PublicKey as LedgerKey


def hsms(configuration: Configuration) -> tuple[Hsm, ...]:
    """Return the HSMs of *configuration* in order of preference, each with all keys pinned."""
    settings = configuration.settings
    card_profile = load_profile(configuration)
    chains = load_chains(configuration)
    token_key = load_token_key(configuration)
    ledger_key = ledger_place.verifier_key(configuration).key
    # What one key signs in two roles could be taken for the other.
    if spki(ledger_key) == spki(token_key):
        raise ConfigInvalid("ledger.key is the key of hsm.token_key: each signs with one of its own")
    for chain in chains:
        for name, key in (("hsm.token_key", token_key), ("ledger.key", ledger_key)):
            if spki(chain.public_key) == spki(key):
                raise ConfigInvalid(f"{name} is the institution's key: each signs with one of its own")
    found = tuple(
        Hsm(
            alias=one.alias,
            setup=TokenSetup(
                vendor=vendor,
                module=one.module or vendor.module,
                token=one.token,
                pin_file=str(configuration.path(one.pin_file)),
                institution_keys=tuple(spki(chain.public_key) for chain in chains),
                token_key=spki(token_key) if vendor.signing.ec else None,
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
    return spki(key)

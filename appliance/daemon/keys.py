"""The certificates and public keys that a configuration names, checked as far as that goes without the HSM."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from appliance.card import cvc, profile
from appliance.card.algorithm import PublicKey
from appliance.card.profile import Profile
from appliance.config import Configuration
from appliance.errors import ConfigInvalid
from appliance.ledger.note import PublicKey as LedgerKey


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
    if len({spki(chain.public_key) for chain in chains}) < len(chains):
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


def load_front_root(configuration: Configuration) -> rsa.RSAPublicKey | None:
    """Return the root that the keys under cards' fronts lead to; None where none is configured."""
    named = configuration.settings.trust.front_root
    return None if named is None else _rsa_key(configuration, named)


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


def spki(key: PublicKey | LedgerKey) -> bytes:
    """Return *key* as DER SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

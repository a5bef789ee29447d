"""What is wrong with the institution's certificates."""

from appliance.errors.base import ApplianceError


class InstitutionError(ApplianceError):
    """The institution's certificate chain cannot be used."""


class CvcMalformed(InstitutionError):
    """A card-verifiable certificate has not the one shape the card takes."""

    code = "cvc_malformed"


class CvcChainInvalid(InstitutionError):
    """Card-verifiable certificates are well-formed but do not certify one another."""

    code = "cvc_chain_invalid"


class InstitutionKeyMismatch(InstitutionError):
    """The HSM holds no key for the institution certificate."""

    code = "institution_key_mismatch"

"""The institution's certificates."""

from appliance.config.section import Section


class ChainSettings(Section, frozen=True, kw_only=True):
    """One certificate chain of the institution."""

    intermediate: str
    leaf: str


class InstitutionSettings(ChainSettings, frozen=True, kw_only=True):
    """The institution's certificates, and the profile of the cards that take them."""

    profile: str = "jpki-reference"
    """Name of a packaged profile, or path of a profile file."""
    root_key: str | None = None
    """PEM public key of the institution root, where it is known; the real one is not public."""
    next: ChainSettings | None = None
    """The chain that takes over in a rotation, while the keys of both are in the HSM."""

    @property
    def chains(self) -> tuple[ChainSettings, ...]:
        """The chains in order of preference."""
        return (self,) if self.next is None else (self.next, self)

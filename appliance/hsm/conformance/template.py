"""
Which of our attributes a module takes: the whole template first, and where that is refused, one attribute after
another, put back into an almost empty template.
"""

from dataclasses import dataclass

from msgspec.structs import replace
from pkcs11.exceptions import PKCS11Error
from pkcs11.types import PrivateKey, Session
from pkcs11.types import PublicKey as PublicObject

from appliance.hsm.messages import Role
from appliance.hsm.pkcs11.keys import NewKey, generate_pair, template_names
from appliance.hsm.pkcs11.token import return_value
from appliance.hsm.vendor import AttributeName, Vendor


class TemplateRefused(Exception):
    """No template makes such a key; the text is the module's first answer."""


@dataclass(frozen=True, slots=True)
class Made:
    """A pair, and the profile it could be made by."""

    vendor: Vendor
    public: PublicObject
    private: PrivateKey

    def drop(self) -> None:
        """Destroy the pair."""
        self.private.destroy()
        self.public.destroy()


class Search:
    """Attempts at making *new* through *session*."""

    def __init__(self, session: Session, vendor: Vendor, new: NewKey) -> None:
        self._session = session
        self._vendor = vendor
        self._new = new
        self._answers: list[str] = []

    def made(self) -> Made:
        """Return a pair made with as much of the template as the module takes, or raise TemplateRefused."""
        learned = frozenset(self._vendor.attributes.omitted)
        made = self._attempt(learned, allowed=True) or self._attempt(learned, allowed=False)
        return made or self._filled_up()

    def _filled_up(self) -> Made:
        omitted = frozenset(template_names())
        made = self._attempt(omitted, allowed=False)
        for name in template_names():
            if made is None:
                break
            made.drop()
            if made := self._attempt(omitted - {name}, allowed=False):
                omitted -= {name}
            else:
                made = self._attempt(omitted, allowed=False)
        if made is None:
            raise TemplateRefused(self._answers[0])
        # It may have been another attribute alone that stood in the way of this one.
        made.drop()
        limited = self._attempt(omitted, allowed=True) or self._attempt(omitted, allowed=False)
        if limited is None:
            raise TemplateRefused(self._answers[-1])
        return limited

    def _attempt(self, omitted: frozenset[AttributeName], *, allowed: bool) -> Made | None:
        attributes = replace(
            self._vendor.attributes,
            omitted=omitted,
            allowed_mechanisms="enforced" if allowed else "unknown",
        )
        vendor = replace(self._vendor, attributes=attributes)
        by_name = replace(vendor, signing=replace(vendor.signing, ed25519_params="name"))
        for variant in (vendor, by_name) if self._new.role is Role.LEDGER else (vendor,):
            try:
                return Made(variant, *generate_pair(self._session, variant, self._new))
            except PKCS11Error as error:
                self._answers.append(return_value(error))
        return None

"""Knowledge from CRLs: the list of the certificate's municipality in the index, by the issuer's own key."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.errors import (
    CertificateRevoked,
    RevocationDataInvalid,
    RevocationDefect,
    RevocationStale,
    RevocationUnavailable,
)
from appliance.revocation.index import Index, Listing
from appliance.trust.certificates import HolderCertificate
from appliance.trust.revocation import (
    CLOCK_SKEW,
    Assurance,
    Lists,
    Method,
    Revocation,
    Scope,
    Standing,
    distribution_point,
)


@dataclass(frozen=True, slots=True)
class ListSource:
    """Answers from *index* as long as a list is within its own time, and no older than *longest_age*."""

    index: Index
    longest_age: timedelta

    method = Method.CRL

    async def check(self, holder: HolderCertificate, now: datetime) -> Standing:
        """Return that *holder* is good, or raise CertificateRevoked, RevocationStale, RevocationUnavailable."""
        scope = Scope.of(holder.issuer, distribution_point(holder.certificate))
        edition = self.index.edition
        listing = edition.listings.get(scope)
        if listing is None:
            raise RevocationUnavailable("the list of the card's municipality has not been imported")
        if now + CLOCK_SKEW < listing.this_update:
            raise RevocationDataInvalid(
                RevocationDefect.FUTURE, f"the list is of {_minute(listing.this_update)}"
            )
        end = self.counts_until(listing)
        if end < now:
            raise RevocationStale(f"the list of the card's municipality counted until {_minute(end)}")
        if edition.contains(scope, holder.certificate.serial_number):
            raise CertificateRevoked(f"listed as revoked, as of {_minute(listing.this_update)}")
        return Standing(
            Revocation.GOOD,
            Assurance.CACHED,
            Method.CRL,
            now,
            listing.this_update,
            listing.next_update,
            Lists(listing.number, listing.digests),
        )

    def counts_until(self, listing: Listing) -> datetime:
        """Return when *listing* ends or is too old, whichever comes first: holders are refused from then on."""
        return min(listing.next_update, listing.this_update + self.longest_age)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"

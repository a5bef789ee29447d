"""
CRLs beyond the usual: deltas, many entries, any extension; and the OCSP answers of the test hierarchy.

What `HolderAuthority.crl` makes is a municipality's complete list. Here is what a test or a measurement needs besides.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.simulator.certificate_parts import authority_key, whole
from appliance.simulator.holder_pki import CA_NAME, Generation, HolderAuthority, crl_name
from appliance.simulator.people import MUNICIPALITIES, Municipality

_DAY: Final = timedelta(days=1)


class ListOptions(TypedDict, total=False):
    """
    What a list may have besides.

    With *base* it is a delta on top of the complete list of that number, which also takes the *removed* away. *life* is
    how long it counts. *extensions* are put in, each with whether it is critical.
    """

    base: int
    removed: Iterable[int]
    life: timedelta
    extensions: Iterable[tuple[x509.ExtensionType, bool]]


def complete(
    holders: HolderAuthority, revoked: Iterable[int], *, now: datetime, number: int, life: timedelta = _DAY
) -> Iterator[tuple[str, x509.CertificateRevocationList]]:
    """
    Yield all lists that *holders* has to issue, each with the name of its file: of every municipality by every generation.

    An older generation issues no certificates any more; lists it does, as long as certificates of its own are in use.
    """
    newest = len(holders.generations)
    for place, generation in enumerate(holders.generations, start=1):
        for municipality in MUNICIPALITIES:
            name = municipality.code if place == newest else f"{municipality.code}-{place}"
            yield f"{name}.crl", issue(generation, municipality, revoked, now=now, number=number, life=life)


def issue(
    generation: Generation,
    municipality: Municipality,
    revoked: Iterable[int] = (),
    *,
    now: datetime,
    number: int,
    **options: Unpack[ListOptions],
) -> x509.CertificateRevocationList:
    """Return list *number* of *municipality* with the *revoked* serial numbers, signed by *generation*."""
    start = whole(now)
    point = x509.IssuingDistributionPoint(
        full_name=[x509.DirectoryName(crl_name(municipality))],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    added: list[tuple[x509.ExtensionType, bool]] = [
        (authority_key(generation.key), False),
        (x509.CRLNumber(number), False),
        (point, True),
        *options.get("extensions", ()),
    ]
    if "base" in options:
        added.append((x509.DeltaCRLIndicator(options["base"]), True))
    entry = x509.RevokedCertificateBuilder().revocation_date(start - _DAY)
    removal = entry.add_extension(x509.CRLReason(x509.ReasonFlags.remove_from_crl), critical=False)
    # The builder's own methods copy all entries for each one that is added: its constructor takes them at once.
    return x509.CertificateRevocationListBuilder(
        CA_NAME,
        start,
        start + options.get("life", _DAY),
        [x509.Extension(kind.oid, critical, kind) for kind, critical in added],
        [
            *(entry.serial_number(serial).build() for serial in revoked),
            *(removal.serial_number(serial).build() for serial in options.get("removed", ())),
        ],
    ).sign(generation.key, SHA256())

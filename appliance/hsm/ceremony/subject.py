"""The distinguished name in a request: which parts it may have, and what may stand in each (X.520, RFC 5280)."""

import re
from collections.abc import Iterable
from typing import Final, Literal

from cryptography import x509
from cryptography.x509.oid import NameOID

SubjectPart = Literal["C", "ST", "L", "O", "OU", "CN", "serialNumber"]

_OIDS: Final[dict[SubjectPart, x509.ObjectIdentifier]] = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
}
_MOST_BYTES_OF_NAME: Final = 64
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")
_PRINTABLE: Final = re.compile(r"[A-Za-z0-9 '()+,./:=?-]*")
"""PrintableString (X.680), which a serialNumber is."""


def distinguished_name(subject: Iterable[tuple[SubjectPart, str]]) -> x509.Name:
    """Return the name that *subject* says, in its order; raise ValueError naming the part that cannot be written."""
    return x509.Name([_written(part, value) for part, value in subject])


def _written(part: SubjectPart, value: str) -> x509.NameAttribute[str]:
    # Counted in bytes, as `cryptography` does; a character of Japanese has three.
    if part == "CN" and (length := len(value.encode())) > _MOST_BYTES_OF_NAME:
        raise ValueError(
            f"the CN in a subject has {length} bytes of UTF-8, and may have {_MOST_BYTES_OF_NAME}: 21 kanji, or 64 letters"
        )
    if part == "C" and not _COUNTRY.fullmatch(value):
        raise ValueError("the country in a subject is two letters")
    if part == "serialNumber" and not _PRINTABLE.fullmatch(value):
        raise ValueError(
            "the serialNumber in a subject has letters A-Z, digits, blanks and '()+,-./:=? alone"
        )
    return x509.NameAttribute(_OIDS[part], value)

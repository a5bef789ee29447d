"""Which CRLs count: each check has a list with just that defect."""

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import RevocationDataInvalid, RevocationDefect
from appliance.simulator.crl import issue
from appliance.simulator.holder_pki import CrlOptions
from appliance.simulator.people import AOBA, MIDORI
from appliance.simulator.pki import Hierarchy
from appliance.trust import crl
from appliance.trust.certificates import Anchors
from appliance.trust.revocation import Scope, distribution_point


@pytest.fixture(scope="session")
def anchors(hierarchy: Hierarchy) -> Anchors:
    """Return both generations of the CA."""
    return Anchors(hierarchy.ca_certificates)


def der(found: x509.CertificateRevocationList) -> bytes:
    """Return the DER of a list."""
    return found.public_bytes(Encoding.DER)


def refusal(content: bytes, anchors: Anchors, now: datetime) -> RevocationDefect:
    """Return why a list does not count."""
    with pytest.raises(RevocationDataInvalid) as caught:
        crl.verify(content, anchors, now)
    assert caught.value.code == "revocation_data_invalid"
    return caught.value.reason


@pytest.mark.parametrize("generation", [1, 2])
def test_a_list_belongs_to_the_generation_that_signed_it(
    generation: int, hierarchy: Hierarchy, anchors: Anchors, now: datetime
) -> None:
    """Generations share a name; a list counts for the one whose key signed it, and its entries are read."""
    found = crl.verify(der(hierarchy.crl(AOBA, [7, 5], now=now, generation=generation)), anchors, now)
    certificate = hierarchy.ca_certificates[generation - 1]
    assert found.heading.scope.issuer == Scope.of(certificate, certificate.subject).issuer
    assert sorted(found.serials()) == [5, 7]
    assert found.heading.base is None


def test_a_list_is_found_by_the_certificates_distribution_point(
    hierarchy: Hierarchy, anchors: Anchors, now: datetime
) -> None:
    """The list of a holder's municipality has the holder's scope, another municipality's has not."""
    issuer = hierarchy.ca_certificates[1]
    certificate = x509.load_der_x509_certificate(hierarchy.issue_card(now=now).certificate)
    wanted = Scope.of(issuer, distribution_point(certificate))
    own, other = (crl.verify(der(hierarchy.crl(at, now=now)), anchors, now) for at in (AOBA, MIDORI))
    assert own.heading.scope == wanted != other.heading.scope


DEFECTS: list[tuple[CrlOptions, RevocationDefect]] = [
    ({"foreign": True}, RevocationDefect.SIGNATURE),
    ({"names": None}, RevocationDefect.SCOPE),
    ({"indirect": True}, RevocationDefect.SCOPE),
    ({"split_by_reason": True}, RevocationDefect.SCOPE),
    ({"life": timedelta(seconds=1)}, RevocationDefect.STALE),
]


@pytest.mark.parametrize(("defect", "reason"), DEFECTS, ids=str)
def test_each_defect_has_its_reason(
    defect: CrlOptions, reason: RevocationDefect, hierarchy: Hierarchy, anchors: Anchors, now: datetime
) -> None:
    """A list with just this defect is refused for just this reason."""
    late = now + timedelta(minutes=1)
    assert refusal(der(hierarchy.crl(AOBA, now=now, **defect)), anchors, late) is reason


def test_a_list_of_the_future_does_not_count_yet(
    hierarchy: Hierarchy, anchors: Anchors, now: datetime
) -> None:
    """A list from more than the clocks' tolerance ahead is refused; within it, it counts."""
    ahead = der(hierarchy.crl(AOBA, now=now + timedelta(minutes=6)))
    assert refusal(ahead, anchors, now) is RevocationDefect.FUTURE
    assert list(crl.verify(ahead, anchors, now + timedelta(minutes=2)).serials()) == []


def test_a_list_of_a_ca_that_is_not_configured_does_not_count(hierarchy: Hierarchy, now: datetime) -> None:
    """With the other generation alone, the name fits and the signature does not; past its end, a CA has no lists."""
    content = der(hierarchy.crl(AOBA, now=now))
    assert refusal(content, Anchors(hierarchy.ca_certificates[:1]), now) is RevocationDefect.SIGNATURE
    ended = hierarchy.ca_certificates[1].not_valid_after_utc + timedelta(days=1)
    assert refusal(content, Anchors(hierarchy.ca_certificates), ended) is RevocationDefect.ISSUER


def test_an_algorithm_off_the_list_does_not_count(
    hierarchy: Hierarchy, anchors: Anchors, now: datetime
) -> None:
    """RSA with SHA-512 may be sound, and is not on the list."""
    plain = hierarchy.crl(AOBA, now=now)
    builder = x509.CertificateRevocationListBuilder(
        plain.issuer, plain.last_update_utc, plain.next_update_utc, list(plain.extensions), []
    )
    signed = builder.sign(hierarchy.holders.generations[-1].key, SHA512())
    assert refusal(der(signed), anchors, now) is RevocationDefect.ALGORITHM


@pytest.mark.parametrize("critical", [True, False])
def test_only_a_critical_extension_has_to_be_understood(
    critical: bool,  # noqa: FBT001  # a parameter of the test
    hierarchy: Hierarchy,
    anchors: Anchors,
    now: datetime,
) -> None:
    """An extension that nobody knows is ignored, unless the issuer says that it must not be."""
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    generation = hierarchy.holders.generations[-1]
    content = der(issue(generation, AOBA, now=now, number=3, extensions=[(unknown, critical)]))
    if critical:
        assert refusal(content, anchors, now) is RevocationDefect.EXTENSION
    else:
        assert crl.verify(content, anchors, now).heading.number == 3


def test_a_delta_says_what_it_starts_from(hierarchy: Hierarchy, anchors: Anchors, now: datetime) -> None:
    """A delta adds and takes away, on top of an earlier list; on top of a later one it contradicts itself."""
    generation = hierarchy.holders.generations[-1]
    content = der(issue(generation, AOBA, [9], now=now, number=12, base=10, removed=[4]))
    found = crl.verify(content, anchors, now)
    assert found.heading.base == 10
    assert found.changes() == ({9}, {4})
    wrong = der(issue(generation, AOBA, now=now, number=12, base=12))
    assert refusal(wrong, anchors, now) is RevocationDefect.EXTENSION


@given(st.binary(max_size=300))
def test_any_bytes_are_a_list_or_refused(anchors: Anchors, now: datetime, content: bytes) -> None:
    """Any bytes are refused as malformed, and nothing else is raised."""
    assert refusal(content, anchors, now) is RevocationDefect.MALFORMED


@pytest.fixture(scope="session")
def sound(hierarchy: Hierarchy, now: datetime) -> bytes:
    """Return a list without defects."""
    return der(hierarchy.crl(AOBA, [5, 70_000], now=now))


@given(st.integers(0, 4_095), st.integers(1, 255))
def test_a_changed_byte_never_counts(
    sound: bytes, anchors: Anchors, now: datetime, position: int, change: int
) -> None:
    """A list with any one byte changed is refused."""
    changed = bytearray(sound)
    changed[position % len(changed)] ^= change
    refusal(bytes(changed), anchors, now)


@pytest.mark.parametrize("change", [0x01, 0x80])
def test_every_byte_of_a_list_counts(sound: bytes, anchors: Anchors, now: datetime, change: int) -> None:
    """Also what no signature covers, the algorithm outside, cannot be changed."""
    for position in range(len(sound)):
        changed = bytearray(sound)
        changed[position] ^= change
        refusal(bytes(changed), anchors, now)


@given(st.integers(1, 2_000))
def test_a_truncated_list_never_counts(sound: bytes, anchors: Anchors, now: datetime, cut: int) -> None:
    """A list that lost its end, or has something behind it, is refused."""
    assert refusal(sound[: -(cut % len(sound)) or -1], anchors, now) is RevocationDefect.MALFORMED
    assert refusal(sound + bytes(cut), anchors, now) is RevocationDefect.MALFORMED


def test_openssl_agrees_about_signatures(
    hierarchy: Hierarchy, anchors: Anchors, now: datetime, tmp_path: Path
) -> None:
    """What OpenSSL says of a list's signature is what we say: of a genuine one and of a foreign one."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes(hierarchy.ca_certificates[1].public_bytes(Encoding.PEM))
    for foreign in (False, True):
        content = der(hierarchy.crl(AOBA, [5], now=now, foreign=foreign))
        (tmp_path / "list.crl").write_bytes(content)
        said = subprocess.run(
            ("openssl", "crl", "-inform", "DER", "-in", tmp_path / "list.crl", "-CAfile", ca, "-noout"),
            capture_output=True,
            text=True,
            check=False,
        ).stderr
        assert ("verify OK" in said) is not foreign
        if foreign:
            assert refusal(content, anchors, now) is RevocationDefect.SIGNATURE
        else:
            assert list(crl.verify(content, anchors, now).serials()) == [5]

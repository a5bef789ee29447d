"""What client certificates lead to, after a CA was taken away."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigInvalid
from appliance.gateway.authorities import Authorities
from tests.gateway.house import Ca


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    """Return a CA."""
    return Ca(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    """Return another CA, of the same name."""
    return Ca(tmp_path_factory.mktemp("second"))


def der(certificate: Path) -> bytes:
    """Return what is in the PEM file *certificate*."""
    return x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)


def test_a_ca_vouches_for_what_it_has_issued(first: Ca, second: Ca) -> None:
    """By its key, not by its name alone: another CA of that name has issued nothing of it."""
    shown = der(first.issue("ward-1.test")[0])
    assert Authorities([first.certificate]).vouch_for(shown)
    assert Authorities([second.certificate, first.certificate]).vouch_for(shown)
    assert not Authorities([second.certificate]).vouch_for(shown)
    assert not Authorities(()).vouch_for(shown)


def test_a_pinned_certificate_vouches_for_itself(first: Ca) -> None:
    """It counts without its CA, and for no other."""
    path, _key = first.issue("pinned.test")
    pinned = Authorities.from_pem(path.read_bytes())
    assert pinned.vouch_for(der(path))
    assert not pinned.vouch_for(der(first.issue("other.test")[0]))


def test_it_is_told_whether_somebody_was_taken_away(first: Ca, second: Ca) -> None:
    """Who comes in addition takes nothing from anybody."""
    one, both = Authorities([first.certificate]), Authorities([first.certificate, second.certificate])
    assert one.lack(both)
    assert not both.lack(one)
    assert not one.lack(one)
    assert both.der == first.certificate.public_bytes(Encoding.DER) + second.certificate.public_bytes(
        Encoding.DER
    )


@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    """As a file they are a mistake in the configuration, as a certificate nobody's."""
    with pytest.raises(ConfigInvalid, match=r"gateway\.tls\.clients"):
        Authorities.from_pem(content)
    assert not Authorities(()).vouch_for(content)

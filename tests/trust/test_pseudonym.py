"""The name under which a holder is known outside."""

from datetime import datetime

import pytest
from cryptography import x509

from appliance.errors import ConfigInvalid
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import HolderCertificate, parse
from appliance.trust.pseudonym import PseudonymKey


@pytest.fixture(scope="session")
def holder(hierarchy: Hierarchy, now: datetime) -> HolderCertificate:
    """Return a holder's certificate with its issuer."""
    return HolderCertificate(parse(hierarchy.issue_card(now=now).certificate), hierarchy.ca_certificates[1])


def test_a_holder_keeps_the_name_within_one_audience(holder: HolderCertificate) -> None:
    """The same holder is recognised by the same audience, and not by another, nor under another key."""
    key, other = PseudonymKey(bytes(32)), PseudonymKey(bytes(31) + b"\x01")
    assert key.pseudonym(holder, "a") == key.pseudonym(holder, "a")
    assert len({key.pseudonym(holder, "a"), key.pseudonym(holder, "b"), other.pseudonym(holder, "a")}) == 3


def test_generations_of_the_ca_do_not_mix(holder: HolderCertificate, hierarchy: Hierarchy) -> None:
    """Two generations have one name and count serials apart: one serial of each is two holders."""
    older = HolderCertificate(holder.certificate, hierarchy.ca_certificates[0])
    key = PseudonymKey(bytes(32))
    assert key.pseudonym(holder, "a") != key.pseudonym(older, "a")


def test_the_name_tells_nothing_of_the_certificate(holder: HolderCertificate) -> None:
    """Neither serial nor common name is in the pseudonym."""
    name = PseudonymKey(bytes(32)).pseudonym(holder, "a")
    common_name = holder.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    assert f"{holder.certificate.serial_number:x}" not in name
    assert str(common_name).lower() not in name


def test_the_key_is_long_and_never_shown() -> None:
    """A key of another length is refused, and no repr shows one."""
    with pytest.raises(ConfigInvalid):
        PseudonymKey(bytes(16))
    assert "7777" not in repr(PseudonymKey(b"\x77" * 32))
    assert "wwww" not in repr(PseudonymKey(b"\x77" * 32))

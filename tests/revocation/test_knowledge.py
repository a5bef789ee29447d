"""What a configuration makes of its section on revocation."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from appliance.config import Configuration, load
from appliance.errors import ConfigInvalid, RevocationUnavailable
from appliance.hsm.shipped import shipped
from appliance.revocation.knowledge import knowledge
from appliance.simulator.openssl_responder import OpensslResponder, Status
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors, HolderCertificate
from appliance.trust.revocation import Method, Revocation
from tests.revocation.conftest import Site

BY_LIST = 'sources = ["crl"]'


def configured(folder: Path, sources: str, **ocsp: str) -> Configuration:
    """Return the annotated example with other *sources*, and a responder as *ocsp* says."""
    text = shipped("appliance.toml").read_text().replace(BY_LIST, f"sources = {sources}")
    section = "\n".join(f'{name} = "{value}"' for name, value in ocsp.items())
    file = folder / "appliance.toml"
    file.write_text(f"{text}\n[revocation.ocsp]\n{section}\n" if ocsp else text)
    return load(file)


async def test_lists_are_there_from_the_first_question_on(
    site: Site, holder: HolderCertificate, tmp_path: Path
) -> None:
    """Without an index the lists are imported before anybody is asked; what comes later is seen without a restart."""
    folder = tmp_path / "revocation" / "lists"
    folder.parent.mkdir()
    site.folder.rename(folder)
    moved = Site(site.hierarchy, site.anchors, folder, tmp_path / "revocation" / "state", site.now)
    moved.deliver("aoba.crl")
    async with knowledge(configured(tmp_path, '["crl"]'), site.anchors) as sources:
        assert (await sources.check(holder, site.now)).method is Method.CRL
    async with knowledge(configured(tmp_path, '["crl"]'), site.anchors) as sources:
        assert (await sources.check(holder, site.now)).result is Revocation.GOOD


async def test_sources_are_asked_in_the_configured_order(
    hierarchy: Hierarchy, anchors: Anchors, holder: HolderCertificate, tmp_path: Path
) -> None:
    """With both, the responder answers although there is no list; with lists alone, nobody does."""
    now = datetime.now(UTC)
    (tmp_path / "revocation" / "lists").mkdir(parents=True)
    with OpensslResponder(
        hierarchy.holders, tmp_path / "ocsp", {holder.certificate: Status.GOOD}
    ) as responder:
        both = configured(tmp_path, '["crl", "ocsp"]', url=responder.url)
        async with knowledge(both, anchors) as sources:
            assert (await sources.check(holder, now)).method is Method.OCSP
    async with knowledge(configured(tmp_path, '["crl"]'), anchors) as sources:
        with pytest.raises(RevocationUnavailable):
            await sources.check(holder, now)


async def test_nobody_is_asked_only_where_that_is_configured(
    anchors: Anchors, holder: HolderCertificate, now: datetime, tmp_path: Path
) -> None:
    """An empty list of sources makes every standing unchecked."""
    async with knowledge(configured(tmp_path, "[]"), anchors) as sources:
        assert (await sources.check(holder, now)).result is Revocation.UNCHECKED


async def test_tls_files_show_at_the_start(anchors: Anchors, hierarchy: Hierarchy, tmp_path: Path) -> None:
    """A certificate without its key is refused with the configuration; one that cannot be used, at the start."""
    with pytest.raises(ConfigInvalid, match="go together"):
        configured(tmp_path, '["ocsp"]', url="https://127.0.0.1/", client_certificate="a.pem")
    (tmp_path / "a.pem").write_bytes(hierarchy.ca_certificates[0].public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_text("no key")
    (tmp_path / "key.pem").chmod(0o600)
    names = {"url": "https://127.0.0.1/", "client_certificate": "a.pem", "client_key_file": "key.pem"}
    with pytest.raises(ConfigInvalid, match=r"revocation\.ocsp"):
        async with knowledge(configured(tmp_path, '["ocsp"]', **names), anchors):
            pass
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(ConfigInvalid, match="chmod"):
        async with knowledge(configured(tmp_path, '["ocsp"]', **names), anchors):
            pass


async def test_a_key_with_a_passphrase_is_refused(
    anchors: Anchors, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    """OpenSSL would ask for it at a terminal, and the daemon would wait for somebody there."""
    (tmp_path / "a.pem").write_bytes(hierarchy.ca_certificates[0].public_bytes(Encoding.PEM))
    key = rsa.generate_private_key(65_537, 2_048)
    closed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame"))
    (tmp_path / "key.pem").write_bytes(closed)
    (tmp_path / "key.pem").chmod(0o600)
    names = {"url": "https://127.0.0.1/", "client_certificate": "a.pem", "client_key_file": "key.pem"}
    with pytest.raises(ConfigInvalid, match=r"revocation\.ocsp.*a key with a passphrase"):
        async with knowledge(configured(tmp_path, '["ocsp"]', **names), anchors):
            pass

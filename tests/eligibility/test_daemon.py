"""The whole way: a card, the daemon, its HSM, and a FHIR service that verifies the token with the daemon's published keys."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config import load
from appliance.daemon.check import examine
from appliance.eligibility import fhir_documents
from appliance.simulator.pcscd import PrivatePcscd
from tests.daemon.process import ORDER, Site, session, started
from tests.eligibility.fhir_service import NAME, FhirService, answer, certify, server_tls, serving
from tests.eligibility.test_fhir import said

SECTION = """
[eligibility]
url = "{url}"
authorities = "eligibility/ca.pem"
client_certificate = "eligibility/client.pem"
client_key_file = "eligibility/client-key.pem"
"""


@pytest.fixture
def site() -> Iterator[Site]:
    """A site with the files for an eligibility service."""
    with tempfile.TemporaryDirectory(prefix="site-") as folder, PrivatePcscd(["Virtual PCD"]) as pcscd:
        made = Site.made(Path(folder) / "site", pcscd)
        certify(made.folder / "eligibility", made.authority)
        yield made


async def test_the_answer_is_at_the_desk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Card placed, authenticated, asked, answered; then the service lies, and the authentication stays what it is."""
    service = FhirService()
    async with serving(service, server_tls(site.folder / "eligibility")):
        site.add(SECTION.format(url=service.url))
        assert {found.key: found.error for found in examine(load(site.file))}["eligibility"] is None
        with tempfile.TemporaryDirectory(prefix="daemon-") as folder, started(site, Path(folder)) as daemon:
            async with session(site) as client:
                async with client.get("/.well-known/jwks.json") as keys:
                    service.jwks = json.loads(await keys.read())
                results = []
                for lie in (False, True):
                    if lie:
                        service.answering = said(lambda _: answer(service.asked[0]))
                    with site.card():
                        async with client.post(
                            "/v1/authentications?wait=20", json={**ORDER, "eligibility": True}
                        ) as response:
                            results.append(await response.json())
            log = daemon.log.read_text()
    genuine, lied = results
    assert genuine["state"] == "authenticated", genuine
    assert genuine["eligibility"]["summary"] == "valid", genuine
    assert NAME in genuine["eligibility"]["document"]["content"]
    assert service.asked[0]["patient"]["identifier"]["value"] == genuine["claims"]["sub"]
    assert (lied["state"], lied["eligibility"]["problem"]["code"]) == (
        "authenticated",
        "eligibility_answer_foreign",
    )
    assert "eligibility_answer_foreign" in log
    for secret in (NAME, genuine["token"], lied["token"], genuine["claims"]["sub"], "E-4711"):
        assert secret not in log
    # Without the extra, looking at the configuration says what is missing.
    monkeypatch.setattr(fhir_documents, "find_spec", lambda _: None)
    found = {one.key: one.error for one in examine(load(site.file))}["eligibility"]
    assert found is not None
    assert found.code == "eligibility_part_missing"

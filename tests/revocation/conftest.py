"""A folder of lists, an index, and holders to look up."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias, Unpack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.revocation import importing
from appliance.revocation.importing import INDEX, Outcome, Report
from appliance.revocation.index import Index
from appliance.simulator.crl import ListOptions, issue
from appliance.simulator.people import AOBA, Municipality
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors, HolderCertificate


@dataclass(frozen=True, slots=True)
class Site:
    """A *folder* that lists are delivered into, and the *state* folder with the index."""

    hierarchy: Hierarchy
    anchors: Anchors
    folder: Path
    state: Path
    now: datetime

    def deliver(
        self,
        name: str,
        revoked: tuple[int, ...] = (),
        *,
        number: int = 10,
        municipality: Municipality = AOBA,
        now: datetime | None = None,
        **options: Unpack[ListOptions],
    ) -> bytes:
        """Put list *number* into the folder as *name*, and return its bytes."""
        generation = self.hierarchy.holders.generations[-1]
        crl = issue(generation, municipality, revoked, now=now or self.now, number=number, **options)
        return self.put(name, crl.public_bytes(Encoding.DER))

    def put(self, name: str, content: bytes) -> bytes:
        """Put *content* into the folder as *name*."""
        (self.folder / name).write_bytes(content)
        return content

    def run(self, now: datetime | None = None) -> Report:
        """Import what is in the folder."""
        return importing.run(self.folder, self.state, self.anchors, now or self.now)

    def outcomes(self, now: datetime | None = None) -> dict[str, str]:
        """Import, and return what became of each file: its outcome, or the reason of a refusal."""
        return {
            report.name: str(report.reason if report.outcome is Outcome.REFUSED else report.outcome)
            for report in self.run(now).files
        }

    @property
    def index(self) -> Index:
        """The index as a daemon opens it."""
        return Index(self.state / INDEX)


@pytest.fixture(scope="session")
def anchors(hierarchy: Hierarchy) -> Anchors:
    """Return both generations of the CA."""
    return Anchors(hierarchy.ca_certificates)


@pytest.fixture
def site(hierarchy: Hierarchy, anchors: Anchors, tmp_path: Path, now: datetime) -> Site:
    """Return a site without any list."""
    folder = tmp_path / "lists"
    folder.mkdir()
    return Site(hierarchy, anchors, folder, tmp_path / "state", now)


@pytest.fixture(scope="session")
def holder_key() -> rsa.RSAPrivateKey:
    """Return the one key that all holders of these tests have."""
    return rsa.generate_private_key(65_537, 2_048)


MakeHolder: TypeAlias = Callable[..., HolderCertificate]


@pytest.fixture(scope="session")
def make_holder(hierarchy: Hierarchy, holder_key: rsa.RSAPrivateKey, now: datetime) -> MakeHolder:
    """Return what makes a believed holder in a municipality."""

    def make(municipality: Municipality = AOBA, generation: int = 2) -> HolderCertificate:
        certificate: x509.Certificate = hierarchy.holders.certificate(
            holder_key.public_key(), now=now, municipality=municipality, generation=generation
        )
        return HolderCertificate(certificate, hierarchy.ca_certificates[generation - 1])

    return make


@pytest.fixture(scope="session")
def holder(make_holder: MakeHolder) -> HolderCertificate:
    """Return a holder in Aoba."""
    return make_holder()

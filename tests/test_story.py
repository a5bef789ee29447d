"""
What this appliance is for, told once from beginning to end.

A patient stands at a desk, elderly, perhaps without a PIN, perhaps unconscious. The card goes on the reader, somebody
or something checks that it is theirs, institution and card prove themselves to each other, and the insurer's answer
appears. Everything is real but the card, its reader and the insurer: pcscd, SoftHSM, the daemon, a terminal, TLS.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_der_x509_certificate

from appliance.cli.demonstration.stage import INSTITUTION_CODE, PIN
from appliance.client import (
    Client,
    EmergencyCheck,
    FaceCheck,
    Front,
    Network,
    Printed,
    Refused,
    Result,
    VisualCheck,
)
from appliance.simulator.network_pki import NetworkAuthority
from appliance.trust.certificates import Anchors
from appliance.trust.decision import STEPS, Trust, decide
from appliance.trust.evidence import Evidence
from tests.browser.clinic import OPERATOR, RECEPTION, SECOND_OPERATOR, WARD_DESK, Clinic
from tests.browser.ward import ward
from tests.cli.conftest import run
from tests.eligibility.fhir_service import NAME, FhirService, certify, server_tls, serving

AUDIENCE: Final = "reception.example.jp"
ELIGIBILITY: Final = """
[eligibility]
url = "{url}"
authorities = "{folder}/ca.pem"
client_certificate = "{folder}/client.pem"
client_key_file = "{folder}/client-key.pem"
"""


@dataclass(slots=True)
class Day:
    """A day at the *clinic*: its reception as a *client*, an *insurer* that can be asked, and what clerks were *shown*."""

    clinic: Clinic
    client: Client
    insurer: FhirService
    shown: list[Front] = field(default_factory=list)

    async def same_person(self, front: Front) -> bool:
        """Look at the front of the card and at the patient."""
        self.shown.append(front)
        return True

    def operator(self, who: str, *words: str) -> str:
        """Have the operator *who* say something about emergency windows; return what is answered."""
        certificate, key = self.clinic.certificate(who)
        there = ("--url", self.clinic.url, "--authorities", str(self.clinic.authority))
        finished = run(
            *("emergency", *there, "--certificate", str(certificate), "--key", str(key), *words),
            **self.clinic.site.environment(),
        )
        return finished.stdout + finished.stderr


@asynccontextmanager
async def a_day() -> AsyncIterator[Day]:
    """Give one, with everything in place and no card anywhere. Its path is short, because sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="story-") as name:
        folder, insurer = Path(name), FhirService(audience=AUDIENCE)
        certify(folder / "insurer", NetworkAuthority.create(datetime.now(UTC)))
        async with serving(insurer, server_tls(folder / "insurer")):
            more = ELIGIBILITY.format(url=insurer.url, folder=folder / "insurer")
            changes = [("emergency_hours = 0.0", "emergency_hours = 8.0")]
            with Clinic.open(folder, *changes, more=more) as clinic:
                insurer.jwks = clinic.asked("GET", "/.well-known/jwks.json")
                address = Network(clinic.url, clinic.authority, *clinic.certificate(RECEPTION))
                async with Client(address, audience=AUDIENCE) as client:
                    yield Day(clinic, client, insurer)


async def test_a_patient_at_a_desk() -> None:
    """Face, eyes, PIN, or nobody: the card proves its holder to this institution alone, and the insurer has answered."""
    async with a_day() as day:
        # The card is placed on the reader.
        with day.clinic.card():
            # A device at the desk has compared the face.
            face = await day.client.authenticate(
                "desk-1", "pinless", FaceCheck("kiosk-1"), evidence=True, eligibility=True
            )
            assert face.claims.identity_check == {"method": "face", "device": "kiosk-1"}
            require_told(day, face)

            # Or the staff compare it: what is printed on the card opens its front, on the same power-up as the proof.
            printed = day.clinic.printed
            eyes = VisualCheck(
                "operator-1",
                Printed(printed.birth, printed.expiry_year, printed.security_code),
                day.same_person,
            )
            visual = await day.client.authenticate("desk-1", "pinless", eyes, evidence=True, eligibility=True)
            assert [(front.birth, front.photo[:4]) for front in day.shown] == [(printed.birth, b"\x89PNG")]
            assert visual.claims.identity_check == {"method": "visual", "operator": "operator-1"}
            require_told(day, visual)

        # Or the holder knows the PIN, and enters it at the terminal, where it stays.
        with ward(day.clinic) as terminal, day.clinic.card(desk=WARD_DESK):
            pin, _ = await asyncio.gather(
                day.client.authenticate(WARD_DESK, "pin", evidence=True, eligibility=True),
                asyncio.to_thread(terminal.enter, PIN),
            )
            assert pin.claims.identity_check["method"] == "pin"
            require_told(day, pin)

        # It was one person each time, by a name that tells nothing.
        assert len({result.claims.sub for result in (face, visual, pin)}) == 1

        # Or the patient is unconscious. As long as nobody has decided what then, the card alone proves nobody.
        with day.clinic.card():
            with pytest.raises(Refused, match="emergency_closed"):
                await day.client.authenticate("desk-1", "pinless", EmergencyCheck())
            # Two operators decide it, for this desk and an hour; one alone cannot.
            asked = ("propose", "--reason", "unconscious", "--hours", "1", "--desk", "desk-1")
            proposed = await asyncio.to_thread(day.operator, OPERATOR, *asked)
            window = proposed.split()[0]
            refusal = await asyncio.to_thread(day.operator, OPERATOR, "confirm", window)
            assert "[emergency_same_operator]" in refusal
            assert "OPEN" in await asyncio.to_thread(day.operator, SECOND_OPERATOR, "confirm", window)
            unchecked = await day.client.authenticate(
                "desk-1", "pinless", EmergencyCheck(), evidence=True, eligibility=True
            )
            assert unchecked.claims.is_unchecked
            assert unchecked.claims.identity_check["window"] == window
            assert day.insurer.asked[-1]["priority"]["coding"][0]["code"] == "stat"
            require_told(day, unchecked)
            assert "closed" in await asyncio.to_thread(day.operator, SECOND_OPERATOR, "close", window)
            with pytest.raises(Refused, match="emergency_closed"):
                await day.client.authenticate("desk-1", "pinless", EmergencyCheck())

        # Everybody who may look finds all of it in the ledger, and nothing of the patient.
        await asyncio.to_thread(require_remembered, day)


def require_told(day: Day, result: Result) -> None:
    """Check what a result tells: the proof is this institution's, it can be decided again, and the insurer has answered."""
    assert result.evidence is not None
    assert result.claims.institution_code == INSTITUTION_CODE
    folder = day.clinic.site.folder
    anchors = Anchors.from_pem(
        (folder / "authorities" / f"ca-{number}.pem").read_bytes() for number in (1, 2)
    )
    root = load_pem_public_key((folder / "institution" / "root.pem").read_bytes())
    assert isinstance(root, rsa.RSAPublicKey)
    found = {step.name: step.finding for step in decide(result.evidence, Trust(anchors, root))}
    assert tuple(found) == STEPS
    assert f"institution {INSTITUTION_CODE}, up to the root given" in found["institution-chain"]
    require_bound(Evidence.from_bytes(result.evidence))
    assert result.eligibility is not None
    assert (result.eligibility["state"], result.eligibility["summary"]) == ("answered", "valid")
    assert NAME in result.eligibility["document"]["content"]
    question = day.insurer.asked[-1]
    assert question["patient"]["identifier"]["value"] == result.claims.sub
    assert question["provider"]["identifier"]["value"] == INSTITUTION_CODE


def require_bound(evidence: Evidence) -> None:
    """
    Check by hand what the card has signed: our nonce and the 機関コード, and no other institution's.

    With the PIN it is the nonce alone, and no institution's key was used.
    """
    holder = load_der_x509_certificate(evidence.holder.certificate).public_key()
    assert isinstance(holder, rsa.RSAPublicKey)
    has_pin = evidence.mode == "pin"
    assert (evidence.institution.signature is None) is has_pin
    told = {
        "nobody's": evidence.nonce,
        "ours": evidence.nonce + INSTITUTION_CODE.encode(),
        "another's": evidence.nonce + b"9912346",
    }
    signed = [
        whose for whose, message in told.items() if is_signed(holder, evidence.holder.signature, message)
    ]
    assert signed == (["nobody's"] if has_pin else ["ours"])


def is_signed(key: rsa.RSAPublicKey, signature: bytes, message: bytes) -> bool:
    """Return whether *key* has signed *message*, as OpenSSL sees it."""
    try:
        key.verify(signature, message, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def require_remembered(day: Day) -> None:
    """Check that the ledger has it all, in its order, verifies, and knows no one."""
    site = day.clinic.site
    verified = run("ledger", "--config", str(site.file), "verify", "--contents", **site.environment())
    assert verified.returncode == 0, verified.stderr
    assert "0 unfinished" in verified.stdout
    assert "emergency windows opened: 1; authentications with nobody's check in them: 1" in verified.stdout
    exported = run("ledger", "--config", str(site.file), "export", **site.environment()).stdout
    entries = [json.loads(line) for line in exported.splitlines()]
    story = [entry.get("check") or entry.get("outcome") or entry["kind"] for entry in entries]
    assert story == [
        *("face", "authenticated", "visual", "authenticated", "pin", "authenticated"),
        *("window_proposed", "window_confirmed", "none_emergency", "authenticated", "window_closed"),
    ]
    told = exported + day.clinic.daemon.log.read_text()
    for secret in (NAME, f"{day.clinic.printed.birth:%Y-%m-%d}", f"{day.clinic.printed.birth:%Y%m%d}"):
        assert secret not in told

"""Evidence: built at the end of an authentication, decided again with nothing but the CA files."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as library
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.card.cvc import check_chain
from appliance.card.jpki import HolderProof, InstitutionProof, Mode
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.cli.verify import verify
from appliance.errors import EvidenceInvalid
from appliance.simulator.card_data import CardData
from appliance.simulator.crl import issue
from appliance.simulator.people import AOBA, MIDORI
from appliance.simulator.pki import Hierarchy
from appliance.trust import openssl, proof
from appliance.trust.certificates import Anchors, HolderCertificate, parse
from appliance.trust.decision import STEPS, Trust, decide
from appliance.trust.evidence import Evidence, Facts, build
from appliance.trust.proof import Expectation
from appliance.trust.revocation import (
    UNCHECKED,
    Assurance,
    Lists,
    Method,
    OcspAnswer,
    Revocation,
    Standing,
)

CODE = "9912345"
NONCE = Nonce(bytes(range(31)) + b"\x80")
PROFILE = shipped("jpki-reference")
CHALLENGE = b"\x42" * 16


@pytest.fixture(scope="session")
def institution_key() -> rsa.RSAPrivateKey:
    """Return the institution's key."""
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture(scope="session")
def card(hierarchy: Hierarchy, now: datetime) -> CardData:
    """Return a made-up person's card."""
    return hierarchy.issue_card(now=now)


@pytest.fixture(scope="session")
def trust(hierarchy: Hierarchy) -> Trust:
    """Return what a verifier believes who knows the institutions' root, too."""
    return Trust(Anchors(hierarchy.ca_certificates), hierarchy.root_key)


@pytest.fixture(scope="session")
def facts(
    hierarchy: Hierarchy, institution_key: rsa.RSAPrivateKey, card: CardData, trust: Trust, now: datetime
) -> Callable[[Mode], Facts]:
    """Return what is known at the end of an authentication in a mode."""

    def make(mode: Mode) -> Facts:
        leaf = hierarchy.issue_institution(institution_key.public_key(), CODE)
        chain = check_chain(hierarchy.institution.intermediate, leaf, hierarchy.root_key)
        expected = Expectation(mode, NONCE, CODE, PROFILE.proof.algorithm)
        assert isinstance(card.private_key, rsa.RSAPrivateKey)
        signature = card.private_key.sign(expected.message(mode), padding.PKCS1v15(), SHA256())
        signed = institution_key.sign(CHALLENGE, padding.PKCS1v15(), SHA256())
        institution = InstitutionProof(CHALLENGE, signed) if mode is Mode.PINLESS else None
        answer = HolderProof(NONCE, signature, card.certificate, institution)
        holder = proof.verify(answer, expected, trust.anchors, now)
        check = ("pin", "desk-1") if mode is Mode.PIN else ("visual", "operator-3")
        standing = replace(UNCHECKED, checked_at=now)
        return Facts(PROFILE, chain, answer, holder, standing, check, "desk-1", now, ("log.example.jp", 7))

    return make


def steps(document: bytes, trust: Trust, at: datetime | None = None) -> dict[str, str]:
    """Return what each step found."""
    return {step.name: step.finding for step in decide(document, trust, at)}


def failed(document: bytes, trust: Trust, at: datetime | None = None) -> str:
    """Return the step at which *document* fails."""
    with pytest.raises(EvidenceInvalid) as caught:
        steps(document, trust, at)
    assert caught.value.step in STEPS
    assert caught.value.step in str(caught.value)
    return caught.value.step


def changed(document: bytes, **changes: object) -> bytes:
    """Return *document* with members replaced and a digest that fits, as a forger would make it."""
    content = json.loads(document)
    for path, value in changes.items():
        part, _, name = path.partition("__")
        if name:
            content[part][name] = value
        else:
            content[part] = value
    evidence = msgspec.convert(content, Evidence)
    return msgspec.structs.replace(evidence, digest=evidence.sealed).to_bytes()


@pytest.mark.parametrize("mode", Mode)
def test_a_decision_is_repeated(mode: Mode, facts: Callable[[Mode], Facts], trust: Trust) -> None:
    """Evidence in either mode passes every step, in order, and each says what it found."""
    document = build(facts(mode))
    found = steps(document, trust)
    assert tuple(found) == STEPS
    assert sha256(document).hexdigest() in found["form"]
    assert CODE in found["institution-chain"]
    assert "log.example.jp" in found["digest"]


@pytest.mark.parametrize("mode", Mode)
@given(st.integers(0, 1 << 16), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_every_changed_byte_is_refused(
    facts: Callable[[Mode], Facts], trust: Trust, mode: Mode, position: int, change: int
) -> None:
    """A document with any one byte changed is refused, and the step that noticed is named."""
    document = bytearray(build(facts(mode)))
    document[position % len(document)] ^= change
    failed(bytes(document), trust)


def test_every_byte_of_one_document(facts: Callable[[Mode], Facts], trust: Trust) -> None:
    """The same, for each byte of a document in turn, with the change that is hardest to see."""
    document = build(facts(Mode.PINLESS))
    noticed = set()
    for position in range(len(document)):
        altered = bytearray(document)
        altered[position] ^= 1
        noticed.add(failed(bytes(altered), trust))
    assert {"form", "institution-chain", "institution-signature", "holder-path", "holder-proof"} <= noticed
    assert {"identity-check", "digest", "revocation"} & noticed


def test_there_is_one_form(facts: Callable[[Mode], Facts], trust: Trust) -> None:
    """White space, another order, a member more, twice or less, and a line's end are all refused as the form."""
    document = build(facts(Mode.PIN))
    content = json.loads(document)
    for other in (
        document + b"\n",
        b" " + document,
        json.dumps(content).encode(),
        json.dumps(dict(reversed(content.items())), separators=(",", ":")).encode(),
        json.dumps(content | {"more": 1}, sort_keys=True, separators=(",", ":")).encode(),
        document.replace(b'"terminal":"desk-1"', b'"terminal":"desk-1","terminal":"desk-1"'),
        document.replace(b'"terminal":"desk-1",', b""),
        document.replace(b"desk-1", b"desk\\u002d1"),
        b"[]",
        b"",
        bytes(1 << 20),
    ):
        assert failed(other, trust) == "form"


FORGERIES: list[tuple[dict[str, object], str]] = [
    ({"institution__code": "9900001"}, "institution-chain"),
    ({"institution__challenge": "QkJCQkJCQkJCQkJCQkJCQg=="}, "digest"),
    ({"institution__challenge": "QkJCQkJCQkJCQkJCQkJCQQ=="}, "institution-signature"),
    ({"institution__signature": None}, "institution-signature"),
    ({"mode": "pin"}, "institution-signature"),
    ({"nonce": "AAAA"}, "holder-proof"),
    ({"profile__holder_algorithm": "ecdsa-p384-sha384"}, "holder-proof"),
    ({"profile__institution_algorithm": "ecdsa-p384-sha384"}, "institution-chain"),
    ({"revocation__result": "good"}, "revocation"),
    ({"revocation__assurance": "online"}, "revocation"),
    ({"revocation__checked_at": "2020-01-01T00:00:00Z"}, "revocation"),
    ({"identity_check__method": "pin"}, "identity-check"),
    ({"identity_check__method": "none_emergency"}, "identity-check"),
    ({"identity_check__method": "none_emergency", "identity_check__by": "w-01"}, "identity-check"),
    ({"identity_check__method": "none_emergency", "identity_check__by": "w-99999999"}, "identity-check"),
    (
        {"identity_check__method": "none_emergency", "identity_check__by": "w-0", "log": None},
        "identity-check",
    ),
    ({"time": "2001-01-01T00:00:00Z"}, "holder-path"),
]


@pytest.mark.parametrize(("forgery", "step"), FORGERIES, ids=str)
def test_a_forger_who_fits_the_digest_is_caught_by_the_signatures(
    forgery: dict[str, object], step: str, facts: Callable[[Mode], Facts], trust: Trust
) -> None:
    """What a signature or another member contradicts is refused at that step, although the digest fits."""
    document = changed(build(facts(Mode.PINLESS)), **forgery)
    if step == "digest":
        assert steps(document, trust)
    else:
        assert failed(document, trust) == step


def test_where_nobody_checked_that_is_said(facts: Callable[[Mode], Facts], trust: Trust) -> None:
    """Evidence of an emergency stands, and whoever decides it again reads that nobody has checked, and where to look."""
    told = replace(facts(Mode.PINLESS), identity_check=("none_emergency", "w-3"), log=("example.com/log", 5))
    finding = steps(build(told), trust)["identity-check"]
    assert "NOBODY checked the holder" in finding
    assert "w-3 of ledger example.com/log" in finding


def test_time_is_an_argument(facts: Callable[[Mode], Facts], trust: Trust, now: datetime) -> None:
    """By itself evidence stands for ever; asked for another time, it is decided as at that time."""
    document = build(facts(Mode.PINLESS))
    assert steps(document, trust, now + timedelta(days=1))
    assert failed(document, trust, now + timedelta(days=365 * 6)) == "holder-path"


def test_nobody_elses_cas_will_do(facts: Callable[[Mode], Facts], hierarchy: Hierarchy, trust: Trust) -> None:
    """With another generation alone, or another institution root, the path or the chain fails."""
    document = build(facts(Mode.PINLESS))
    assert failed(document, Trust(Anchors(hierarchy.ca_certificates[:1]))) == "holder-path"
    other = rsa.generate_private_key(65_537, 2_048).public_key()
    assert failed(document, replace(trust, institution_root=other)) == "institution-chain"
    assert "not checked" in steps(document, replace(trust, institution_root=None))["institution-chain"]


def by_list(facts: Facts, crl: bytes, number: int, now: datetime) -> Facts:
    """Return *facts* of a holder found good by *crl*."""
    basis = Lists(number, (sha256(crl).hexdigest(),))
    return replace(
        facts,
        standing=Standing(
            Revocation.GOOD, Assurance.CACHED, Method.CRL, now, now, now + timedelta(days=1), basis
        ),
    )


def test_an_answer_by_list_is_repeated_by_whoever_has_the_list(
    facts: Callable[[Mode], Facts], hierarchy: Hierarchy, trust: Trust, now: datetime, card: CardData
) -> None:
    """Evidence names the list by its hash; with the list at hand the answer is repeated, without it, it is a word."""
    generation = hierarchy.holders.generations[-1]
    serial = parse(card.certificate).serial_number

    def crl(*revoked: int, at: object = AOBA) -> bytes:
        municipality = MIDORI if at is MIDORI else AOBA
        return issue(generation, municipality, revoked, now=now, number=4).public_bytes(Encoding.DER)

    good = crl(serial ^ 1)
    document = build(by_list(facts(Mode.PINLESS), good, 4, now))
    assert "word" in steps(document, trust)["revocation"]
    assert "genuine" in steps(document, replace(trust, lists=(good,)))["revocation"]
    for wrong in (crl(serial), crl(at=MIDORI)):
        document = build(by_list(facts(Mode.PINLESS), wrong, 4, now))
        assert failed(document, replace(trust, lists=(wrong,))) == "revocation"


def test_the_list_is_given_on_the_command_line(
    facts: Callable[[Mode], Facts], hierarchy: Hierarchy, now: datetime, tmp_path: Path
) -> None:
    """`verify --crl FILE` repeats the step with the list itself, and refuses one that the evidence does not name."""
    generation = hierarchy.holders.generations[-1]
    named, other = (
        issue(generation, AOBA, (serial,), now=now, number=4).public_bytes(Encoding.DER) for serial in (5, 6)
    )
    for name, content in (("named", named), ("other", other)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "evidence.json").write_bytes(build(by_list(facts(Mode.PINLESS), named, 4, now)))
    trusted = tmp_path / "trust"
    trusted.mkdir()
    for number, certificate in enumerate(hierarchy.ca_certificates):
        (trusted / f"{number}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))

    def told(*lists: str) -> Result:
        given = [argument for name in lists for argument in ("--crl", str(tmp_path / name))]
        return CliRunner().invoke(verify, [str(tmp_path / "evidence.json"), "--trust", str(trusted), *given])

    assert "rests on the appliance's word" in told().output
    assert "genuine, and does not name the certificate" in told("named").output
    for wrong in (("other",), ("named", "other")):
        refused = told(*wrong).exception
        assert isinstance(refused, EvidenceInvalid)
        assert refused.step == "revocation"


@pytest.fixture(scope="session", params=[SHA256, SHA1], ids=lambda named: named.name)
def online(
    request: pytest.FixtureRequest, facts: Callable[[Mode], Facts], hierarchy: Hierarchy, card: CardData
) -> Facts:
    """
    Return facts of a holder whom a responder called good: just now, as the library dates what it makes.

    The answer names the certificate by one hash or the other.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    generation = hierarchy.holders.generations[-1]
    nonce = b"\x07" * 32
    answer = (
        library.OCSPResponseBuilder()
        .add_response(
            parse(card.certificate),
            generation.certificate,
            request.param(),
            library.OCSPCertStatus.GOOD,
            now,
            now + timedelta(hours=1),
            None,
            None,
        )
        .responder_id(library.OCSPResponderEncoding.HASH, generation.responder)
        .certificates([generation.responder])
        .add_extension(x509.OCSPNonce(nonce), critical=False)
        .sign(hierarchy.holders.responder_key, SHA256())
    )
    basis = OcspAnswer(answer.public_bytes(Encoding.DER), nonce)
    standing = Standing(
        Revocation.GOOD, Assurance.ONLINE, Method.OCSP, now, now, now + timedelta(hours=1), basis
    )
    return replace(facts(Mode.PINLESS), standing=standing, time=now)


def test_a_responders_answer_is_in_the_evidence(online: Facts, trust: Trust) -> None:
    """An answer by OCSP is whole in the evidence and checked again; the responder alone can make it."""
    document = build(online)
    assert "authorised" in steps(document, trust)["revocation"]
    content = json.loads(document)["revocation"]["ocsp"]
    other = changed(document, revocation__ocsp=content | {"nonce": "AAAA"})
    assert failed(other, trust) == "revocation"
    assert failed(changed(document, revocation__next_update="2099-01-01T00:00:00Z"), trust) == "revocation"


@pytest.mark.parametrize("mode", [*Mode, None], ids=str)
def test_openssl_checks_every_signature(
    mode: Mode | None, online: Facts, facts: Callable[[Mode], Facts], tmp_path: Path
) -> None:
    """The script runs with OpenSSL alone and ends well."""
    made = online if mode is None else facts(mode)
    script = openssl.script(Evidence.from_bytes(build(made)))
    assert run(script, tmp_path).returncode == 0, run(script, tmp_path).stderr


@pytest.mark.parametrize(
    "spoiled", ["leaf", "institution", "holder certificate", "card", "OCSP answer"], ids=str
)
def test_openssl_finds_whichever_signature_is_spoiled(online: Facts, tmp_path: Path, spoiled: str) -> None:
    """One bit of any signature, and the script does not end well; OpenSSL alone would tell the status of a forged answer."""
    evidence = Evidence.from_bytes(build(online))
    institution, holder, revocation = evidence.institution, evidence.holder, evidence.revocation
    match spoiled:
        case "leaf":
            institution = msgspec.structs.replace(institution, leaf=flipped(institution.leaf))
        case "institution":
            institution = msgspec.structs.replace(
                institution, signature=flipped(institution.signature or b"")
            )
        case "holder certificate":
            holder = msgspec.structs.replace(holder, certificate=flipped(holder.certificate))
        case "card":
            holder = msgspec.structs.replace(holder, signature=flipped(holder.signature))
        case _:
            assert revocation.ocsp is not None
            response = revocation.ocsp.response
            signature = library.load_der_ocsp_response(response).signature
            forged = response.replace(signature, flipped(signature))
            revocation = msgspec.structs.replace(
                revocation, ocsp=msgspec.structs.replace(revocation.ocsp, response=forged)
            )
    ended = run(
        openssl.script(
            msgspec.structs.replace(evidence, institution=institution, holder=holder, revocation=revocation)
        ),
        tmp_path,
    )
    assert ended.returncode != 0
    assert "every signature holds" not in ended.stdout


def flipped(signed: bytes) -> bytes:
    """Return *signed* with its last bit changed."""
    return signed[:-1] + bytes([signed[-1] ^ 1])


def test_a_script_of_what_is_no_certificate_is_refused(online: Facts) -> None:
    """Garbage in evidence is a coded refusal, as it is for who decides."""
    evidence = Evidence.from_bytes(build(online))
    with pytest.raises(EvidenceInvalid):
        openssl.script(
            msgspec.structs.replace(
                evidence, holder=msgspec.structs.replace(evidence.holder, certificate=b"garbage")
            )
        )


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run *script* as somebody does who has nothing of ours."""
    return subprocess.run(
        ("sh", "-s"),
        input=script,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(folder)},
    )


def test_the_schema_is_published() -> None:
    """The schema in docs is the one that documents are read with."""
    file = Path(__file__).parents[2] / "docs" / "evidence.schema.json"
    assert json.loads(file.read_text()) == msgspec.json.schema(Evidence)


def test_the_holder_certificate_type_keeps_what_evidence_needs(online: Facts) -> None:
    """The issuer that was believed is the path that evidence shows."""
    document = json.loads(build(online))
    certificate: HolderCertificate = online.holder.certificate
    path = msgspec.json.decode(msgspec.json.encode(document["holder"]["path"][0]), type=bytes)
    assert path == certificate.issuer.public_bytes(Encoding.DER)

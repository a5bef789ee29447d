import base64
import copy
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import TranscriptInvalid
from appliance.hsm.ceremony import request
from appliance.hsm.ceremony import transcript as transcripts
from appliance.hsm.ceremony.audit import Check, audit
from appliance.hsm.ceremony.plan import RequestPlan
from appliance.hsm.ceremony.transcript import KeysMade, Signed, Transcript
from appliance.hsm.pkcs11.token import SAFE_ATTRIBUTES
from appliance.hsm.vendor import SAFE_KEY
from tests.ceremony.conftest import OUTPUT, Place

PREFIX = b"jpki-appliance ceremony transcript v1\0"
"""Written here again, because it is the promise that outlives the code."""


@pytest.fixture(scope="session")
def content(held: Place) -> bytes:
    """The transcript of the first ceremony."""
    return (held.folder / OUTPUT / "transcript.json").read_bytes()


@pytest.fixture
def statement(content: bytes) -> KeysMade:
    """What it states."""
    stated = audit(content).statement
    assert isinstance(stated, KeysMade)
    return stated


def openssl(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Ask OpenSSL, which knows nothing of us."""
    return subprocess.run(
        ("openssl", *map(str, arguments)), check=False, capture_output=True, text=True, timeout=30
    )


def rehashed(statement: KeysMade, content: bytes) -> bytes:
    """Return *statement* as a transcript with the right hash, and the signatures of *content*."""
    signatures = msgspec.json.decode(content, type=Transcript).signatures
    hashed = transcripts.digest(statement).hex()
    return Transcript(sha256=hashed, signatures=signatures, statement=statement).to_bytes()


def test_every_check_is_passed_and_told(content: bytes) -> None:
    """An untouched transcript passes all checks in their order."""
    passed: list[Check] = []
    audit(content, noted=json.loads(content)["sha256"], passed=passed.append)
    assert passed == [check for check in Check if check is not Check.CHAIN]


def test_common_tools_find_the_same_hash(held: Place, tmp_path: Path) -> None:
    """The hash is SHA-256 over RFC 8785's canonical JSON of the statement, which a few lines of any language give."""
    document = held.transcript()
    canonical = json.dumps(
        document["statement"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode("utf-8")
    assert hashlib.sha256(canonical).hexdigest() == document["sha256"]
    (tmp_path / "canonical").write_bytes(canonical)
    assert document["sha256"] in openssl("dgst", "-sha256", tmp_path / "canonical").stdout


def test_openssl_verifies_every_signature(held: Place, tmp_path: Path) -> None:
    """Each key's signature is over prefix and hash, and OpenSSL accepts it with the published public key."""
    document = held.transcript()
    signed = PREFIX + bytes.fromhex(document["sha256"])
    assert len(signed) == 70
    (tmp_path / "signed").write_bytes(signed)
    keys = {key["fingerprint"]: key for key in document["statement"]["keys"]}
    assert [keys[by["fingerprint"]]["role"] for by in document["signatures"]] == [
        *("institution", "token", "ledger")
    ]
    for by in document["signatures"]:
        key = keys[by["fingerprint"]]
        public_key = held.folder / OUTPUT / f"{key['label']}.pub.pem"
        (tmp_path / "signature").write_bytes(bytes.fromhex(by["signature"]))
        raw = (
            ("pkeyutl", "-verify", "-pubin", "-inkey", public_key, "-rawin", "-sigfile")
            if key["algorithm"] == "ed25519"
            else ("dgst", "-sha256", "-verify", public_key, "-signature")
        )
        last = ("-in", tmp_path / "signed") if key["algorithm"] == "ed25519" else (tmp_path / "signed",)
        judged = openssl(*raw, tmp_path / "signature", *last)
        assert judged.returncode == 0, judged.stderr


def test_openssl_verifies_the_request(held: Place) -> None:
    """The request is signed by its own key, has the planned subject, and is the one in the transcript."""
    path = held.folder / OUTPUT / "institution-2026.csr.pem"
    judged = openssl("req", "-verify", "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb,utf8", "-in", path)
    assert judged.returncode == 0, judged.stderr
    assert "CN=Example Clinic institution key 2026,OU=Reception,O=Example Clinic,C=JP" in judged.stdout
    assert path.read_text() == held.transcript()["statement"]["request"]
    key = openssl("req", "-pubkey", "-noout", "-in", path).stdout
    assert key == (held.folder / OUTPUT / "institution-2026.pub.pem").read_text()


def test_fingerprints_are_those_of_common_tools(held: Place) -> None:
    """A fingerprint is the SHA-256 of the DER that stands in the public key's PEM."""
    for key in held.transcript()["statement"]["keys"]:
        body = "".join(key["public_key"].splitlines()[1:-1])
        assert hashlib.sha256(base64.b64decode(body)).hexdigest() == key["fingerprint"]


def test_nothing_secret_stands_in_the_transcript(held: Place, content: bytes) -> None:
    """Neither the PIN nor private parts of a key are in what everybody gets."""
    assert (held.folder / "softhsm" / "user.pin").read_bytes().strip() not in content
    assert b"PRIVATE KEY-----" not in content


def test_every_bit_counts(content: bytes) -> None:
    """The lowest bit of any byte turned over, anywhere in the file, is refused."""
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        with pytest.raises(TranscriptInvalid):
            audit(changed)


@settings(max_examples=300)
@given(data=st.data())
def test_any_other_bytes_are_refused(content: bytes, data: st.DataObject) -> None:
    """A byte changed to any other, one left out, or one put in is refused."""
    place = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255))
    length = data.draw(st.sampled_from([0, 1, 2]))
    changed = content[:place] + bytes([value]) * length + content[place + 1 :]
    if changed != content:
        with pytest.raises(TranscriptInvalid):
            audit(changed)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(content: bytes) -> None:
    """Nothing but our own refusal comes of a file that is no transcript."""
    with pytest.raises(TranscriptInvalid):
        audit(content)


def test_another_note_is_refused(content: bytes) -> None:
    """A transcript that is whole, but not the one whose hash was noted, is refused."""
    with pytest.raises(TranscriptInvalid, match="noted"):
        audit(content, noted="00" * 32)


def _attribute(document: dict[str, Any], name: str, value: object) -> None:
    document["keys"][0]["attributes"][name] = value


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "operator": lambda d: d.update(operator="Somebody Else"),
    "witness": lambda d: d["witnesses"].pop(),
    "token": lambda d: d["token"].update(label="another"),
    "plan": lambda d: d.update(plan=d["plan"].replace("Hanako", "Hanae")),
    "time": lambda d: d.update(began="2999-01-01T00:00:00Z"),
    "label": lambda d: d["keys"][1].update(label="token-2025"),
    "key left out": lambda d: d["keys"].pop(),
    "fingerprint": lambda d: d["keys"][0].update(fingerprint="00" * 32),
    "extractable": lambda d: _attribute(d, "CKA_EXTRACTABLE", value=True),
    "imported": lambda d: _attribute(d, "CKA_LOCAL", value=False),
    "decrypts": lambda d: _attribute(d, "CKA_DECRYPT", value=True),
    "number for a truth value": lambda d: _attribute(d, "CKA_EXTRACTABLE", 0),
    "attribute unknown": lambda d: _attribute(d, "CKA_SENSITIVE", None),
    "attribute left out": lambda d: d["keys"][0]["attributes"].pop("CKA_SENSITIVE"),
    "excused": lambda d: d["vendor"].update(expected={"CKA_EXTRACTABLE": True}),
    "mechanism": lambda d: d["keys"][0].update(mechanism="CKM_RSA_X_509"),
    "mechanisms": lambda d: _attribute(d, "CKA_ALLOWED_MECHANISMS", ["CKM_SHA256_RSA_PKCS", "CKM_RSA_PKCS"]),
    "no request": lambda d: d.update(request=None),
    "subject": lambda d: d.update(request=_other_request()),
}


def _other_request() -> str:
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    made = x509.CertificateSigningRequestBuilder(subject).sign(key, SHA256())
    return made.public_bytes(Encoding.PEM).decode("ascii")


@pytest.mark.parametrize("change", CHANGES)
def test_a_statement_with_another_content_is_refused(change: str, content: bytes) -> None:
    """Each check refuses what it is there for before the signatures are looked at."""
    document = json.loads(content)["statement"]
    CHANGES[change](document)
    changed = msgspec.convert(document, KeysMade)
    with pytest.raises(TranscriptInvalid) as refusal:
        audit(rehashed(changed, content))
    assert "has not signed" not in refusal.value.detail


def test_a_statement_nobody_signed_is_refused(content: bytes, statement: KeysMade) -> None:
    """What passes every other check, and the keys have not signed, is refused by its signatures."""
    changed = msgspec.structs.replace(statement, ended="2999-01-01T00:00:00Z")
    with pytest.raises(TranscriptInvalid, match="has not signed"):
        audit(rehashed(changed, content))


def test_a_missing_signature_is_refused(content: bytes) -> None:
    """Every key of the statement signs; those of some are not enough, nor those of others."""
    transcript = msgspec.json.decode(content, type=Transcript)
    for signatures in (
        transcript.signatures[1:],
        transcript.signatures[:-1],
        transcript.signatures[::-1],
        (*transcript.signatures, Signed(fingerprint="00" * 32, signature="00")),
    ):
        with pytest.raises(TranscriptInvalid, match="signatures are not by"):
            audit(msgspec.structs.replace(transcript, signatures=signatures).to_bytes())


def test_the_audit_demands_what_the_token_must_show() -> None:
    """The attributes demanded offline are those that every start demands of the token."""
    assert {f"CKA_{name.name}": value for name, value in SAFE_ATTRIBUTES.items()} == SAFE_KEY


def test_keys_of_other_kinds_are_refused() -> None:
    """A public key that no ceremony makes is refused, as is what is no key."""
    for key in (
        rsa.generate_private_key(65537, 1024).public_key(),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
    ):
        with pytest.raises(TranscriptInvalid, match="none of the algorithms"):
            transcripts.read_key(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(TranscriptInvalid, match="cannot be read"):
        transcripts.read_key(b"no key")


def test_a_key_in_the_token_only_signs() -> None:
    """What stands for the key while the request is made signs with its one mechanism and gives nothing away."""
    private = rsa.generate_private_key(65537, 2048)
    key = request.KeyInToken(
        private.public_key(), lambda data: private.sign(data, padding.PKCS1v15(), SHA256())
    )
    assert key.key_size == 2048
    made = request.make(RequestPlan(subject=(("C", "JP"),)), private.public_key(), key._sign)
    request.check(made, RequestPlan(subject=(("C", "JP"),)), private.public_key())
    pss = padding.PSS(padding.MGF1(SHA256()), 32)
    for misuse in (
        lambda: key.sign(b"", pss, SHA256()),
        lambda: key.decrypt(b"", padding.PKCS1v15()),
        key.private_numbers,
        lambda: copy.copy(key),
        lambda: copy.deepcopy(key),
    ):
        with pytest.raises(TypeError):
            misuse()


def test_the_verify_command_explains_step_by_step(held: Place) -> None:
    """Every step, the keys and the hash are told in both languages; exit status 0."""
    sha256 = held.transcript()["sha256"]
    for language, words in (("C.UTF-8", "Every key named has signed"), ("ja_JP.UTF-8", "すべての鍵")):
        finished = held.run(
            "verify", f"{OUTPUT}/transcript.json", "--sha256", sha256.upper(), language=language
        )
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.count("✓") == 7
        assert words in finished.stdout
        assert sha256 in finished.stdout


def test_the_verify_command_refuses(after: Place) -> None:
    """A changed transcript ends with status 1 and the code, and so does one with another hash than the noted one."""
    other = after.run("verify", f"{OUTPUT}/transcript.json", "--sha256", "00" * 32)
    assert (other.returncode, "[transcript_invalid]" in other.stderr) == (1, True)
    after.edit(f"{OUTPUT}/transcript.json", '"operator": "Hanako Yamada"', '"operator": "Hanae Yamada"')
    changed = after.run("verify", f"{OUTPUT}/transcript.json")
    assert (changed.returncode, "[transcript_invalid]" in changed.stderr) == (1, True)
    missing = after.run("verify", "nowhere.json")
    assert (missing.returncode, "[config_invalid]" in missing.stderr) == (78, True)

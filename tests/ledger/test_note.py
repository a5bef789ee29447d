"""
Signed notes, against what others have signed.

PeterNeumann's note stands in golang.org/x/mod/sumdb/note, the other two in transparency-dev/formats (a checkpoint of
Rekor and one of the Pixel log, both ECDSA), the last in the C2SP specification of cosignatures.
"""

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LedgerProofInvalid
from appliance.ledger.checkpoint import Checkpoint, verified
from appliance.ledger.note import KeyType, Note, NoteSignature, VerifierKey, cosigned, cosigned_at

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_SEED = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETERS_NOTE = """\
If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
REKOR = (
    "rekor.sigstore.dev+c0d23d6a+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5AW5i0hrZLOC96l+sm"
    "GNM7nwZ4QvFK/4sueRoVj//QP22Ni4Qt9DPfkWLc="
)
REKORS_NOTE = """\
Rekor
798034
f+7CoKgXKE/tNys9TTXcr/ad6U/K3xvznmzew9y6SP0=

— rekor.sigstore.dev wNI9ajBEAiARInWIWyCdyG27CO6LPnPekyw20qO0YJfoaPaowGp/XgIgc+qEHS3+GKVClgqq20uDLet7MCoTURUCRdxwWBHHufk=
"""
PIXEL = (
    "pixel6_transparency_log+91c16e30+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABN+4x0Jk1yTwvLFI9A4NDdGZcX0aiWVdWM5XJVy0M4V"
    "WD3AvyW5Q6Hs9A0mcDkpUoYgn+KKPNzFC0H3nN3q6JQ8="
)
PIXELS_NOTE = """\
DEFAULT
10
bsWRucJU5xJPHb5eBdOm6+DM+VelCZBuvtI3sHERJ9Y=

— pixel6_transparency_log kcFuMDBFAiEAhqMAP8P6qf6QxtUJhzMhbN+MbZ9dwfUHzGQJmffJHtoCIGD0cNe47dHWBoPwYdgBCepB06/+g5O1FmYjXl06owL4
"""
PUBLISHED = [
    pytest.param(PETER, PETERS_NOTE, id="Ed25519"),
    pytest.param(REKOR, REKORS_NOTE, id="ECDSA, Rekor"),
    pytest.param(PIXEL, PIXELS_NOTE, id="ECDSA, Pixel"),
]


@pytest.mark.parametrize(("key", "note"), PUBLISHED)
def test_published_notes_verify(key: str, note: str) -> None:
    """What others have signed verifies with their keys, and is written again byte for byte."""
    verifier = VerifierKey.from_text(key)
    parsed = Note.from_bytes(note.encode())
    assert parsed.signed_by([verifier]) == (verifier,)
    assert parsed.to_bytes() == note.encode()
    assert verifier.to_text() == key


@pytest.mark.parametrize(("key", "note"), PUBLISHED)
def test_published_notes_do_not_verify_when_changed(key: str, note: str) -> None:
    """One other letter in the text, and a known key has not signed it."""
    changed = ("X" + note[1:]).encode()
    with pytest.raises(LedgerProofInvalid, match="does not verify"):
        Note.from_bytes(changed).signed_by([VerifierKey.from_text(key)])


def test_a_published_note_is_signed_again_to_the_byte() -> None:
    """With PeterNeumann's private key the same note comes out: Ed25519 has no randomness."""
    private = ed25519.Ed25519PrivateKey.from_private_bytes(b64decode(PETERS_SEED)[1:])
    text = Note.from_bytes(PETERS_NOTE.encode()).text
    signature = VerifierKey.from_text(PETER).signature(private.sign(text.encode()))
    assert Note(text, (signature,)).to_bytes() == PETERS_NOTE.encode()


def test_a_key_with_one_letter_changed_is_refused() -> None:
    """The ID in a verifier key ties name and key together: no single slip of the pen passes."""
    for place in range(len(PETER)):
        changed = PETER[:place] + chr(ord(PETER[place]) + 1) + PETER[place + 1 :]
        with pytest.raises(LedgerProofInvalid):
            VerifierKey.from_text(changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        "name+00000000+",
        "+c74f20a3+ARpc",
        PETER.replace("+AR", "+ZR"),
        PETER + "BADK",
    ],
)
def test_malformed_keys_are_refused(text: str) -> None:
    """A verifier key is NAME+ID+KEY of a known type, and nothing else."""
    with pytest.raises(LedgerProofInvalid):
        VerifierKey.from_text(text)


def test_lines_of_unknown_keys_are_ignored() -> None:
    """Others may sign too; a note that no known key has signed is refused all the same."""
    note = Note.from_bytes(PETERS_NOTE.encode())
    stranger = NoteSignature("stranger", b"\0\1\2\3", b"anything")
    both = Note.from_bytes(Note(note.text, (stranger, *note.signatures)).to_bytes())
    assert len(both.signed_by([VerifierKey.from_text(PETER), VerifierKey.from_text(REKOR)])) == 1
    with pytest.raises(LedgerProofInvalid, match="no known key"):
        both.signed_by([VerifierKey.from_text(REKOR)])


def test_a_text_may_have_empty_lines() -> None:
    """The last empty line parts text and signatures."""
    private = ed25519.Ed25519PrivateKey.generate()
    key = VerifierKey.of_log("example.com/log", private.public_key())
    text = "one\n\ntwo\n"
    note = Note(text, (key.signature(private.sign(text.encode())),))
    assert Note.from_bytes(note.to_bytes()) == note


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nno dash\n",
        "text\n\n— name AAAA\n".encode(),
        "text\n\n— name AAAAAAA\n".encode(),
        "text\n\n— na+me AAAAAAAA\n".encode(),
        "text\n\n— name AAAAAAAA".encode(),
        "te\txt\n\n— name AAAAAAAA\n".encode(),
        b"\xff\n\n",
        b"text\n\n" + "— name AAAAAAAA\n".encode() * 65,
    ],
)
def test_malformed_notes_are_refused(content: bytes) -> None:
    """A note is text, an empty line, and well-formed signature lines."""
    with pytest.raises(LedgerProofInvalid):
        Note.from_bytes(content)


@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: f"{text}\n\n— a AAAAAAAA\n".encode()))
def test_any_bytes_are_a_note_or_refused(content: bytes) -> None:
    """Nothing comes out of the parser but notes that are written again as they were, and our own refusal."""
    try:
        note = Note.from_bytes(content)
    except LedgerProofInvalid:
        return
    assert note.to_bytes() == content


def test_a_witness_signs_time_and_checkpoint() -> None:
    """A cosignature verifies over its own time alone (tlog-cosignature)."""
    private = ed25519.Ed25519PrivateKey.generate()
    witness = VerifierKey("witness.example.com/w1", KeyType.COSIGNATURE, private.public_key())
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    message = cosigned(text, 1679315147)
    assert message == b"cosignature/v1\ntime 1679315147\n" + text.encode()
    signature = (1679315147).to_bytes(8) + private.sign(message)
    assert cosigned_at(signature) == 1679315147
    witness.verify(text, signature)
    for wrong in ((1679315148).to_bytes(8) + signature[8:], signature[:8], b"\xff" * 72):
        with pytest.raises(LedgerProofInvalid):
            witness.verify(text, wrong)


def test_a_p256_key_signs_checkpoints() -> None:
    """Where the HSM has no EdDSA the ledger key is P-256, and its notes verify as type 2."""
    private = ec.generate_private_key(ec.SECP256R1())
    key = VerifierKey.of_log("example.com/log", private.public_key())
    assert key.type is KeyType.ECDSA
    assert VerifierKey.from_text(key.to_text()) == key
    checkpoint = Checkpoint("example.com/log", 7, b"\1" * 32)
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - only here

    signature = key.signature(private.sign(checkpoint.to_text().encode(), ec.ECDSA(SHA256())))
    assert verified(Note(checkpoint.to_text(), (signature,)).to_bytes(), key) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/log\n1\n",
        "example.com/log\n01\n" + b64encode(b"\1" * 32).decode() + "\n",
        "example.com/log\n-1\n" + b64encode(b"\1" * 32).decode() + "\n",
        "example.com/log\n1\n" + b64encode(b"\1" * 31).decode() + "\n",
        "example.com/log\n1\n" + b64encode(b"\1" * 32).decode() + "\nextension\n",
        "example.com/log\n1\n" + b64encode(b"\1" * 32).decode()[:-2] + "F=\n",
        "\n1\n" + b64encode(b"\1" * 32).decode() + "\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    """A checkpoint is origin, size without zeros in front, and 32 bytes of root; nothing follows."""
    with pytest.raises(LedgerProofInvalid):
        Checkpoint.from_text(text)


def test_a_key_of_another_log_is_refused() -> None:
    """A checkpoint counts only under the name that its key has."""
    private = ed25519.Ed25519PrivateKey.generate()
    key = VerifierKey.of_log("example.com/mine", private.public_key())
    text = Checkpoint("example.com/other", 1, b"\1" * 32).to_text()
    note = Note(text, (key.signature(private.sign(text.encode())),))
    with pytest.raises(LedgerProofInvalid, match="another log"):
        verified(note.to_bytes(), key)

"""Checkpoints (C2SP tlog-checkpoint): what a log's tree was at one size, as the text of a signed note. Pure."""

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from appliance.errors import LedgerProofInvalid
from appliance.ledger.merkle import HASH_BYTES
from appliance.ledger.note import Note, VerifierKey

_TEXT: Final = re.compile(r"([^\n]+)\n(0|[1-9]\d{0,18})\n([A-Za-z0-9+/]{43}=)\n", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log *origin* had *size* entries under this *root*."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def from_text(cls, text: str) -> "Checkpoint":
        """
        Return the checkpoint in a note's *text*, or raise LedgerProofInvalid.

        Extension lines, which the specification advises against, are refused: ours never have any.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise LedgerProofInvalid("a checkpoint has three lines: origin, size, root")
        root = b64decode(match[3])
        if b64encode(root).decode() != match[3]:
            raise LedgerProofInvalid("a checkpoint's root is not canonical base64")
        return cls(match[1], int(match[2]), root)

    def to_text(self) -> str:
        """Return the note's text."""
        if len(self.root) != HASH_BYTES:
            raise ValueError("a root has 32 bytes")
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def verified(content: bytes, key: VerifierKey) -> Checkpoint:
    """
    Return the checkpoint in the signed note *content*, or raise LedgerProofInvalid.

    It has to be signed by *key*, and to be of the log that has the key's name.
    """
    note = Note.from_bytes(content)
    note.signed_by([key])
    checkpoint = Checkpoint.from_text(note.text)
    if checkpoint.origin != key.name:
        raise LedgerProofInvalid("the checkpoint is of another log than its key")
    return checkpoint


def told(content: bytes) -> Checkpoint:
    """Return what the note *content* says, whoever may have signed it, or raise LedgerProofInvalid."""
    return Checkpoint.from_text(Note.from_bytes(content).text)

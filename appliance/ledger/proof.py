"""A proof that an entry is in a log, as one file (C2SP tlog-proof). Pure."""

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from appliance.errors import LedgerEntryAbsent, LedgerProofInvalid
from appliance.ledger import checkpoint, merkle
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.merkle import Fetch
from appliance.ledger.note import Note, VerifierKey

_HEAD: Final = b"c2sp.org/tlog-proof@v1\n"
_SHAPE: Final = re.compile(
    rb"c2sp\.org/tlog-proof@v1\n(?:extra (?P<extra>[A-Za-z0-9+/=]+)\n)?index (?P<index>0|[1-9]\d{0,18})\n"
    rb"(?P<path>(?:[A-Za-z0-9+/]{43}=\n){0,63})\n(?P<checkpoint>.+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """
    That the entry *index* is under the root that the signed note *checkpoint* states, by this *path*.

    The *entry* itself travels as extra data; it is worth nothing before `verify`.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    entry: bytes = b""

    @classmethod
    def from_bytes(cls, content: bytes) -> "InclusionProof":
        """Return the proof that *content* is, or raise LedgerProofInvalid."""
        match = _SHAPE.fullmatch(content)
        if match is None:
            raise LedgerProofInvalid("this is no inclusion proof")
        path = tuple(b64decode(line) for line in match["path"].splitlines())
        try:
            entry = b64decode(match["extra"] or b"", validate=True)
        except ValueError as error:
            raise LedgerProofInvalid("the extra data of an inclusion proof is not base64") from error
        return cls(int(match["index"]), path, match["checkpoint"], entry)

    def to_bytes(self) -> bytes:
        """Return the proof as a file."""
        lines = [b64encode(step) + b"\n" for step in self.path]
        extra = b"extra %s\n" % b64encode(self.entry) if self.entry else b""
        return b"".join((_HEAD, extra, b"index %d\n" % self.index, *lines, b"\n", self.checkpoint))

    def verify(self, key: VerifierKey) -> Checkpoint:
        """Return the checkpoint that the entry is proved to be under, or raise LedgerProofInvalid."""
        stated = checkpoint.verified(self.checkpoint, key)
        leaf = merkle.leaf_hash(self.entry)
        if merkle.root_from_inclusion(self.index, stated.size, leaf, self.path) != stated.root:
            raise LedgerProofInvalid("the entry is not under the checkpoint's root")
        return stated


def prove(index: int, entry: bytes, checkpoint_note: bytes, fetch: Fetch) -> InclusionProof:
    """Return the proof that *entry* is under the signed note; raise LedgerEntryAbsent where it is not yet."""
    stated = Checkpoint.from_text(Note.from_bytes(checkpoint_note).text)
    if index >= stated.size:
        raise LedgerEntryAbsent(f"entry {index} is not under a checkpoint yet")
    path = merkle.inclusion_proof(index, stated.size, fetch)
    return InclusionProof(index, tuple(path), checkpoint_note, entry)

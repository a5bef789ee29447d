"""
A witness over HTTP (C2SP tlog-witness): it checks that each checkpoint continues the one before, and cosigns it.

The witness says itself which size it knows; this end remembers only what saves a round trip.
"""

import asyncio
import http.client
import ssl
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from appliance.errors import LedgerProofInvalid
from appliance.ledger.checkpoint import Checkpoint
from appliance.ledger.note import KeyType, Note, NoteSignature, VerifierKey, signatures_in

_LARGEST_ANSWER: Final = 1 << 14
_CONFLICT_TYPE: Final = "text/x.tlog.size"
_TRIES: Final = 2


@dataclass(slots=True)
class HttpWitness:
    """The witness at the submission prefix *url*, whose cosignatures verify with *key*."""

    url: str
    key: VerifierKey
    tls: ssl.SSLContext | None = None
    seconds: float = 5.0
    known: int = 0
    """The size that it has cosigned last, as far as is known here."""

    def __post_init__(self) -> None:
        if self.key.type is not KeyType.COSIGNATURE:
            raise ValueError("a witness has a key of the cosignature type")

    async def cosign(
        self, note: bytes, prove: Callable[[int], "asyncio.Future[list[bytes]]"]
    ) -> tuple[NoteSignature, ...]:
        """Return verified cosignatures over *note*, or raise OSError, LedgerProofInvalid."""
        size = Checkpoint.from_text(Note.from_bytes(note).text).size
        for _ in range(_TRIES):
            proof = await prove(self.known)
            status, kind, body = await asyncio.to_thread(self._post, request(self.known, proof, note))
            if status == http.client.OK:
                cosignatures = self._verified(Note.from_bytes(note).text, body)
                self.known = size
                return cosignatures
            if status != http.client.CONFLICT or kind != _CONFLICT_TYPE:
                break
            self.known = self._size(body, size)
        raise OSError(f"the witness {self.key.name} answered {status}")

    def _verified(self, text: str, body: bytes) -> tuple[NoteSignature, ...]:
        # Parsed by itself: in a note made of both an empty line in the answer would move the text's end.
        lines = signatures_in(body)
        Note(text, lines).signed_by([self.key])
        return tuple(line for line in lines if (line.name, line.key_id) == (self.key.name, self.key.key_id))

    def _size(self, body: bytes, size: int) -> int:
        digits = body.removesuffix(b"\n")
        if not digits.isdigit() or len(digits) > 19 or int(digits) > size:
            raise LedgerProofInvalid(f"the witness {self.key.name} knows more of the log than there is")
        return int(digits)

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            tls = self.tls or ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self.seconds, context=tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.seconds)
        try:
            connection.request("POST", f"{parts.path.rstrip('/')}/add-checkpoint", body)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read(_LARGEST_ANSWER)
        except http.client.HTTPException as error:
            raise OSError(f"the witness {self.key.name} does not speak HTTP") from error
        finally:
            connection.close()


def request(old: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """Return the body of add-checkpoint: the *old* size, the consistency *proof* from there, and the *note*."""
    lines = [f"old {old}\n".encode(), *(b64encode(step) + b"\n" for step in proof), b"\n"]
    return b"".join(lines) + note

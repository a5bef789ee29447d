"""
Verify that an entry is in a log: `python verify_checkpoint.py PROOF KEY`, with nothing of the appliance's own code.

PROOF is what `jpki-appliance ledger proof INDEX` prints, KEY the verifier key (`ledger checkpoint --key`), as text.
"""

import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key


def main(proof: str, vkey: str) -> None:
    """Print the checkpoint and the entry, or fail."""
    head, text, signatures = proof.split("\n\n")
    _, extra, index_line, *path = head.split("\n")
    entry, index = b64decode(extra.removeprefix("extra ")), int(index_line.removeprefix("index "))
    text += "\n"
    origin, size, root = text.splitlines()
    check_signature(text, signatures, origin, vkey)

    # RFC 9162, section 2.1.3.2: from the leaf to the root.
    place, last, value = index, int(size) - 1, sha256(b"\x00" + entry).digest()
    if place > last:
        sys.exit("the index is not in the tree")
    for sibling in map(b64decode, path):
        if last == 0:
            sys.exit("the proof is too long")
        if place & 1 or place == last:
            value = sha256(b"\x01" + sibling + value).digest()
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            value = sha256(b"\x01" + value + sibling).digest()
        place, last = place >> 1, last >> 1
    if last != 0 or value != b64decode(root):
        sys.exit("the entry is not under the signed root")
    print(f"verified: entry {index} of {size} in {origin}\n{entry.decode()}")


def check_signature(text: str, signatures: str, origin: str, vkey: str) -> None:
    """Check the one signature over *text* that is by the key *vkey* (C2SP signed-note)."""
    name, key_id, encoded = vkey.strip().split("+", 2)
    kind, key = b64decode(encoded)[0], b64decode(encoded)[1:]
    (line,) = (line for line in signatures.splitlines() if line.startswith(f"— {name} "))
    signed = b64decode(line.split(" ")[2])
    if name != origin or signed[:4].hex() != key_id:
        sys.exit("the checkpoint is of another log or key")
    if kind == 1:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signed[4:], text.encode())
    else:
        load_der_public_key(key).verify(signed[4:], text.encode(), ec.ECDSA(SHA256()))


main(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2])

"""What the ledger has of one authentication, proved and verified by a program that knows nothing of us."""

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.daemon import Appliance
from appliance.errors import LedgerEntryAbsent, LedgerProofInvalid, PartMissing
from appliance.ledger import entries, proof
from appliance.ledger.entries import Finished
from appliance.ledger.keeper import Keeper
from appliance.ledger.proof import InclusionProof
from appliance.ledger.store import fetching, stored_entries

_SCRIPT: Final = "docs/verify_checkpoint.py"
_FOLDERS: Final = (Path(__file__).resolve().parents[3], Path(sys.prefix) / "share" / "jpki-appliance")


@dataclass(frozen=True, slots=True)
class Remembered:
    """
    An authentication's two *entries*, the *proof* of the second with a signed checkpoint, and the key it verifies with.

    *verified* is what the independent script has said.
    """

    entries: list[dict[str, Any]]
    proof: str
    verifier_key: str
    verified: str


async def remembered(appliance: Appliance, index: int) -> Remembered:
    """Have a checkpoint signed, and return what the ledger has of the authentication reserved at *index*."""
    keeper = appliance.ledger
    note = await keeper.checkpoint()
    found, made = await asyncio.to_thread(_look, keeper, index, note)
    made.verify(keeper.key)
    text, key = made.to_bytes().decode(), keeper.key.to_text()
    return Remembered(found, text, key, await _verified(text, key))


def _look(keeper: Keeper, index: int, note: bytes) -> tuple[list[dict[str, Any]], InclusionProof]:
    with keeper.log.store.reading() as reader:
        kept = dict(stored_entries(reader, index, reader.head().size))
        for finish, content in kept.items():
            entry = entries.decode(content)
            if isinstance(entry, Finished) and entry.reserved == index:
                both = [{"index": place, **msgspec.json.decode(kept[place])} for place in (index, finish)]
                return both, proof.prove(finish, content, note, fetching(reader))
    raise LedgerEntryAbsent(f"entry {index} is not finished")


async def _verified(proof_text: str, key: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".tlog-proof", encoding="utf-8") as file:
        file.write(proof_text)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(_script()), file.name, key), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    if process.returncode != 0:
        raise LedgerProofInvalid(f"{_SCRIPT} does not verify the proof")
    return said.decode().splitlines()[0]


def _script() -> Path:
    for folder in _FOLDERS:
        if (folder / _SCRIPT).exists():
            return folder / _SCRIPT
    raise PartMissing(f"{_SCRIPT} of the package jpki-appliance is not installed")

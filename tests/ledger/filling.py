"""
A process whose disk becomes full: `python -m tests.ledger.filling FOLDER`, on a small file system of its own.

Prints how often it was refused while the disk was full, and that it went on when there was space again.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

from appliance.errors import LedgerUnavailable
from appliance.ledger.log import Log
from appliance.ledger.sqlite import SqliteStore
from appliance.ledger.store import stored_entries

_BALLAST_BYTES: Final = 400_000
_ENTRY: Final = b"x" * 20_000
_REFUSALS: Final = 3


async def fill(folder: Path) -> None:
    """Fill the disk, be refused, make room, go on."""
    ballast = folder / "ballast"
    ballast.write_bytes(b"\xaa" * _BALLAST_BYTES)
    store = SqliteStore(folder / "ledger.sqlite3", "example.com/full")
    acknowledged: list[int] = []
    refused = 0
    async with Log(store, seconds=10) as log:
        while refused < _REFUSALS:
            try:
                acknowledged.append(await log.append(_ENTRY))
            except LedgerUnavailable:
                refused += 1
        ballast.unlink()
        acknowledged.append(await log.append(b"again"))
    with store.reading() as reader:
        kept = dict(stored_entries(reader, 0, reader.head().size))
    lost = [index for index in acknowledged if index not in kept]
    sys.stdout.write(f"refused {refused} lost {len(lost)} last {kept[acknowledged[-1]].decode()}\n")


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1])))

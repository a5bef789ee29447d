"""A process that is killed while it restores a backup: `python -m tests.ledger.restoring STORE BACKUP KEY NTH`."""

import os
import signal
import sys
from pathlib import Path

from appliance.ledger import backup
from appliance.ledger.note import VerifierKey
from tests.ledger.crashing import store_at


def main(place: str, path: Path, key: VerifierKey, nth: int) -> None:
    """Restore *path* into the store at *place*, until the *nth* row of entries is about to be written."""
    left = nth

    def fault(point: str) -> None:
        nonlocal left
        left -= point == "append.beginning"
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    backup.restore(path, store_at(place, fault), key, None)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), VerifierKey.from_text(sys.argv[3]), int(sys.argv[4]))

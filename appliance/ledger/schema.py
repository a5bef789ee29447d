"""
The tables, for SQLite and PostgreSQL alike, and how older ones become them.

A migration is never changed once it was released; the next one is added. Each is applied in one transaction with
the number that says so.
"""

from collections.abc import Callable
from typing import Any, Final

from appliance.errors import LedgerUnusable

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    # 1: logs, their batches of entries, the nodes above them, checkpoints.
    (
        """
        CREATE TABLE logs (
            id {identity}, origin TEXT NOT NULL UNIQUE, epoch BIGINT NOT NULL DEFAULT 0,
            settled BIGINT NOT NULL DEFAULT 0, pruned BIGINT NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0
        )
        """,
        """
        CREATE TABLE batches (
            log INTEGER NOT NULL REFERENCES logs (id), first BIGINT NOT NULL,
            hashes {bytes} NOT NULL, entries {bytes}, PRIMARY KEY (log, first)
        )
        """,
        """
        CREATE TABLE nodes (
            log INTEGER NOT NULL REFERENCES logs (id), level INTEGER NOT NULL, number BIGINT NOT NULL,
            hash {bytes} NOT NULL, PRIMARY KEY (log, level, number)
        )
        """,
        """
        CREATE TABLE checkpoints (
            log INTEGER NOT NULL REFERENCES logs (id), size BIGINT NOT NULL,
            note {bytes} NOT NULL, PRIMARY KEY (log, size)
        )
        """,
    ),
    # 2: how far copies of checkpoints have left; no time spent on compressing large batches.
    ("ALTER TABLE logs ADD COLUMN copied BIGINT NOT NULL DEFAULT 0", "{uncompressed}"),
    # 3: the closed log that a log goes on from. No release had a table of logs before this column: there are none that
    # went on from one and do not say so here.
    ("ALTER TABLE logs ADD COLUMN continues TEXT",),
)
VERSION_TABLE: Final = "CREATE TABLE IF NOT EXISTS ledger_schema (version INTEGER NOT NULL)"


def migrate(execute: Callable[[str], list[tuple[Any, ...]]], words: dict[str, str]) -> None:
    """
    Bring the tables up to date, inside a transaction of the caller; raise LedgerUnusable if they are newer.

    *words* are what this database says for the names in braces.
    """
    execute(VERSION_TABLE)
    version = _known(execute("SELECT version FROM ledger_schema"))
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            if spelled := statement.format(**words):
                execute(spelled)
    if version < len(MIGRATIONS):
        execute("DELETE FROM ledger_schema")
        execute(f"INSERT INTO ledger_schema VALUES ({len(MIGRATIONS)})")  # noqa: S608 - a number of ours


def require_current(versions: list[tuple[Any, ...]]) -> None:
    """Raise LedgerUnusable unless the one number in *versions* is ours: who only reads changes no tables."""
    version = _known(versions)
    if version < len(MIGRATIONS):
        raise LedgerUnusable(
            f"the ledger has tables of version {version}, which the appliance's next start brings up to date"
        )


def _known(versions: list[tuple[Any, ...]]) -> int:
    """Return the one number in *versions*, 0 where there is none; raise LedgerUnusable if it is newer than we are."""
    version = int(versions[0][0]) if versions else 0
    if version > len(MIGRATIONS):
        raise LedgerUnusable(f"the ledger has tables of version {version}, newer than {len(MIGRATIONS)}")
    return version

"""
Points at which a process may die, by name: where the ledger touches the store or the HSM.

The product passes `no_fault`. The crash tests pass a function that kills the process at one point of `POINTS`.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

Fault: TypeAlias = Callable[[str], None]

POINTS: Final = (
    "store.opening",
    "store.locked",
    "store.migrated",
    "store.opened",
    "append.beginning",
    "append.inserted",
    "append.committed",
    "append.acknowledged",
    "checkpoint.signing",
    "checkpoint.signed",
    "checkpoint.inserted",
    "checkpoint.committed",
    "checkpoint.published",
    "hsm.asking",
    "hsm.answered",
)


def no_fault(_point: str) -> None:
    """Do nothing."""

"""
Points at which a process may die, by name: where the ledger touches the store or the HSM.

The product passes `no_fault`. The crash tests pass a function that kills the process at one point of `POINTS`. Those
of the HSM are the tests' own: before it is asked, while the module has the challenge and has not signed yet, when it
has signed and has not said so, and when the answer is there.
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
    "hsm.signing",
    "hsm.signed",
    "hsm.answered",
)


def no_fault(_point: str) -> None:
    """Do nothing."""

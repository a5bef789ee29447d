"""A token that goes away and comes back: the folder SoftHSM keeps it in, renamed or shut."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.hsm import softhsm


@contextmanager
def token_away(folder: Path) -> Iterator[None]:
    """Take the token in *folder* away, as somebody who pulls a device out does."""
    tokens, elsewhere = folder / softhsm.TOKENS, folder / "elsewhere"
    tokens.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(tokens)


@contextmanager
def token_unreadable(folder: Path) -> Iterator[None]:
    """
    Put a file where the token in *folder* was: every look into it fails, for root as well.

    Taking permissions away would not: root reads what it likes.
    """
    tokens = folder / softhsm.TOKENS
    with token_away(folder):
        tokens.write_bytes(b"")
        try:
            yield
        finally:
            tokens.unlink()

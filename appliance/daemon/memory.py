"""
What lives as long as the daemon is put where Python's collector of cycles no longer looks.

A full collection walks over everything there is. After a start these are a hundred thousand objects, nearly all of
them code and settings that stay: 60 ms on a gateway's processor, in which no card and no desk is answered. Frozen they are
still freed with their last reference; only cycles among them stay until they are thawed, at the next `settle`.
"""

import gc


def settle() -> None:
    """
    Collect what is gone, and freeze what is there. It takes as long as a full collection, in which nobody is answered.

    At the start nobody waits yet. After a reload people may, and that is its price, once; an earlier configuration that is
    still in use is frozen once more with the rest, so cycles in it stay until the reload after.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()

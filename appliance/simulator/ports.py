"""
TCP ports for programs that have to be told theirs before they listen.

One that the system picks may be somebody else's a moment later: from the same range (`ip_local_port_range`, 32768 and
above) it serves every connection, and every listener that does not care. So these lie below it.
"""

import errno
import random
import socket
from collections.abc import Sequence


def free(among: Sequence[int]) -> int:
    """Return a port of *among* that is free at this moment; raise OSError where there is none."""
    for port in random.sample(among, len(among)):
        if is_free(port):
            return port
    raise OSError(errno.EADDRINUSE, f"none of the ports {among[0]} to {among[-1]} is free")


def is_free(port: int) -> bool:
    """Whether nobody has *port* on any address."""
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True

"""What a process that knows the PIN does first of all."""

import ctypes
import resource
import signal

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """Keep the PIN and what the module holds to this process, and leave its end to whoever started it."""
    conceal()
    # SIGABRT is the service manager's word when the daemon hangs: it goes to the whole group, and must not hit a login.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGABRT):
        signal.signal(name, signal.SIG_IGN)


def conceal() -> None:
    """Keep what is in memory out of core files and other processes' reach."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not in the standard library: without it, a process of the same user may attach and read memory. Where
    # it is refused the process is no worse off than any other.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

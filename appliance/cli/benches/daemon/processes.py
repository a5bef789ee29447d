"""Processor time and memory of processes, as the kernel counts them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds of processor time: of the daemon's event loop, of its other threads, and of its children."""

    loop: float
    threads: float
    children: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.loop + self.threads + self.children

    def since(self, before: "Used") -> "Used":
        """Return what was used since *before*."""
        return Used(self.loop - before.loop, self.threads - before.threads, self.children - before.children)


def used(pid: int) -> Used:
    """Return what the process *pid* and its children have used up to now."""
    loop = _seconds(Path(f"/proc/{pid}/task/{pid}"))
    threads = sum(_seconds(task) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid))
    children = sum(
        _seconds(task) for child in _descendants(pid) for task in Path(f"/proc/{child}/task").iterdir()
    )
    return Used(loop, threads, children)


def resident(pid: int) -> int:
    """Return how many bytes of memory the process *pid* and its children have, pages they share counted once each."""
    return sum(_resident(one) for one in (pid, *_descendants(pid)))


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"the process {pid} has no memory")


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from _descendants(child)


def _seconds(task: Path) -> float:
    return int((task / "schedstat").read_text().split()[0]) / _NANOSECONDS

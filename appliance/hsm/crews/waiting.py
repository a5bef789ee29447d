"""The queue before the workers: bounded, in order of arrival, and left at any time."""

from collections import OrderedDict
from collections.abc import Iterator

from appliance.hsm.crews.line import Job


class WaitingRoom:
    """Jobs that wait, at most *limit*."""

    __slots__ = ("_jobs", "_limit")

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("a queue holds at least one request")
        self._limit = limit
        self._jobs: OrderedDict[int, Job] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._jobs.values()))

    @property
    def first(self) -> Job | None:
        """Who has waited longest."""
        return next(iter(self._jobs.values()), None)

    @property
    def is_full(self) -> bool:
        """Whether nobody else may come in."""
        return len(self._jobs) >= self._limit

    def enter(self, job: Job) -> None:
        """Wait behind all others."""
        self._jobs[id(job)] = job

    def enter_again(self, job: Job) -> None:
        """Wait before all others: a worker has handed *job* back. There is always room for it."""
        self._jobs[id(job)] = job
        self._jobs.move_to_end(id(job), last=False)

    def leave(self, job: Job) -> None:
        """Wait no longer."""
        self._jobs.pop(id(job), None)

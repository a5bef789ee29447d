"""Takes requests out of their folder: those that are complete at once, what else lies there when it has settled."""

import logging
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from appliance.catalogue import Language
from appliance.errors import ApplianceError, HandoverError, HandoverFileRefused, HandoverLate
from appliance.handover import folder
from appliance.handover.folder import Claimed, Found
from appliance.handover.request import Request, is_complete, parse, wishes
from appliance.handover.settings import RequestSettings

_LOG = logging.getLogger(__name__)
_MOST_REFUSED: Final = 64
"""At a look, beside what can be carried out at once: whoever fills the folder with rubbish keeps nobody waiting long."""
_MOST_STUCK: Final = 4096
_AHEAD_SECONDS: Final = 60.0
"""How far a file's time may lie ahead: the clock of a share is not ours."""


@dataclass(slots=True)
class Taken:
    """A claimed file: its *request*, or the *error* for which it is refused."""

    claimed: Claimed
    request: Request | None = field(default=None, repr=False)
    error: ApplianceError | None = None
    language: Language | None = None
    """What the request asks for, as the next one."""
    encoding: str = "utf-8"
    again: bool = False
    """Whether a request of the same name was begun before."""
    begun: bool = False
    """Whether this one was begun, by this process."""


@dataclass(slots=True)
class _Seen:
    """Since when a file lies there unchanged, and whether it is a request, once that was looked at."""

    since: float
    is_request: bool | None = None


@dataclass(slots=True)
class Intake:
    """Takes from the folder *requests* into *work*, where nobody else works."""

    requests: Path
    work: Path
    settings: RequestSettings
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Found, _Seen] = field(default_factory=dict)
    _stuck: set[Found] = field(default_factory=set)

    def take(self, now: float, under_way: int) -> list[Taken]:
        """
        Return what can be taken, *under_way* being how many have not ended; or raise OSError.

        *now* is compared with the times of files.
        """
        taken: list[Taken] = []
        room = self.settings.at_once - under_way
        rubbish = max(0, min(_MOST_REFUSED, room + _MOST_REFUSED))
        with folder.opened(self.requests) as requests, folder.opened(self.work) as work:
            lying = folder.look(requests)
            self._seen = {one: self._seen.get(one) or _Seen(self.clock()) for one in lying}
            self._stuck &= set(lying)
            for found, seen in self._seen.items():
                if found in self._stuck:
                    continue
                is_request = self._is_request(found, seen, requests)
                if is_request and room <= 0:
                    continue
                if not is_request and (rubbish <= 0 or not self._has_settled(seen)):
                    continue
                claimed = self._claim(found, requests, work)
                if claimed is None:
                    continue
                one = self._opened(claimed, work, now)
                room -= one.error is None
                rubbish -= one.error is not None
                taken.append(one)
        return taken

    def left_over(self) -> list[Claimed]:
        """Return what was claimed by an earlier process; or raise OSError."""
        with folder.opened(self.work) as work:
            return folder.left_over(work)

    def opened(self, claimed: Claimed, now: float) -> Taken:
        """Return what was *claimed*."""
        with folder.opened(self.work) as work:
            return self._opened(claimed, work, now)

    def discard(self, claimed: Claimed) -> None:
        """Remove what was *claimed*."""
        with folder.opened(self.work) as work:
            folder.discard(work, claimed)

    def _is_request(self, found: Found, seen: _Seen, requests: int) -> bool:
        """Return whether *found* looks like a request that is written to its end. It still can change."""
        if seen.is_request is None and stat.S_ISREG(found.kind):
            try:
                seen.is_request = is_complete(folder.read(requests, found.name))
            except (OSError, HandoverError):
                seen.is_request = False
        return seen.is_request or False

    def _has_settled(self, seen: _Seen) -> bool:
        return self.clock() - seen.since >= self.settings.settle_seconds

    def _claim(self, found: Found, requests: int, work: int) -> Claimed | None:
        try:
            return folder.claim(found, requests, work)
        except OSError as error:
            # What cannot be taken stays, and is told of once: nobody could be kept from putting it there again.
            if len(self._stuck) < _MOST_STUCK:
                self._stuck.add(found)
            _LOG.warning("what lies in the request folder cannot be taken error=%s", error.strerror)
            return None

    def _opened(self, claimed: Claimed, work: int, now: float) -> Taken:
        try:
            content = folder.read(work, claimed.name)
        except HandoverFileRefused as error:
            return Taken(claimed, error=error)
        except OSError:
            return Taken(claimed, error=HandoverFileRefused("the file is gone"))
        language, encoding = wishes(content)
        taken = Taken(claimed, language=language, encoding=encoding)
        try:
            if not folder.is_stem(claimed.stem):
                raise HandoverFileRefused("the file's name is none that a request may have")
            age = now - folder.changed(work, claimed.name)
            taken.request = parse(content)
            if not -_AHEAD_SECONDS <= age <= self.settings.longest_age_seconds:
                raise HandoverLate(
                    f"the request is not of the last {self.settings.longest_age_seconds:g} seconds; are both clocks right?"
                )
        except HandoverError as error:
            taken.error = error
        except OSError:
            # On a share a file can go away between any two looks.
            taken.error = HandoverFileRefused("the file is gone")
        return taken

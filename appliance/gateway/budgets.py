"""
What each peer may ask for: so many in a minute, so many at once, so many in a day. Pure: time is an argument.

A minute's budget is a bucket that fills evenly: a burst may take all of it, and then one at a time comes back. Looking
(long polls, events, checks of health) has a bucket of its own, ten times as large, so that whoever only waits for a
result does not use up what results are made with.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from appliance.config import BudgetSettings
from appliance.errors import BudgetSpent
from appliance.gateway.peers import Peer

LOOKS_PER_WORK: Final = 10
_MINUTE: Final = 60.0
_DAY: Final = 86_400.0
_AGAIN_AT_ONCE: Final = 1.0
"""When to come again where something has to end first: nobody knows, so soon."""


class Bucket:
    """Holds up to *per_minute*, and fills by as much in a minute."""

    __slots__ = ("_at", "_level", "capacity")

    def __init__(self, per_minute: int, now: float) -> None:
        self.capacity = float(per_minute)
        self._level = self.capacity
        self._at = now

    def take(self, now: float) -> float:
        """Take one and return 0; or take none and return the seconds until there is one."""
        # A clock that goes back fills nothing.
        self._level = min(self.capacity, self._level + max(0.0, now - self._at) * self.capacity / _MINUTE)
        self._at = max(self._at, now)
        if self._level >= 1.0:
            self._level -= 1.0
            return 0.0
        return max((1.0 - self._level) * _MINUTE / self.capacity, 0.001)


class Account:
    """What one peer has asked for lately."""

    __slots__ = ("_began", "_looks", "_work", "budget", "today")

    def __init__(self, budget: BudgetSettings, now: float) -> None:
        self.budget = budget
        self.today = 0
        self._began = now
        self._work = Bucket(budget.per_minute, now)
        self._looks = Bucket(budget.per_minute * LOOKS_PER_WORK, now)

    def look(self, now: float) -> None:
        """Count one request that only looks, or raise BudgetSpent."""
        seconds = self._looks.take(now)
        if seconds:
            raise BudgetSpent("more requests in a minute than the budget has", seconds)

    def work(self, now: float) -> None:
        """Count one request that has something made, or raise BudgetSpent and count nothing."""
        if now - self._began >= _DAY:
            self.today, self._began = 0, now
        if self.today >= self.budget.per_day:
            raise BudgetSpent("more requests in a day than the budget has", self._began + _DAY - now)
        seconds = self._work.take(now)
        if seconds:
            raise BudgetSpent("more requests in a minute than the budget has", seconds)
        self.today += 1

    def changed(self, budget: BudgetSettings, now: float) -> "Account":
        """Return the same account with another *budget*."""
        account = Account(budget, now)
        account.today, account._began = self.today, self._began
        return account


class Budgets:
    """The accounts of all peers. *monotonic* is a clock in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._accounts: dict[str, Account] = {}
        self._under_way: Counter[str] = Counter()

    def look(self, peer: Peer) -> None:
        """Count one request of *peer* that only looks, or raise BudgetSpent."""
        now = self._monotonic()
        self._account(peer, now).look(now)

    def work(self, peer: Peer) -> None:
        """Count one request of *peer* that has something made, or raise BudgetSpent."""
        now = self._monotonic()
        self._account(peer, now).work(now)

    def begin(self, peer: Peer) -> Callable[[], None]:
        """Count one more of *peer* under way, or raise BudgetSpent; return what is to be called once it has ended."""
        if self._under_way[peer.alias] >= peer.budget.at_once:
            raise BudgetSpent("more requests at once than the budget has", _AGAIN_AT_ONCE)
        self._under_way[peer.alias] += 1
        has_ended = False

        def end() -> None:
            nonlocal has_ended
            if not has_ended:
                has_ended = True
                self._under_way[peer.alias] -= 1

        return end

    def under_way(self, alias: str) -> int:
        """Return how much of the peer *alias* is under way."""
        return self._under_way[alias]

    def _account(self, peer: Peer, now: float) -> Account:
        account = self._accounts.get(peer.alias)
        if account is None:
            account = self._accounts[peer.alias] = Account(peer.budget, now)
        elif account.budget != peer.budget:
            account = self._accounts[peer.alias] = account.changed(peer.budget, now)
        return account

"""What lies on each of the terminal's readers, and how often a card was put on it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from appliance.terminals.messages import Card, CardState
from appliance.terminals.readers import Readers
from appliance.terminals.view import CardInserted, CardTaken, ReaderDown, ReaderUp


@dataclass(frozen=True, slots=True)
class Lying:
    """What is on one reader; *insertion* goes up with every card and never down."""

    state: CardState = CardState.ABSENT
    insertion: int = 0


class Places:
    """
    Follows the readers called *aliases*.

    *changed* is told the alias of each that is another way than before.
    """

    def __init__(self, aliases: tuple[str, ...], changed: Callable[[str, Lying], None]) -> None:
        self._lying = dict.fromkeys(aliases, Lying())
        self._changed = changed
        self._news = asyncio.Event()

    async def follow(self, readers: Readers) -> None:
        """Follow what happens at *readers*, without end."""
        async for event in readers.events():
            before = self._lying[event.reader]
            match event:
                case ReaderUp():
                    after = Lying(CardState.EMPTY, before.insertion)
                case ReaderDown():
                    after = Lying(CardState.ABSENT, before.insertion)
                case CardTaken():
                    after = Lying(CardState.EMPTY, before.insertion)
                case CardInserted():
                    after = Lying(CardState.PRESENT, before.insertion + 1)
            self._lying[event.reader] = after
            self._changed(event.reader, after)
            self.look()

    def __getitem__(self, alias: str) -> Lying:
        """Return what lies on the reader *alias*; a KeyError where there is no such reader."""
        return self._lying[alias]

    def look(self) -> None:
        """Have `announcements` look again: what was held back may be told now."""
        self._news.set()
        self._news = asyncio.Event()

    async def announcements(self, held_back: Callable[[str], bool]) -> AsyncIterator[Card]:
        """
        Yield what lies on each reader, and then whatever is another way than was yielded last, without end.

        Nothing is said of a reader as long as it is *held_back*.
        """
        told: dict[str, Lying] = {}
        while True:
            news = self._news
            for alias in self._lying:
                if told.get(alias) != (lying := self._lying[alias]) and not held_back(alias):
                    told[alias] = lying
                    yield Card(reader=alias, state=lying.state, insertion=lying.insertion)
            await news.wait()

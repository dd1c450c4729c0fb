"""The desk: one reading at a time, each in a thread, so that whoever serves the page never waits for disk or pages.

A reading that has not yet read the whole journal answers with how far it is, or is repeated until it has.
"""

from collections.abc import Callable
from typing import TypeVar

import trio

from node.browse.reading import Reading, Sight
from node.home import Home

T = TypeVar("T")
MAX_WAITING = 32  # who waits for the desk at a time; the next is told to come again


class DeskBusy(Exception):
    """Too many want something at once."""


class Desk:
    def __init__(self, home: Home) -> None:
        self.home = home
        self._reading = Reading(home)
        self._turn = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)

    async def ask(self, topic: str | None, use: Callable[[Sight], T]) -> T:
        """Raises SwarmError, DeskBusy."""
        return await self._in_turn(lambda: self._reading.look(topic, use))

    async def ask_when_read(self, topic: str | None, use: Callable[[Sight], T]) -> T:
        """The same, once the whole journal has been read."""
        while True:
            behind, made = await self.ask(topic, lambda s: (True, None) if s.behind else (False, use(s)))
            if not behind:
                assert made is not None
                return made

    async def change(self, topic: str | None) -> tuple[str, int]:
        """What moves when there is news. Raises SwarmError, DeskBusy."""
        return await self._in_turn(lambda: self._reading.change(topic))

    async def _in_turn(self, read: Callable[[], T]) -> T:
        if self._turn.statistics().tasks_waiting >= MAX_WAITING:
            raise DeskBusy
        async with self._turn:
            return await trio.to_thread.run_sync(read, limiter=self._limiter)

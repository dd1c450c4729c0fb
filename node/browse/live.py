"""What changes, told to open pages as server-sent events: what the node does now, and that there are new runs.

One look a second whoever listens, as long as somebody does; so many listeners, so long each. The browser comes again by
itself.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import trio

from node.browse.asked import Asked
from node.browse.desk import Desk, DeskBusy
from node.browse.draw import html_of
from swarm.words import SwarmError

MAX_LISTENERS = 16
LOOK_SECONDS = 1.0
QUIET_SECONDS = 15.0  # then a comment is sent, so that a dead connection is noticed
LISTEN_SECONDS = 600.0


@dataclass(frozen=True)
class _Seen:
    at: float  # trio's clock
    now: str  # HTML of what the node does
    change: tuple[str, int]


class Live:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._listeners = 0
        self._seen: dict[str | None, _Seen] = {}
        self._turn = trio.Lock()

    @property
    def has_room(self) -> bool:
        return self._listeners < MAX_LISTENERS

    async def listen(self, asked: Asked) -> AsyncIterator[bytes]:
        """Bytes of an event stream, until it has lasted long enough or whoever reads it goes."""
        self._listeners += 1
        try:
            yield b"retry: 3000\n\n"
            last: _Seen | None = None
            told = until = trio.current_time()
            until += LISTEN_SECONDS
            while trio.current_time() < until:
                seen = await self._look(asked)
                parts = _news(last, seen)
                if not parts and trio.current_time() - told >= QUIET_SECONDS:
                    parts = [b": nothing new\n\n"]
                for part in parts:
                    told = trio.current_time()
                    yield part
                last = seen
                await trio.sleep(LOOK_SECONDS)
        finally:
            self._listeners -= 1

    async def _look(self, asked: Asked) -> _Seen | None:
        """What was seen a moment ago serves everybody."""
        async with self._turn:
            seen, now = self._seen.get(asked.topic), trio.current_time()
            if seen is not None and now - seen.at < LOOK_SECONDS * 0.9:
                return seen
            try:
                change = await self._desk.change(asked.topic)
                html = await self._desk.ask(asked.topic, lambda sight: html_of(sight, Asked("now", asked.pairs)))
            except (SwarmError, DeskBusy):
                return seen
            if len(self._seen) > MAX_LISTENERS:
                self._seen.clear()
            self._seen[asked.topic] = made = _Seen(trio.current_time(), html, change)
            return made


def _news(last: _Seen | None, seen: _Seen | None) -> list[bytes]:
    """The first time, only where things stand: the page has just been made."""
    if seen is None:
        return []
    told: list[bytes] = []
    if last is None or seen.now != last.now:
        told.append(event("now", seen.now))
    if last is not None and seen.change != last.change:
        told.append(event("runs", str(seen.change[1])))
    return told


def event(name: str, text: str) -> bytes:
    """As one line of JSON: a line end in the text cannot become a field of the stream."""
    return f"event: {name}\ndata: {json.dumps(text)}\n\n".encode()

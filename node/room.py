"""Room on the disk: noticing that there is none, saying so once, and waiting until there is.

A disk that fills up overnight must cost waiting, never a finding, and no trial may be called bad for it.
"""

import shutil
from pathlib import Path

import trio

from node.events import Events
from node.sandbox.watch import FREE_BYTES

# What the sandbox leaves to others, or it would end each trial for lack of room while there seems to be some; and a
# trial's scratch folder with the weights of the largest config, and its commit: a guess.
ENOUGH_BYTES = FREE_BYTES + (128 << 20)
LOOK_SECONDS = 5.0


class Room:
    def __init__(self, path: Path, events: Events, enough_bytes: int = ENOUGH_BYTES) -> None:
        self._path = path
        self._events = events
        self._enough_bytes = enough_bytes

    def lacking(self) -> str | None:
        """A sentence when there is too little, else None."""
        free = shutil.disk_usage(self._path).free
        if free >= self._enough_bytes:
            return None
        return f"only {free / 2**20:.1f} MB are free at {self._path}, a node needs {self._enough_bytes / 2**20:.0f} MB"

    async def wait(self) -> None:
        """Until there is room: at once, or with a notice before and after."""
        problem = self.lacking()
        if problem is None:
            return
        self._events.notice(f"{problem}: waiting until there is room, nothing is lost", warning=True)
        while self.lacking() is not None:  # noqa: ASYNC110 - nobody wakes us when a file is deleted
            await trio.sleep(LOOK_SECONDS)
        self._events.notice("there is room on the disk again: going on")

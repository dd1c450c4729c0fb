"""The disk of a simulated node: journal and room as they are, on memory that can be called full.

The journal is the real one, its SQL too. Only frames are kept once for all nodes of the process, by their hash: a night
of 35 nodes would fill the machine otherwise.
"""

import contextlib
import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from node.events import Events
from node.journal import Journal, JournalError
from node.room import Room

_REFERENCE_BYTES = 32


class Frames:
    """Each once, by its SHA-256."""

    def __init__(self) -> None:
        self._frames: dict[bytes, bytes] = {}
        self._references: dict[bytes, bytes] = {}

    def keep(self, frame: bytes) -> bytes:
        """A reference to it."""
        reference = self._references.get(frame)
        if reference is None:
            reference = self._references[frame] = hashlib.sha256(frame).digest()
            self._frames[reference] = frame
        return reference

    def restored(self, value: object) -> Any:  # Any: a column's own type
        """The frame, if it is a reference to one; else the value."""
        if isinstance(value, bytes) and len(value) == _REFERENCE_BYTES:
            return self._frames.get(value, value)
        return value


class Disk:
    def __init__(self) -> None:
        self.full = False


class SimulatedRoom(Room):
    def __init__(self, disk: Disk, events: Events) -> None:
        super().__init__(Path("/"), events)
        self._disk = disk

    def lacking(self) -> str | None:
        return "the simulated disk is full" if self._disk.full else None


class SimulatedJournal(Journal):
    def __init__(self, disk: Disk, frames: Frames) -> None:
        self._disk, self._frames = disk, frames
        super().__init__(None)

    def query(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        rows = super().query(sql, values)
        if not rows or bytes not in map(type, rows[0]):
            return rows
        return [tuple([self._frames.restored(value) for value in row]) for row in rows]

    def execute(self, sql: str, values: tuple[object, ...] = ()) -> int:
        return super().execute(sql, tuple(self._frames.keep(one) if isinstance(one, bytes) else one for one in values))

    @contextlib.contextmanager
    def transaction(self, *, durable: bool) -> Generator[None]:
        if self._disk.full:
            raise JournalError("journal: database or disk is full")
        if not durable:  # one statement each, of which there are very many, or many that may be done again
            yield
            return
        with super().transaction(durable=True):
            yield

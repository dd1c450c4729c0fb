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

Frames = dict[bytes, bytes]  # by SHA-256
_REFERENCE_BYTES = 32


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
        if not any(self._is_reference(value) for row in rows[:1] for value in row):
            return rows
        return [tuple(self._frames[value] if self._is_reference(value) else value for value in row) for row in rows]

    def execute(self, sql: str, values: tuple[object, ...] = ()) -> int:
        return super().execute(sql, tuple(self._kept(one) if isinstance(one, bytes) else one for one in values))

    @contextlib.contextmanager
    def transaction(self, *, durable: bool) -> Generator[None]:
        if self._disk.full:
            raise JournalError("journal: database or disk is full")
        with super().transaction(durable=durable):
            yield

    def _kept(self, frame: bytes) -> bytes:
        reference = hashlib.sha256(frame).digest()
        self._frames.setdefault(reference, frame)
        return reference

    def _is_reference(self, value: object) -> bool:
        return isinstance(value, bytes) and len(value) == _REFERENCE_BYTES and value in self._frames

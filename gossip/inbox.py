"""Records on their way from the network to whoever keeps them: a queue of its own for each peer that brings some.

One record of each peer in turn. When there are too many, the newest of whoever fills most goes: a flooder loses its
own.
"""

from collections import deque

import trio

from gossip.envelope import Record

MAX_RECORDS = 1024
MAX_BYTES = 32 * 1024 * 1024


class Inbox:
    def __init__(self, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._queues: dict[str, deque[Record]] = {}  # of the peers that have something here; the first has its turn
        self._bytes: dict[str, int] = {}
        self._records = 0
        self._filled = trio.Event()

    def __len__(self) -> int:
        return self._records

    def put(self, forwarder: str, record: Record) -> Record | None:
        """None, or the record that has no place: it or another one."""
        self._queues.setdefault(forwarder, deque()).append(record)
        self._count(forwarder, 1, len(record.frame))
        self._filled.set()
        if self._records <= self._max_records and sum(self._bytes.values()) <= self._max_bytes:
            return None
        fullest = max(self._queues, key=lambda peer: (self._bytes[peer], len(self._queues[peer]), peer == forwarder))
        dropped = self._queues[fullest].pop()
        self._count(fullest, -1, -len(dropped.frame))
        return dropped

    async def get(self) -> tuple[str, Record]:
        """Who brought the next record, and it, when there is one."""
        while not self._records:
            self._filled = trio.Event()
            await self._filled.wait()
        peer = next(iter(self._queues))
        record = self._queues[peer].popleft()
        waiting = self._queues.pop(peer)
        self._queues[peer] = waiting  # to the end of the turn
        self._count(peer, -1, -len(record.frame))
        return peer, record

    def _count(self, peer: str, records: int, size: int) -> None:
        self._records += records
        self._bytes[peer] = self._bytes.get(peer, 0) + size
        if not self._queues[peer]:
            del self._queues[peer], self._bytes[peer]

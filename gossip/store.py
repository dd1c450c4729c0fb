"""The port to where records are kept. One store holds the records of one brief. Calls are synchronous and short."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from gossip.envelope import Record


class RecordStore(Protocol):
    def heads(self) -> Mapping[str, int]:
        """Author -> highest sequence number up to which nothing is missing. Authors without record 1 are left out.
        It may change as records come: whoever keeps it copies it."""
        ...

    def records_after(self, heads: Mapping[str, int], limit_bytes: int) -> list[bytes]:
        """Frames the asker lacks: heads.get(author, 0) < seq <= our own head of that author, by author, then seq.

        Only what we hold without a gap is given: a record behind a gap would be sent again at every request, because
        the asker's head cannot move past the gap. Stops before `limit_bytes` is exceeded, but gives at least one frame
        if there is any.
        """
        ...

    def unsent(self) -> list[Record]:
        """Own records that no peer was sent yet, oldest first. At most some hundreds at a time."""
        ...

    def mark_sent(self, ids: Iterable[str]) -> None: ...

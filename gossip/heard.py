"""How records came to us, and the latest of those that were not taken: what makes a record's story.

Pure: time is passed in. Refusals are remembered by the id that the bytes have, whether or not they are a record: forged
bytes that name an author are nothing that he did. Memory is bounded; nothing is kept on disk here.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from gossip.envelope import MAX_FRAME_BYTES, SIGNATURE_BYTES, record_id
from gossip.refusal import Refusal, RefusalReason

MAX_REFUSED = 1000
MAX_SENTENCE_CHARACTERS = 200
# Ordinary: the record itself is here, or comes again by itself.
_NO_REFUSALS = (RefusalReason.DUPLICATE, RefusalReason.KNOWN, RefusalReason.RATE_OF_FORWARDER)


class Way(StrEnum):
    OWN = "own"  # made here
    BROADCAST = "broadcast"
    CATCHUP = "catchup"


@dataclass(frozen=True, slots=True)
class Heard:
    """How a record came."""

    peer: str  # who gave it to us, not who wrote it
    way: Way


@dataclass(slots=True)
class Refused:
    """Something that was not taken, and how often it came from one peer. Times are unix seconds."""

    id: str  # of the record that the bytes are, or would be
    heard: Heard  # the last time
    reason: RefusalReason
    sentence: str
    first_at: float
    last_at: float
    times: int = 1


class RefusedRecords:
    """The latest ones. The same from one peer for one reason is one entry, so that a flood fills one place of many."""

    def __init__(self, max_entries: int = MAX_REFUSED) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[tuple[str, str, RefusalReason], Refused] = OrderedDict()

    def note(self, frame: bytes, heard: Heard, refusal: Refusal, now: float) -> None:
        if refusal.reason in _NO_REFUSALS or len(frame) > MAX_FRAME_BYTES:  # hashing megabytes is work for a flooder
            return
        id = record_id(frame[SIGNATURE_BYTES:])
        key = (id, heard.peer, refusal.reason)
        entry = self._entries.get(key)
        if entry is None:
            sentence = refusal.sentence[:MAX_SENTENCE_CHARACTERS]
            self._entries[key] = Refused(id, heard, refusal.reason, sentence, now, now)
            if len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
            return
        entry.heard, entry.last_at = heard, now
        entry.times += 1
        self._entries.move_to_end(key)

    def __iter__(self) -> Iterator[Refused]:
        """Oldest first."""
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

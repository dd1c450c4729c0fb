"""Who gets in: the checks between the network and the rest of the node. Pure: time is passed in, nothing is sent.

Size, rate, duplicate, signature, brief, author; what the payload says is judged by the one who reads it. Memory is
bounded whatever strangers send. Order matters: a forged frame costs its forwarder, never the author it names; nor does
an author's old record cost the author, whoever sends it again.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gossip.budgets import Budgets, Rate
from gossip.envelope import MAX_FRAME_BYTES, SIGNATURE_BYTES, Record, open_frame
from gossip.packing import Packing
from gossip.refusal import Refusal, RefusalReason, Refused

_CLOCK_AHEAD_MS = 10 * 60 * 1000  # guess: beyond this an author's clock is called wrong, and tolerated

# Guesses with room: a node makes a record in a minute or so; a restart may send a night's worth at once, and what is
# dropped here comes with the next catch-up.
AUTHOR_RATE = Rate(per_second=20, burst=400)
FORWARDER_RATE = Rate(per_second=200, burst=2000)
_REMEMBERED_IDS = 20_000


@dataclass(frozen=True, slots=True)
class Admitted:
    record: Record


class Admission:
    def __init__(
        self,
        brief: str,
        *,
        author_rate: Rate = AUTHOR_RATE,
        forwarder_rate: Rate = FORWARDER_RATE,
        remembered_ids: int = _REMEMBERED_IDS,
        refuse_author: Callable[[str], Refusal | None] | None = None,
        is_known: Callable[[Record], bool] | None = None,
        packing: Packing | None = None,
    ) -> None:
        """`refuse_author`: whose records are not taken, and why. `is_known`: whether the store has a record.

        `packing`: how broadcasts of the brief are compressed.
        """
        self.brief = brief
        self.packing = packing or Packing()
        self._refuse_author = refuse_author
        self._is_known = is_known
        self._authors = Budgets(author_rate)
        self._forwarders = Budgets(forwarder_rate)
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._remembered_ids = remembered_ids
        self._counts: Counter[str] = Counter()

    def admit(self, data: bytes, from_peer: str, now: float, *, wall_ms: int | None = None) -> Admitted | Refusal:
        """What was broadcast to us. `now`: seconds of a steady clock; `wall_ms` only notices wrong clocks."""
        try:
            record = self._open(self._unopened(data, from_peer, now))
            if self._is_known is not None and self._is_known(record):
                raise Refused(RefusalReason.KNOWN, f"record {record.id} is in the store")
            if not self._authors.take(record.author, now):
                raise Refused(RefusalReason.RATE_OF_AUTHOR, f"{record.author} publishes too fast")
        except Refused as refused:
            return self.count(refused.refusal)
        self._remember(bytes.fromhex(record.id))
        self._counts["accepted"] += 1
        if wall_ms is not None and record.at_ms > wall_ms + _CLOCK_AHEAD_MS:
            self._counts["clock_ahead"] += 1
        return Admitted(record)

    def admit_pulled(self, frame: bytes) -> Admitted | Refusal:
        """A frame we asked for. No rates: asking was our pace. No duplicates: the store knows better what it lacks."""
        try:
            record = self._open(frame)
        except Refused as refused:
            return self.count(refused.refusal)
        self._remember(bytes.fromhex(record.id))
        self._counts["accepted_pulled"] += 1
        return Admitted(record)

    def forget(self, record: Record) -> None:
        """After all it was not taken (inbox full): let it come again."""
        self._seen.pop(bytes.fromhex(record.id), None)

    def count(self, refusal: Refusal) -> Refusal:
        """Count a refusal decided elsewhere (content, inbox) with the others."""
        self._counts[refusal.reason.value] += 1
        return refusal

    def statistics(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

    def _unopened(self, data: bytes, from_peer: str, now: float) -> bytes:
        """The frame that was broadcast, if it is worth opening. Whoever sends too fast has nothing decompressed."""
        if len(data) > MAX_FRAME_BYTES:
            raise Refused(RefusalReason.OVERSIZE, f"frame of {len(data)} bytes is larger than {MAX_FRAME_BYTES}")
        if not self._forwarders.take(from_peer, now):
            raise Refused(RefusalReason.RATE_OF_FORWARDER, f"{from_peer} sends too fast")
        frame = self.packing.unpack(data)
        if hashlib.sha256(frame[SIGNATURE_BYTES:]).digest() in self._seen:
            raise Refused(RefusalReason.DUPLICATE, "record was here before")
        return frame

    def _open(self, frame: bytes) -> Record:
        record = open_frame(frame)
        if record.brief != self.brief:
            raise Refused(RefusalReason.WRONG_BRIEF, f"record belongs to brief {record.brief}")
        unwanted = None if self._refuse_author is None else self._refuse_author(record.author)
        if unwanted is not None:
            raise Refused(unwanted.reason, unwanted.sentence)
        return record

    def _remember(self, digest: bytes) -> None:
        self._seen[digest] = None
        self._seen.move_to_end(digest)
        while len(self._seen) > self._remembered_ids:
            self._seen.popitem(last=False)

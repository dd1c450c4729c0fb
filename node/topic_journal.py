"""The part of the journal that belongs to one brief: logs and heads of authors, proofs that an author contradicts
itself, what is still to be told, and how each record came. gossip's `RecordStore` and `Forks`.

Knows the tables and asks node/journal.py for rows; what a record says is the notebook's business.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from gossip.envelope import Record, open_frame
from gossip.forks import NO_MORE, TIP_BYTES, contradict
from gossip.heard import Heard, Way
from swarm.words import SwarmError

if TYPE_CHECKING:
    from node.journal import Journal


_UNSENT = 256  # records that are handed out at a time


@dataclass(frozen=True, slots=True)
class Fork:
    """An author's contradiction, proven by two of its records."""

    author: str
    first: Record
    second: Record
    at: float  # our wall clock


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a record came here."""

    author: str
    made_ms: int  # its author's clock, unix milliseconds
    received: float  # our wall clock, unix seconds
    peer: str  # who gave it to us; empty of our own, and where it was not kept
    way: Way | None  # None: not kept
    told: bool  # to somebody, by us; of others' records: always

    @property
    def ahead_seconds(self) -> float:
        """Its author's time minus ours when it came."""
        return self.made_ms / 1000 - self.received


def _tip(id: str) -> bytes:
    return bytes.fromhex(id[: 2 * TIP_BYTES])


class TopicJournal:
    """Records of one brief: gossip's `RecordStore` and `Forks`."""

    def __init__(self, journal: "Journal", brief: str) -> None:
        self.journal = journal
        self.brief = brief
        self._told: dict[str, None] = {}  # and the disk does not know it yet
        self._may_have_unsent = True
        self._held_back = ""  # an author of whom only that is told which others gave us or were given
        self._forked = set(journal.forked(brief))
        self._ids: dict[str, str] = {}  # author -> id of the record at its head
        self._tips: dict[str, bytes] = {}  # of these ids, the beginnings
        # Of whom more is here than their head says. Of everybody else what is here is told by the head alone, so that
        # nearly all records come and go without a look at the tables.
        self._untidy: set[str] = set(self._forked)
        self._heads = self._read_heads()

    def _read_heads(self) -> dict[str, int]:
        rows = self.journal.query(
            "SELECT author, seq, id FROM records WHERE brief = ? ORDER BY author, seq", (self.brief,)
        )
        heads: dict[str, int] = {}
        for author, seq, id in rows:
            if seq == heads.get(author, 0) + 1 and author not in self._forked:
                heads[author], self._ids[author] = seq, id
            else:
                self._untidy.add(author)
        self._tips = {author: _tip(self._ids[author]) for author in heads}
        return heads

    def append(self, record: Record, *, received: float, own: bool, heard: Heard | None = None) -> bool:
        """Store a record; False if its place in the author's log is taken (see `at`). Our own are durable on return."""
        peer, way = ("", Way.OWN) if own else ("", "") if heard is None else (heard.peer, heard.way)
        with self.journal.transaction(durable=own):
            added = self._insert(record, received, sent=not own, peer=peer, way=str(way))
        if added:
            self._move_head(record)
            self._may_have_unsent |= own
        return bool(added)

    def _move_head(self, record: Record) -> None:
        author, is_next = record.author, record.seq == self._heads.get(record.author, 0) + 1
        if not is_next:
            self._untidy.add(author)
        elif author not in self._untidy:
            self._set_head(author, record.seq, record.id)
        elif author not in self._forked:
            self._advance(author)

    def append_log(self, records: Sequence[Record], received: float, commits: Mapping[str, str]) -> None:
        """Store another author's whole log, and what commits its findings are: all of it or nothing."""
        with self.journal.transaction(durable=True):
            for record in records:
                added = self._insert(record, received, sent=True, peer="", way="")
                assert added, f"{record.id}, at {record.seq} of {record.author}, is here already"
            for id, commit in commits.items():
                self.journal.remember_commit(id, commit)
        self._heads = self._read_heads()

    def _insert(self, record: Record, received: float, *, sent: bool, peer: str, way: str) -> int:
        return self.journal.execute(
            "INSERT OR IGNORE INTO records (id, brief, author, seq, kind, received, sent, frame, heard_from, way,"
            " made_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(record.id, self.brief, record.author, record.seq, record.kind, received, int(sent)),
                *(record.frame, peer, way, record.at_ms),
            ),
        )

    def _advance(self, author: str) -> None:
        """Move an author's head over what is now contiguous: records may have come in any order."""
        head = self._heads.get(author, 0)
        rows = self.journal.query(
            "SELECT seq, id FROM records WHERE brief = ? AND author = ? AND seq > ? AND sent >= ? ORDER BY seq",
            (self.brief, author, head, int(author == self._held_back)),
        )
        for seq, id in rows:
            if seq != head + 1:
                return
            head = seq
            self._set_head(author, seq, id)
        if author != self._held_back:
            self._untidy.discard(author)

    def _set_head(self, author: str, seq: int, id: str) -> None:
        self._heads[author], self._ids[author], self._tips[author] = seq, id, _tip(id)

    def heads(self) -> Mapping[str, int]:
        """Author -> highest sequence number up to which nothing is missing. Without those proven to fork. As it is at
        any time: copy what is to stay."""
        return MappingProxyType(self._heads)

    def last(self, author: str) -> tuple[int, str]:
        """Sequence number and id of an author's latest record, (0, "") if there is none. As the tables say: our own
        log must never fork, not even if somebody else has written to this home."""
        rows = self.journal.query(
            "SELECT seq, id FROM records WHERE brief = ? AND author = ? ORDER BY seq DESC LIMIT 1", (self.brief, author)
        )
        return (rows[0][0], rows[0][1]) if rows else (0, "")

    def at(self, author: str, seq: int) -> str | None:
        """Id of the record at a place of an author's log."""
        if author not in self._untidy and seq >= (head := self._head_of(author))[0]:
            return head[1] if seq == head[0] > 0 else None
        rows = self.journal.query(
            "SELECT id FROM records WHERE brief = ? AND author = ? AND seq = ?", (self.brief, author, seq)
        )
        return rows[0][0] if rows else None

    def _head_of(self, author: str) -> tuple[int, str]:
        head = self._heads.get(author, 0)
        return (head, self._ids[author]) if head else (0, "")

    def counts(self) -> dict[str, int]:
        """Author -> records of it that are here."""
        rows = self.journal.query("SELECT author, count(*) FROM records WHERE brief = ? GROUP BY author", (self.brief,))
        return {author: number for author, number in rows}  # noqa: C416 - types

    # --- how records came -----------------------------------------------------------------------------------------

    def beginning_with(self, beginning: str, limit: int = 16) -> list[str]:
        """Ids of records that begin so."""
        rows = self.journal.query(
            "SELECT id FROM records WHERE brief = ? AND id >= ? AND id < ? ORDER BY id LIMIT ?",
            (self.brief, beginning, beginning + "g", limit),  # "g" comes after every hex digit
        )
        return [row[0] for row in rows]

    def record(self, id: str) -> Record | None:
        rows = self.journal.query("SELECT frame FROM records WHERE brief = ? AND id = ?", (self.brief, id))
        return open_frame(rows[0][0]) if rows else None

    def arrival(self, id: str) -> Arrival | None:
        found = self._arrivals("id = ?", (id,))
        return found[0] if found else None

    def latest_arrivals(self, limit: int = 2000) -> list[Arrival]:
        """Of others' records, the latest first; without those of which it was not kept."""
        return self._arrivals("way IN ('broadcast', 'catchup') ORDER BY position DESC LIMIT ?", (limit,))

    def _arrivals(self, which: str, values: tuple[object, ...]) -> list[Arrival]:
        how = "heard_from, way, made_ms" if self.journal.knows_arrivals() else "'', '' AS way, 0"
        rows = self.journal.query(
            f"SELECT author, received, sent, {how} FROM records WHERE brief = ? AND {which}", (self.brief, *values)
        )
        return [
            Arrival(author, made_ms, received, peer, Way(way) if way else None, bool(sent))
            for author, received, sent, peer, way, made_ms in rows
        ]

    # --- authors who contradict themselves ------------------------------------------------------------------------

    def contradicted(self, record: Record) -> Record | None:
        """A record of the same author here that cannot stand in one log with this one."""
        if record.author not in self._untidy and self._head_of(record.author) == (record.seq - 1, record.prev):
            return None
        rows = self.journal.query(
            "SELECT seq, id, frame FROM records WHERE brief = ? AND author = ? AND seq BETWEEN ? AND ? ORDER BY seq",
            (self.brief, record.author, record.seq - 1, record.seq + 1),
        )
        fitting = {record.seq - 1: record.prev, record.seq: record.id}
        for seq, id, frame in rows:
            if fitting.get(seq) != id and contradict(beside := open_frame(frame), record):  # opening takes a while
                return beside
        return None

    def prove(self, first: Record, second: Record, at: float) -> None:
        """Keep the proof that their author contradicts itself. From here on only the proof is handed on."""
        with self.journal.transaction(durable=True):
            self.journal.execute(
                "INSERT OR IGNORE INTO forks (brief, author, first, second, at) VALUES (?, ?, ?, ?, ?)",
                (self.brief, first.author, first.frame, second.frame, at),
            )
        self._forked.add(first.author)
        self._untidy.add(first.author)
        self._heads.pop(first.author, None)

    def hold_back(self, author: str) -> None:
        """Tell nobody records of an author that nobody was told yet, as long as this object lives."""
        self._held_back = author
        self._untidy.add(author)
        self._heads.pop(author, None)
        if author not in self._forked:
            self._advance(author)

    def forks(self) -> list[Fork]:
        rows = self.journal.query_forks(self.brief)
        return [Fork(author, open_frame(first), open_frame(second), at) for author, first, second, at in rows]

    def unwanted(self) -> AbstractSet[str]:
        return self._forked

    def tips(self, authors: Iterable[str]) -> dict[str, bytes]:
        tips = self._tips
        return {author: tips[author] for author in authors if author in self._heads}

    def evidence(self, heads: Mapping[str, int], tips: Mapping[str, bytes]) -> list[tuple[str, tuple[bytes, ...]]]:
        """Not of whom is held back: what was not told stays so, and what was told others can prove."""
        lacking = {author for author in self._forked if heads.get(author) != NO_MORE and author != self._held_back}
        forks = self.forks() if lacking else ()
        proofs = [(fork.author, (fork.first.frame, fork.second.frame)) for fork in forks if fork.author in lacking]
        here = self._tips
        other = [a for a, tip in tips.items() if tip != here.get(a) and heads[a] == self._heads.get(a)]
        return proofs + [(author, (self._frame(self._ids[author]),)) for author in other]

    def _frame(self, id: str) -> bytes:
        return self.journal.query("SELECT frame FROM records WHERE id = ?", (id,))[0][0]

    # --- handing on -----------------------------------------------------------------------------------------------

    def records_after(self, heads: Mapping[str, int], limit_bytes: int) -> list[bytes]:
        """Frames an asker with `heads` lacks, up to our own heads, as many as fit (at least one if there is any)."""
        frames: list[bytes] = []
        size = 0
        lacking = sorted(author for author, head in self._heads.items() if heads.get(author, 0) < head)
        for author in lacking:
            head, after = self._heads[author], heads.get(author, 0)
            while after < head:  # a few at a time: frames differ in size a thousandfold
                rows = self.journal.query(
                    "SELECT frame, seq FROM records WHERE brief = ? AND author = ? AND seq > ? AND seq <= ?"
                    " ORDER BY seq LIMIT 64",
                    (self.brief, author, after, head),
                )
                for frame, seq in rows:
                    if frames and size + len(frame) > limit_bytes:
                        return frames
                    frames.append(frame)
                    size += len(frame)
                    after = seq
        return frames

    def unsent(self) -> list[Record]:
        if self._held_back or not self._may_have_unsent:
            return []
        rows = self.journal.query(
            "SELECT id, frame FROM records WHERE brief = ? AND sent = 0 ORDER BY seq LIMIT ?",
            (self.brief, _UNSENT + len(self._told)),
        )
        unsent = [open_frame(frame) for id, frame in rows if id not in self._told][:_UNSENT]
        self._may_have_unsent = bool(unsent)
        return unsent

    def mark_sent(self, ids: Iterable[str]) -> None:
        """On a full disk it is written down with the next ones; the network must not end with it."""
        self._told.update(dict.fromkeys(ids))
        with contextlib.suppress(SwarmError):
            with self.journal.transaction(durable=False):
                for id in self._told:
                    self.journal.execute("UPDATE records SET sent = 1 WHERE id = ?", (id,))
            self._told.clear()

    def records(self) -> Iterator[Record]:
        """Every record of the brief in order of arrival."""
        for (frame,) in self.journal.query(
            "SELECT frame FROM records WHERE brief = ? ORDER BY position", (self.brief,)
        ):
            yield open_frame(frame)

    def arrived_after(self, position: int, limit: int) -> list[tuple[int, Record]]:
        """Records with their places in the order of arrival, after a place, at most `limit`."""
        rows = self.journal.query(
            "SELECT position, frame FROM records WHERE brief = ? AND position > ? ORDER BY position LIMIT ?",
            (self.brief, position, limit),
        )
        return [(position, open_frame(frame)) for position, frame in rows]

    def last_position(self) -> int:
        """Of the record that arrived last; 0 if there is none."""
        rows = self.journal.query("SELECT max(position) FROM records WHERE brief = ?", (self.brief,))
        return rows[0][0] or 0

    def validate(self) -> None:
        """Assert what must always hold: every frame opens to the row it is stored under, and heads are true."""
        for id, author, seq, frame in self.journal.query(
            "SELECT id, author, seq, frame FROM records WHERE brief = ?", (self.brief,)
        ):
            record = open_frame(frame)
            assert (record.id, record.author, record.seq) == (id, author, seq), f"row {id} holds {record.id}"
        fresh = TopicJournal(self.journal, self.brief)
        if self._held_back:
            fresh.hold_back(self._held_back)
        assert fresh.heads() == self.heads(), f"heads {self.heads()} should be {fresh.heads()}"

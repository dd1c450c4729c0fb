"""The journal: every record this home has seen, append-only, in SQLite. The truth that ledgers are folded from.

Beside the records it keeps what is this home's own business and never told to anybody: commits and sealed scores.
The only module that imports sqlite3. It stores signed frames as they came and never changes one. It implements gossip's
`RecordStore` for one brief at a time (`Journal.of`). Calls are synchronous and short (well under a millisecond each).
Not covered: deleting, and more than one writing process (the home's lock sees to that); readers may come at any time.
"""

import contextlib
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gossip.envelope import Record, open_frame
from node.sealed import SealedScore
from swarm.trial import Track
from swarm.words import BriefId, FindingId, SwarmError

_FORMAT_1 = """
CREATE TABLE IF NOT EXISTS records (
    position INTEGER PRIMARY KEY,      -- order of arrival here
    id       TEXT NOT NULL UNIQUE,
    brief    TEXT NOT NULL,
    author   TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    received REAL NOT NULL,            -- our wall clock
    sent     INTEGER NOT NULL,         -- 0: ours and not yet given to anybody
    frame    BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS by_log ON records (brief, author, seq);
CREATE INDEX IF NOT EXISTS by_sent ON records (sent) WHERE sent = 0;
CREATE TABLE IF NOT EXISTS commits (id TEXT PRIMARY KEY, hash TEXT NOT NULL);
"""
_FORMAT_2 = """
CREATE TABLE sealed (
    id             TEXT PRIMARY KEY,   -- of the finding, which is one of ours
    brief          TEXT NOT NULL,
    hardware_class TEXT NOT NULL,
    budget_seconds REAL NOT NULL,
    val_bpb        REAL NOT NULL,      -- of the trials that were scored, which need not be all
    sealed_bpb     REAL NOT NULL,
    at             REAL NOT NULL       -- our wall clock
);
"""
_STEPS = (_FORMAT_1, _FORMAT_2)  # each makes a journal of one format one of the next; never change one, add one
_LATEST = len(_STEPS)


class JournalError(SwarmError):
    """The journal cannot be read or written."""


class Journal:
    """One SQLite file. Open for writing by the node, read-only by commands that only look."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self._path = path
        if readonly and not path.exists():
            raise JournalError(f"there is no journal at {path}; start a node in this home first")
        with self._explained():
            uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
            if (version := self._version()) > _LATEST:
                raise JournalError(f"{path} was written by a newer research-swarm (format {version}); update this one")
            if not readonly:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._bring_up_to_date(version)

    def _version(self) -> int:
        return self.query("PRAGMA user_version")[0][0]

    def _bring_up_to_date(self, version: int) -> None:
        """A step and the number that says it is done are one transaction: a kill in between leaves neither."""
        for number, step in enumerate(_STEPS[version:], version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;")

    def close(self) -> None:
        self._db.close()

    def of(self, brief: str) -> "TopicJournal":
        """The part of the journal that belongs to one brief."""
        return TopicJournal(self, brief)

    def briefs(self) -> list[str]:
        """Briefs this journal has records of, latest first."""
        rows = self.query("SELECT brief FROM records GROUP BY brief ORDER BY max(position) DESC")
        return [row[0] for row in rows]

    def remember_commit(self, id: str, commit: str) -> None:
        self.execute("INSERT OR REPLACE INTO commits (id, hash) VALUES (?, ?)", (id, commit))

    def commits(self) -> dict[str, str]:
        """Commit of each own finding, by record id."""
        return {id: commit for id, commit in self.query("SELECT id, hash FROM commits")}  # noqa: C416 - types

    def remember_sealed(self, score: SealedScore) -> None:
        """Of a finding's two sealed scores the first one stays: a second draw would be a choice."""
        track = score.track
        values = (score.finding, score.brief, track.hardware_class, track.budget_seconds)
        self.execute(
            "INSERT OR IGNORE INTO sealed (id, brief, hardware_class, budget_seconds, val_bpb, sealed_bpb, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*values, score.val_bpb, score.sealed_bpb, score.at),
        )

    def sealed_scores(self, brief: str) -> list[SealedScore]:
        """Of own milestones of a brief, in the order in which they were scored."""
        if self._version() < 2:  # only looked at, and no node has opened it for writing since there are sealed scores
            return []
        rows = self.query(
            "SELECT id, brief, hardware_class, budget_seconds, val_bpb, sealed_bpb, at FROM sealed WHERE brief = ?"
            " ORDER BY rowid",
            (brief,),
        )
        return [_sealed_score(row) for row in rows]

    def query(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:  # Any: a column's own type
        with self._explained():
            return self._db.execute(sql, values).fetchall()

    def execute(self, sql: str, values: tuple[object, ...] = ()) -> int:
        with self._explained():
            return self._db.execute(sql, values).rowcount

    @contextlib.contextmanager
    def transaction(self, *, durable: bool) -> Generator[None]:
        """All or nothing. Durable: on the disk, not only in the kernel's hands, when this returns."""
        with self._explained():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise JournalError(f"journal {self._path}: {error}; check the disk, or move the file away") from None


class TopicJournal:
    """Records of one brief: gossip's `RecordStore`."""

    def __init__(self, journal: Journal, brief: str) -> None:
        self.journal = journal
        self.brief = brief
        self._heads = _contiguous(
            (author, seq)
            for author, seq in journal.query(
                "SELECT author, seq FROM records WHERE brief = ? ORDER BY author, seq", (brief,)
            )
        )

    def append(self, record: Record, *, received: float, own: bool) -> bool:
        """Store a record; False if its place in the author's log is taken (see `at`). Our own are durable on return."""
        with self.journal.transaction(durable=own):
            added = self.journal.execute(
                "INSERT OR IGNORE INTO records (id, brief, author, seq, kind, received, sent, frame)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (record.id, self.brief, record.author, record.seq, record.kind, received, int(not own), record.frame),
            )
        if added and record.seq == self._heads.get(record.author, 0) + 1:
            self._advance(record.author)
        return bool(added)

    def _advance(self, author: str) -> None:
        """Move an author's head over what is now contiguous: records may have come in any order."""
        head = self._heads.get(author, 0)
        rows = self.journal.query(
            "SELECT DISTINCT seq FROM records WHERE brief = ? AND author = ? AND seq > ? ORDER BY seq",
            (self.brief, author, head),
        )
        for (seq,) in rows:
            if seq != head + 1:
                break
            head += 1
        self._heads[author] = head

    def heads(self) -> dict[str, int]:
        """Author -> highest sequence number up to which nothing is missing."""
        return dict(self._heads)

    def last(self, author: str) -> tuple[int, str]:
        """Sequence number and id of an author's latest record, (0, "") if there is none."""
        rows = self.journal.query(
            "SELECT seq, id FROM records WHERE brief = ? AND author = ? ORDER BY seq DESC LIMIT 1", (self.brief, author)
        )
        return (rows[0][0], rows[0][1]) if rows else (0, "")

    def at(self, author: str, seq: int) -> str | None:
        """Id of the record at a place of an author's log."""
        rows = self.journal.query(
            "SELECT id FROM records WHERE brief = ? AND author = ? AND seq = ?", (self.brief, author, seq)
        )
        return rows[0][0] if rows else None

    def records_after(self, heads: Mapping[str, int], limit_bytes: int) -> list[bytes]:
        """Frames an asker with `heads` lacks, up to our own heads, as many as fit (at least one if there is any)."""
        frames: list[bytes] = []
        size = 0
        for author, head in sorted(self._heads.items()):
            after = heads.get(author, 0)
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
        rows = self.journal.query(
            "SELECT frame FROM records WHERE brief = ? AND sent = 0 ORDER BY seq LIMIT 256", (self.brief,)
        )
        return [open_frame(frame) for (frame,) in rows]

    def mark_sent(self, ids: Iterable[str]) -> None:
        with self.journal.transaction(durable=False):
            for id in ids:
                self.journal.execute("UPDATE records SET sent = 1 WHERE id = ?", (id,))

    def records(self) -> Iterator[Record]:
        """Every record of the brief in order of arrival."""
        for (frame,) in self.journal.query(
            "SELECT frame FROM records WHERE brief = ? ORDER BY position", (self.brief,)
        ):
            yield open_frame(frame)

    def validate(self) -> None:
        """Assert what must always hold: every frame opens to the row it is stored under, and heads are true."""
        for id, author, seq, frame in self.journal.query(
            "SELECT id, author, seq, frame FROM records WHERE brief = ?", (self.brief,)
        ):
            record = open_frame(frame)
            assert (record.id, record.author, record.seq) == (id, author, seq), f"row {id} holds {record.id}"
        fresh = TopicJournal(self.journal, self.brief)
        assert fresh.heads() == self.heads(), f"heads {self.heads()} should be {fresh.heads()}"


def _sealed_score(row: tuple[Any, ...]) -> SealedScore:  # Any: a column's own type
    id, brief, hardware_class, budget_seconds, val_bpb, sealed_bpb, at = row
    track = Track(hardware_class=hardware_class, budget_seconds=budget_seconds)
    return SealedScore(FindingId(id), BriefId(brief), track, val_bpb, sealed_bpb, at)


def _contiguous(positions: Iterable[tuple[str, int]]) -> dict[str, int]:
    heads: dict[str, int] = {}
    for author, seq in positions:
        if seq == heads.get(author, 0) + 1:
            heads[author] = seq
    return {author: head for author, head in heads.items() if head}

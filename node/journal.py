"""The journal: every record this home has seen, append-only, in SQLite. The truth that ledgers are folded from.

Beside the records it keeps the proofs that authors contradicted themselves, and what is this home's own business and
never told to anybody: commits and sealed scores.
The only module that imports sqlite3. Owns the file, its format and what of it belongs to no brief; the records of one
brief are node/topic_journal.py (`Journal.of`), which stores signed frames as they came and never changes one. Calls are
synchronous and short (well under a millisecond each). Not covered: deleting, and more than one writing process (the
home's lock sees to that); readers may come at any time.
"""

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

from node.sealed import SealedScore
from node.topic_journal import TopicJournal
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
_FORMAT_3 = """
CREATE TABLE forks (
    brief  TEXT NOT NULL,
    author TEXT NOT NULL,
    first  BLOB NOT NULL,              -- two signed frames that contradict each other: the proof
    second BLOB NOT NULL,
    at     REAL NOT NULL,              -- our wall clock
    PRIMARY KEY (brief, author)        -- one proof is enough
);
"""
# How a record came. Empty, and 0, for those that came before this was kept.
_FORMAT_4 = """
ALTER TABLE records ADD COLUMN heard_from TEXT NOT NULL DEFAULT '';   -- the peer that gave it to us
ALTER TABLE records ADD COLUMN way TEXT NOT NULL DEFAULT '';          -- gossip's Way
ALTER TABLE records ADD COLUMN made_ms INTEGER NOT NULL DEFAULT 0;    -- its author's clock, unix milliseconds
"""
_STEPS = (
    _FORMAT_1,
    _FORMAT_2,
    _FORMAT_3,
    _FORMAT_4,
)  # each makes a journal of one format one of the next; never change one, add one
_LATEST = len(_STEPS)


class JournalError(SwarmError):
    """The journal cannot be read or written."""


class Journal:
    """One SQLite file. Open for writing by the node, read-only by commands that only look."""

    def __init__(self, path: Path | None, *, readonly: bool = False) -> None:
        """`path` None: in memory, for simulations."""
        self._path = path
        if readonly and path is not None and not path.exists():
            raise JournalError(f"there is no journal at {path}; start a node in this home first")
        mode = "ro" if readonly else "rwc"
        uri = "file::memory:" if path is None else f"{path.absolute().as_uri()}?mode={mode}"
        self._durable: bool | None = None  # as the database was last told; not yet
        try:
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
            if (version := self._version()) > _LATEST:
                raise JournalError(f"{path} was written by a newer research-swarm (format {version}); update this one")
            if not readonly:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._bring_up_to_date(version)
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from None

    def _version(self) -> int:
        return self.query("PRAGMA user_version")[0][0]

    def _bring_up_to_date(self, version: int) -> None:
        """A step and the number that says it is done are one transaction: a kill in between leaves neither."""
        for number, step in enumerate(_STEPS[version:], version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;")

    def close(self) -> None:
        self._db.close()

    def of(self, brief: str) -> TopicJournal:
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

    def forked(self, brief: str) -> list[str]:
        """Authors of a brief who were proven to contradict themselves."""
        return [row[0] for row in self.query_forks(brief)]

    def query_forks(self, brief: str) -> list[tuple[Any, ...]]:  # Any: a column's own type
        if self._version() < 3:  # only looked at, and no node has opened it for writing since there are proofs
            return []
        return self.query("SELECT author, first, second, at FROM forks WHERE brief = ? ORDER BY author", (brief,))

    def knows_arrivals(self) -> bool:
        """Whether it says how records came; not so if it is only looked at, and older."""
        return self._version() >= 4

    def query(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:  # Any: a column's own type
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from None

    def execute(self, sql: str, values: tuple[object, ...] = ()) -> int:
        try:
            return self._db.execute(sql, values).rowcount
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from None

    @contextlib.contextmanager
    def transaction(self, *, durable: bool) -> Generator[None]:
        """All or nothing. Durable: on the disk, not only in the kernel's hands, when this returns."""
        try:
            if durable is not self._durable:
                self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise self._trouble(error) from None

    def _trouble(self, error: sqlite3.DatabaseError) -> JournalError:
        return JournalError(f"journal {self._path}: {error}; check the disk, or move the file away")


def _sealed_score(row: tuple[Any, ...]) -> SealedScore:  # Any: a column's own type
    id, brief, hardware_class, budget_seconds, val_bpb, sealed_bpb, at = row
    track = Track(hardware_class=hardware_class, budget_seconds=budget_seconds)
    return SealedScore(FindingId(id), BriefId(brief), track, val_bpb, sealed_bpb, at)

"""A home as somebody watches it: looked at again and again, each time reading only what is new.

Owns what one look finds. How it is drawn is node/watch_screen.py's business, keys and the terminal are the command's.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from node import views
from node.home import Home
from node.journal import Journal
from node.notebook import fold_record
from node.sparkline import best_so_far
from swarm.ledger import Entry, Ledger, Score
from swarm.words import BriefError, BriefId, MalformedRecord, PeerId

Json = dict[str, Any]  # Any: a JSON document
LATEST = 100  # findings; more than a screen has lines
RECORDS_A_LOOK = 500  # read at most so many in one look, a tenth of a second; a large journal takes several


@dataclass(frozen=True)
class Seen:
    """What one look found."""

    topic: str
    me: PeerId
    running: bool
    state: Json  # of the node, where it speaks of this topic
    latest: tuple[Entry, ...]  # findings of everybody in the order in which they came, the latest last
    findings: int
    own: int
    best: tuple[Entry, Score] | None  # of everybody, on the node's track
    course: tuple[float, ...]  # how that came down
    names: dict[str, str]  # of peers, as they call themselves
    behind: int  # records that are not read yet


class Watching:
    def __init__(self, home: Home, topic: str | None) -> None:
        self._home = home
        self._topic = topic
        self._reader: _Reader | None = None

    def look(self) -> Seen:
        """Raises SwarmError."""
        self._home.require()
        journal = Journal(self._home.journal, readonly=True)
        try:
            state = self._home.read_state()
            brief_id, _ = views.choose_brief(self._home, state, journal, self._topic)
            if self._reader is None or self._reader.brief_id != brief_id:
                self._reader = _Reader(self._home, brief_id)
            return self._reader.look(journal, state)
        finally:
            journal.close()


class _Reader:
    """Keeps one topic's ledger up with the journal."""

    def __init__(self, home: Home, brief_id: BriefId) -> None:
        self.brief_id = brief_id
        self._home = home
        self._brief = home.load_brief(brief_id)
        self._me = views.whose(home, brief_id)
        self._ledger = Ledger(self._brief.acceptance)
        self._latest: list[Entry] = []
        self._position = 0
        self._unwanted: frozenset[str] = frozenset()
        self._best: tuple[Entry, Score] | None = None
        self._course: tuple[float, ...] = ()

    def look(self, journal: Journal, state: Json) -> Seen:
        records = journal.of(self.brief_id)
        self._forget(frozenset(records.unwanted()) - {self._me})
        found = records.arrived_after(self._position, RECORDS_A_LOOK)
        for position, record in found:
            self._position = position
            if record.author not in self._unwanted:
                with contextlib.suppress(MalformedRecord, BriefError):
                    entry = fold_record(self._ledger, record, self._brief)
                    if isinstance(entry, Entry):
                        self._latest.append(entry)
        behind = records.last_position() - self._position
        if found and behind <= 0:
            self._rank()
        self._latest = self._latest[-LATEST:]
        speaks = state.get("brief_id") == self.brief_id
        return Seen(
            topic=self._brief.name,
            me=self._me,
            running=speaks and self._home.running(),
            state=state if speaks else {},
            latest=tuple(self._latest),
            findings=len(self._ledger),
            own=len(self._ledger.entries(author=self._me)),
            best=self._best,
            course=self._course,
            names={entry.author: entry.finding.node_name for entry in self._latest},
            behind=max(0, behind),
        )

    def _forget(self, unwanted: frozenset[str]) -> None:
        for author in sorted(unwanted - self._unwanted):
            self._ledger.forget(PeerId(author))
            self._latest = [entry for entry in self._latest if entry.author != author]
        self._unwanted = unwanted

    def _rank(self) -> None:
        """On the track of the node's own latest finding, or of the latest there is."""
        own = self._ledger.entries(author=self._me) or self._latest
        if not own:
            return
        track = own[-1].finding.track
        ranked = self._ledger.ranked(track)
        self._best = ranked[0] if ranked else None
        numbers = [entry.val_bpb for entry in self._ledger.entries(track=track) if entry.val_bpb is not None]
        self._course = tuple(best_so_far(numbers))

"""Reading a home for the page: keeps catalogues up with the journal, opens single records again, reads the state file.

Owns every access to the disk. Synchronous, one thread at a time (node/browse/desk.py sees to that); each reading
takes a bounded time, so that a large journal is read in several goes.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import trio

from node import views
from node.browse.catalogue import Catalogue
from node.home import Home
from node.journal import Journal
from node.network_file import read_network
from node.notebook import entry_of
from node.proposers.spending import read_spending
from node.results.finding_commits import FindingCommits
from node.sealed import SealedScore
from node.topic_journal import TopicJournal
from swarm.ledger import Entry
from swarm.words import BriefError, BriefId, FindingId, MalformedRecord, PeerId

Json = dict[str, Any]  # Any: a JSON document
T = TypeVar("T")
GO_SECONDS = 0.6  # of one go through the journal; a page that says how far it is comes after it
_BATCH = 100  # records between two looks at the clock
MAX_CATALOGUES = 3  # topics kept at a time; the one that was not asked for longest goes


@dataclass
class _Kept:
    catalogue: Catalogue
    position: int = 0  # up to which the journal has been read
    unwanted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Sight:
    """What one page is made from: a topic as it stands now."""

    home: Home
    catalogue: Catalogue
    archive: views.Archive  # for the answers that the command line gives, too; its ledger holds no curves
    network: Json
    topics: tuple[tuple[BriefId, str], ...]  # of this home, the latest first
    read: int  # positions of the journal that are in the catalogue
    behind: int  # and those that are not, yet
    fetched: FindingCommits  # of peers' branches

    @property
    def state(self) -> Json:
        """Of the running node, where it speaks of this topic."""
        return self.archive.state if self.archive.is_latest else {}

    def commit(self, entry: Entry) -> str | None:
        """That holds a finding; of a peer's one if its branch has been fetched."""
        if entry.author == self.archive.me or self.archive.imported:
            return self.archive.commits.get(entry.id)
        return trio.run(self.fetched.of, entry.author, self.catalogue.brief.name).get(entry.id)

    def whole(self, ids: Iterable[FindingId]) -> dict[FindingId, Entry]:
        """Findings with their curves and sources."""
        return load_whole(self.archive.records, self.catalogue, ids)


def load_whole(records: TopicJournal, catalogue: Catalogue, ids: Iterable[FindingId]) -> dict[FindingId, Entry]:
    found: dict[FindingId, Entry] = {}
    for id in dict.fromkeys(ids):
        if id in catalogue.ledger and (record := records.record(id)) is not None:
            try:
                found[id] = entry_of(record, catalogue.brief)
            except (MalformedRecord, BriefError):
                continue
    return found


class Reading:
    def __init__(self, home: Home) -> None:
        self._home = home
        self._kept: dict[BriefId, _Kept] = {}  # the one asked for last at the end
        self._fetched = FindingCommits(home.results)

    def look(self, topic: str | None, use: Callable[[Sight], T]) -> T:
        """Read what is new and hand it to `use` while the journal is open. Raises SwarmError."""
        self._home.require()
        journal = Journal(self._home.journal, readonly=True)
        try:
            return use(self._sight(journal, topic))
        finally:
            journal.close()

    def change(self, topic: str | None) -> tuple[str, int]:
        """What moves when there is something new to see: the topic, and how far its journal goes. Raises SwarmError."""
        self._home.require()
        journal = Journal(self._home.journal, readonly=True)
        try:
            brief_id, _ = views.choose_brief(self._home, self._home.read_state(), journal, topic)
            rows = journal.query("SELECT max(position) FROM records WHERE brief = ?", (brief_id,))
            return brief_id, rows[0][0] or 0
        finally:
            journal.close()

    def _sight(self, journal: Journal, topic: str | None) -> Sight:
        state = self._home.read_state()
        brief_id, brief = views.choose_brief(self._home, state, journal, topic)
        me, records = views.whose(self._home, brief_id), journal.of(brief_id)
        kept = self._kept.pop(brief_id, None) or _Kept(Catalogue(brief_id, brief, me))
        self._kept[brief_id] = kept
        while len(self._kept) > MAX_CATALOGUES:
            del self._kept[next(iter(self._kept))]
        self._catch_up(kept, records)
        last = records.last_position()
        if kept.position >= last:
            kept.catalogue.rows()  # now, while nobody expects a page in no time
        sealed: list[SealedScore] = journal.sealed_scores(brief_id)
        ledger = kept.catalogue.ledger
        commits, spending = journal.commits(), read_spending(self._home.spending)
        archive = views.Archive(self._home, state, me, brief_id, brief, ledger, commits, sealed, records, spending)
        return Sight(
            home=self._home,
            catalogue=kept.catalogue,
            archive=archive,
            network=read_network(self._home, brief_id),
            topics=views.topics(self._home, state, journal),
            read=kept.position,
            behind=max(0, last - kept.position),
            fetched=self._fetched,
        )

    def _catch_up(self, kept: _Kept, records: TopicJournal) -> None:
        unwanted = frozenset(records.unwanted()) - {kept.catalogue.me}
        for author in unwanted - kept.unwanted:
            kept.catalogue.forget(PeerId(author))
        kept.unwanted = unwanted
        until = time.monotonic() + GO_SECONDS
        while found := records.arrived_after(kept.position, _BATCH):
            for position, record in found:
                if record.author not in unwanted:
                    kept.catalogue.add(record)
                kept.position = position
            if len(found) < _BATCH or time.monotonic() > until:
                return

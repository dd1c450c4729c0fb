"""The catalogue: what the page knows of one topic, as a ledger and a row for each run, kept up as records arrive.

Pure: records come in, questions are answered, nothing is read from disk. Loss curves and sources are left out of what
is kept (ten thousand of them would be hundreds of megabytes); whoever needs one opens its record again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gossip.envelope import Record
from node.browse.row import Row, row_of
from node.notebook import entry_of, replay_entry_of
from swarm.brief import Brief
from swarm.ledger import Entry, Ledger, branch_head
from swarm.trial import Track, Trial
from swarm.words import BriefError, BriefId, FindingId, MalformedRecord, PeerId, Standing

FACETS = ("node", "arm", "status", "standing", "class", "budget")


@dataclass(slots=True)
class _Sorted:
    """The rows as of one revision, in their orders."""

    rows: list[Row]
    by_track: dict[Track, list[Row]]
    by_peer: dict[PeerId, list[Row]]
    facets: Mapping[str, Mapping[str, int]] | None = None  # made when first asked for


class Catalogue:
    def __init__(self, brief_id: BriefId, brief: Brief, me: PeerId) -> None:
        self.brief_id = brief_id
        self.brief = brief
        self.me = me
        self.ledger = Ledger(brief.acceptance)
        self.revision = 0  # one more with each change
        self._rows: dict[FindingId, Row] = {}
        self._stale: set[FindingId] = set()
        self._sorted: _Sorted | None = None
        self._tracks: dict[Track, Track] = {}  # one object for equal ones: comparing models is slow
        self._children: dict[FindingId, list[FindingId]] = {}
        self._inspired: dict[FindingId, list[FindingId]] = {}

    # --- what comes in --------------------------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """A record of the topic; what says nothing valid is left aside, as the ledger does."""
        try:
            if record.kind == "finding":
                self._add_finding(_without_bulk(entry_of(record, self.brief)))
            elif record.kind == "replay":
                self._add_replay(record)
        except (MalformedRecord, BriefError):
            return

    def forget(self, author: PeerId) -> None:
        """It was proven to contradict itself."""
        self.ledger.forget(author)
        self._rows.clear()
        self._children.clear()
        self._inspired.clear()
        for entry in self.ledger.entries():
            self._link(entry)
            self._stale.add(entry.id)
        self._changed()

    def _add_finding(self, entry: Entry) -> None:
        if not self.ledger.apply(entry):
            return
        self._link(entry)
        self._touch(entry)
        if entry.finding.parent_trials and (parent := self.ledger.get(entry.finding.proposal.parent)) is not None:
            self._touch(parent)
        self._changed()

    def _add_replay(self, record: Record) -> None:
        made = replay_entry_of(record)
        self.ledger.apply_replay(made)
        if (entry := self.ledger.get(made.replay.of)) is not None:
            self._touch(entry)
        self._changed()

    def _link(self, entry: Entry) -> None:
        proposal = entry.finding.proposal
        if proposal.parent is not None:
            self._children.setdefault(proposal.parent, []).append(entry.id)
        for id in proposal.inspirations:
            self._inspired.setdefault(id, []).append(entry.id)

    def _touch(self, entry: Entry) -> None:
        same = self.ledger.with_key(entry.key, entry.track)
        self._stale.update(one.id for one in same)

    def _changed(self) -> None:
        self.revision += 1
        self._sorted = None

    # --- questions ------------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Every run, oldest first by the authors' clocks."""
        return self._up_to_date().rows

    def _up_to_date(self) -> "_Sorted":
        if self._sorted is None:
            self._stale.update(row.id for row in self._rows.values() if row.contested)
            for id in self._stale:
                if (entry := self.ledger.get(id)) is not None:
                    row = row_of(self.ledger, entry)
                    self._rows[id] = replace(row, track=self._tracks.setdefault(row.track, row.track))
            self._stale.clear()
            self._sorted = _Sorted(
                sorted(self._rows.values(), key=lambda row: (row.at_ms, row.peer, row.seq, row.id)), {}, {}
            )
            for row in self._sorted.rows:
                self._sorted.by_track.setdefault(row.track, []).append(row)
                self._sorted.by_peer.setdefault(row.peer, []).append(row)
        return self._sorted

    def row(self, id: FindingId | None) -> Row | None:
        self.rows()
        return None if id is None else self._rows.get(id)

    def of_track(self, track: Track, peer: PeerId | None = None) -> list[Row]:
        rows = self._up_to_date().by_track.get(track, [])
        return rows if peer is None else [row for row in rows if row.peer == peer]

    def tracks(self) -> list[tuple[Track, int]]:
        """With their numbers of runs, the busiest first."""
        counted = [(track, len(rows)) for track, rows in self._up_to_date().by_track.items()]
        return sorted(counted, key=lambda one: (-one[1], one[0].hardware_class, one[0].budget_seconds))

    def peers(self) -> Mapping[PeerId, list[Row]]:
        """Runs by who made them, oldest first."""
        return self._up_to_date().by_peer

    def facets(self) -> Mapping[str, Mapping[str, int]]:
        """How many runs there are of each word that the table can be filtered by."""
        made = self._up_to_date()
        if made.facets is None:
            made.facets = facets(made.rows)
        return made.facets

    def best(self, rows: Iterable[Row]) -> Row | None:
        """Of one track: the kept run with the lowest score that nobody's trials refute; any measured one without."""
        measured = [row for row in rows if row.mean is not None and row.standing is not Standing.REFUTED]
        return min([row for row in measured if row.kept] or measured, key=_by_score, default=None)

    def branch_head(self, peer: PeerId, track: Track) -> Row | None:
        """Where a peer's branch stands."""
        own = (self.ledger.get(row.id) for row in self.peers().get(peer, ()) if row.track == track)
        head = branch_head(entry for entry in own if entry is not None)
        return None if head is None else self.row(head.id)

    def path(self, row: Row) -> list[Row]:
        """From the beginning of its branch to a run; a run taken from a peer leads on to that peer's."""
        found, current, seen = list[Row](), row, set[FindingId]()
        while current.id not in seen:
            seen.add(current.id)
            found.append(current)
            before = self.row(current.parent)
            if before is None:
                break
            current = before
        return found[::-1]

    def children(self, id: FindingId) -> list[Row]:
        return self._known(self._children.get(id, ()))

    def inspired(self, id: FindingId) -> list[Row]:
        """Runs whose proposer was told of this one."""
        return self._known(self._inspired.get(id, ()))

    def interval(self, row: Row) -> float | None:
        """Half width of where the mean of five fresh runs should lie."""
        entry = self.ledger.get(row.id)
        score = self.ledger.score(entry) if entry is not None and row.mean is not None else None
        return None if score is None else score.interval

    def _known(self, ids: Iterable[FindingId]) -> list[Row]:
        rows = (self.row(id) for id in ids)
        return sorted((row for row in rows if row is not None), key=lambda row: (row.at_ms, row.seq, row.id))


def facet(row: Row, name: str) -> str:
    """What a row says in one of the lists it can be filtered by."""
    match name:
        case "node":
            return row.peer
        case "class":
            return row.track.hardware_class
        case "budget":
            return f"{row.track.budget_seconds:g}"
        case "arm":
            return row.arm
        case "status":
            return row.status
        case _:
            return row.standing.value


def facets(rows: Iterable[Row]) -> Mapping[str, Mapping[str, int]]:
    """How many rows there are of each word."""
    counted: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
    for row in rows:
        for name, counter in counted.items():
            counter[facet(row, name)] += 1
    return {name: dict(sorted(counter.items(), key=lambda one: (-one[1], one[0]))) for name, counter in counted.items()}


def _by_score(row: Row) -> tuple[float, str]:
    assert row.mean is not None
    return row.mean, row.id


def _without_bulk(entry: Entry) -> Entry:
    """Without curves and without the source, which is named by its hash."""
    finding = entry.finding
    changed = {
        "proposal": finding.proposal.model_copy(update={"source": None}),
        "trials": tuple(map(_without_curve, finding.trials)),
        "parent_trials": tuple(map(_without_curve, finding.parent_trials)),
    }
    return replace(entry, finding=finding.model_copy(update=changed))


def _without_curve(trial: Trial) -> Trial:
    return trial.model_copy(update={"curve": ()})

"""The ledger: what is known of one topic, folded from records. Derived, and independent of the order records came in.

Owns the fold and the questions people and proposers ask of it. Storage is the journal's, signatures are gossip's.
"""

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import Any

from swarm.brief import Acceptance
from swarm.finding import Finding
from swarm.replay import Replay
from swarm.track_noise import TrackNoise, TrackSpreads
from swarm.trial import Track, Trial, reported, scores
from swarm.verdict import Noise, agree_on_means, judge, rerun_interval, spread
from swarm.words import Decision, FindingId, Outcome, PeerId, Standing


@lru_cache(maxsize=1024)
def _one_of_equal(track: Track) -> Track:
    """The same object for equal tracks: what is the same is found in a table without comparing its fields."""
    return track


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding as the ledger knows it."""

    id: FindingId
    author: PeerId
    seq: int  # position in its author's log
    at_ms: int  # author's clock, unix milliseconds: for show, never for order that decides
    finding: Finding
    # Of the finding. They are asked for often, and the finding works them out each time.
    key: str = field(init=False, compare=False, repr=False)
    track: Track = field(init=False, compare=False, repr=False)
    outcome: Outcome = field(init=False, compare=False, repr=False)
    val_bpb: float | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        finding = self.finding
        object.__setattr__(self, "key", finding.proposal.key)
        object.__setattr__(self, "track", _one_of_equal(finding.track))
        object.__setattr__(self, "outcome", finding.outcome)
        object.__setattr__(self, "val_bpb", finding.val_bpb)


@dataclass(frozen=True, slots=True)
class ReplayEntry:
    """One replay as the ledger knows it."""

    id: str  # of its record
    author: PeerId
    seq: int
    at_ms: int
    replay: Replay


@dataclass(frozen=True, slots=True)
class Score:
    """What an author's trials of one thing come to."""

    mean: float
    trials: int
    interval: float  # half width of where the mean of five fresh runs should lie


@dataclass(frozen=True, slots=True)
class _Mean:
    """What an author's own trials of a thing came to, and the noise that author can know of."""

    author: PeerId
    mean: float
    trials: int
    noise: Noise


def _rank(entry: Entry) -> tuple[float, str]:
    assert entry.val_bpb is not None
    return entry.val_bpb, entry.id


def _place(entry: Entry) -> tuple[int, str, int, str]:
    return entry.at_ms, entry.author, entry.seq, entry.id


_Thing = tuple[str, Track]
"""The key of what is run, and on which track."""


@dataclass(frozen=True, slots=True)
class _Ran:
    """Trials of one thing that one record brought: its own, its parent's run again, or a replay's."""

    place: tuple[Any, ...]  # in which order they are given, whatever the order in which they came
    trials: tuple[Trial, ...]


class Ledger:
    """Findings and replays of one topic. Records twice or in another order give the same ledger."""

    def __init__(self, acceptance: Acceptance) -> None:
        self._acceptance = acceptance
        self._entries: dict[FindingId, Entry] = {}
        self._arrived: list[Entry] = []  # in the order they came
        self._sorted: dict[tuple[PeerId | None, Track | None], list[Entry]] = {}  # what was asked for, kept up to date
        self._by_key: dict[tuple[str, Track], set[FindingId]] = {}
        self._children: dict[FindingId, set[FindingId]] = {}  # that ran their parent again
        self._replays: dict[FindingId, dict[str, ReplayEntry]] = {}
        self._by_author: dict[PeerId, dict[FindingId, Entry]] = {}
        self._tried: dict[Track, set[str]] = {}
        self._noise: dict[tuple[Track, PeerId], Noise] = {}  # computed since the last record came; and
        self._track_noise: dict[Track, TrackNoise] = {}
        self._means: dict[_Thing, list[_Mean]] = {}
        # Kept up to date: at each question a whole night's runs would have to be gone through.
        self._ran: dict[_Thing, dict[PeerId, list[_Ran]]] = {}
        self._trials: dict[_Thing, dict[PeerId, list[Trial]]] = {}  # as asked for
        self._spreads: dict[Track, TrackSpreads] = {}
        self._unread: dict[Track, dict[tuple[str, PeerId], None]] = {}  # whose runs of what are not in the spreads yet

    def apply(self, entry: Entry) -> bool:
        """True if the entry was new."""
        if entry.id in self._entries:
            return False
        self._forget_computed()
        self._entries[entry.id] = entry
        self._arrived.append(entry)
        self._sort_in(entry)
        finding, key, track = entry.finding, entry.key, entry.track
        self._by_key.setdefault((key, track), set()).add(entry.id)
        self._by_author.setdefault(entry.author, {})[entry.id] = entry
        tried = self._tried.setdefault(track, set())
        if entry.outcome is not Outcome.CANCELLED:
            tried.add(key)
        self._note_run(entry, entry.author, (entry.id, 0), finding.trials)
        if finding.proposal.parent is not None and finding.parent_trials:
            self._children.setdefault(finding.proposal.parent, set()).add(entry.id)
            self._note_parent_run(self._entries.get(finding.proposal.parent), entry)
        for child in sorted(self._children.get(entry.id, ())):  # that came before it
            self._note_parent_run(entry, self._entries[child])
        for replay in self._replays.get(entry.id, {}).values():
            self._note_replay(entry, replay)
        return True

    def _sort_in(self, entry: Entry) -> None:
        for author in (None, entry.author):
            for track in (None, entry.track):
                if (known := self._sorted.get((author, track))) is not None:
                    insort(known, entry, key=_place)

    def _note_run(self, of: Entry, author: PeerId, place: tuple[Any, ...], trials: tuple[Trial, ...]) -> None:
        track = of.track
        thing = of.key, track
        self._trials.pop(thing, None)
        insort(self._ran.setdefault(thing, {}).setdefault(author, []), _Ran(place, trials), key=lambda ran: ran.place)
        self._unread.setdefault(track, {})[of.key, author] = None

    def _note_parent_run(self, parent: Entry | None, child: Entry) -> None:
        """If the parent comes later, then is the time."""
        if parent is not None:
            fitting = tuple(trial for trial in child.finding.parent_trials if trial.track == parent.track)
            self._note_run(parent, child.author, (parent.id, 1, child.id), fitting)

    def _note_replay(self, of: Entry, one: ReplayEntry) -> None:
        replay = one.replay
        if replay.steps is None and replay.key == of.key and replay.trial.track == of.track:
            self._note_run(of, one.author, (of.id, 2, one.at_ms, one.author, one.seq, one.id), (replay.trial,))

    def apply_replay(self, entry: ReplayEntry) -> bool:
        """True if it was new. The finding may come later."""
        known = self._replays.setdefault(entry.replay.of, {})
        if entry.id in known:
            return False
        self._forget_computed()
        known[entry.id] = entry
        if (of := self._entries.get(entry.replay.of)) is not None:
            self._note_replay(of, entry)
        return True

    def _forget_computed(self) -> None:
        for table in (self._noise, self._track_noise, self._means):
            table.clear()

    def forget(self, author: PeerId) -> None:
        """Leave out whatever an author said, as if nothing of it had ever come."""
        entries = [entry for entry in self._entries.values() if entry.author != author]
        replays = [one for known in self._replays.values() for one in known.values() if one.author != author]
        for table in (self._entries, self._by_key, self._by_author, self._tried, self._children, self._replays):
            table.clear()
        for table in (self._ran, self._trials, self._spreads, self._unread, self._sorted):
            table.clear()
        self._arrived = []
        self._forget_computed()
        for entry in entries:
            self.apply(entry)
        for replay in replays:
            self.apply_replay(replay)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: FindingId) -> bool:
        return id in self._entries

    def get(self, id: FindingId | None) -> Entry | None:
        return None if id is None else self._entries.get(id)

    def entries(self, author: PeerId | None = None, track: Track | None = None) -> list[Entry]:
        """Findings sorted by author's clock, author and sequence; by one author or of one track if asked."""
        found = self._sorted.get((author, track))
        if found is None:
            known = self._entries if author is None else self._by_author.get(author, {})
            found = sorted((e for e in known.values() if track in (None, e.track)), key=_place)
            self._sorted[author, track] = found
        return list(found)

    @property
    def arrived(self) -> Sequence[Entry]:
        """Findings in the order they came here. Only grows; when an author is forgotten it is another object."""
        return self._arrived

    def measured(self, author: PeerId | None = None, track: Track | None = None) -> list[Entry]:
        """Measured findings, best first."""
        return sorted((e for e in self.entries(author, track) if e.val_bpb is not None), key=_rank)

    def tracks(self) -> list[Track]:
        return sorted(self._tried, key=lambda t: (t.hardware_class, t.budget_seconds))

    def branch_best(self, author: PeerId, track: Track) -> Entry | None:
        """Where an author's branch stands on a track."""
        return branch_head(self.entries(author, track))

    def find(self, prefix: str) -> list[Entry]:
        """Findings whose id begins with `prefix`."""
        return sorted((e for id, e in self._entries.items() if id.startswith(prefix)), key=lambda e: e.id)

    def with_key(self, key: str, track: Track) -> list[Entry]:
        """Findings that ran the same thing on the same track."""
        return sorted((self._entries[id] for id in self._by_key.get((key, track), ())), key=lambda e: e.id)

    # --- evidence -------------------------------------------------------------------------------------------------

    def replays(self, id: FindingId) -> list[ReplayEntry]:
        """Replays of a finding, its author's own too."""
        return sorted(self._replays.get(id, {}).values(), key=lambda e: (e.at_ms, e.author, e.seq, e.id))

    def trials(self, key: str, track: Track) -> dict[PeerId, list[Trial]]:
        """Every trial of one thing on one track over the whole budget, by who ran it. Not to be changed."""
        found = self._trials.get((key, track))
        if found is None:
            found = {author: self.trials_by(author, key, track) for author in self._ran.get((key, track), ())}
            self._trials[key, track] = found
        return found

    def trials_by(self, author: PeerId, key: str, track: Track) -> list[Trial]:
        """One author's part of them."""
        return [trial for ran in self._ran.get((key, track), {}).get(author, ()) for trial in ran.trials]

    def own_scores(self, entry: Entry) -> tuple[float, ...]:
        """Scores of all trials of a finding by its author: its own, and later ones."""
        made = self.trials_by(entry.author, entry.key, entry.track)
        return scores(made) or reported(entry.finding.trials)

    def score(self, entry: Entry) -> Score | None:
        """What its author's trials of a finding come to; None if nothing was measured."""
        numbers = self.own_scores(entry)
        if not numbers:
            return None
        noise = self.noise(entry.track, entry.author)
        return Score(fmean(numbers), len(numbers), rerun_interval(len(numbers), noise))

    def ranked(self, track: Track) -> list[tuple[Entry, Score]]:
        """Measured findings of a track with their scores, best first. A thing measured twice by one author is so once:
        its earliest finding stands for it."""
        best: dict[tuple[PeerId, str], tuple[Entry, Score]] = {}
        for entry in sorted(self.measured(track=track), key=lambda e: (e.seq, e.id)):
            score = self.score(entry)
            if score is not None:
                best.setdefault((entry.author, entry.key), (entry, score))
        return sorted(best.values(), key=lambda one: (one[1].mean, one[0].id))

    def noise(self, track: Track, author: PeerId) -> Noise:
        """Run-to-run noise on a track as `author` can know it: see swarm/track_noise.py."""
        if (track, author) not in self._noise:
            if track not in self._track_noise:
                self._track_noise[track] = self._read_noise(track)
            self._noise[track, author] = self._track_noise[track].known_to(author)
        return self._noise[track, author]

    def _read_noise(self, track: Track) -> TrackNoise:
        known = self._spreads.setdefault(track, TrackSpreads(self._acceptance))
        for key, author in self._unread.pop(track, ()):
            known.note(author, key, spread(scores(self.trials_by(author, key, track))))
        return known.noise()

    def standing(self, entry: Entry) -> Standing:
        """What other authors' own trials of the same thing, on the same track, say about a finding.

        Someone else's scores agree: confirmed. Others only disagree: one author disputes, two refute.
        """
        claimed = reported(entry.finding.trials)
        if not claimed:
            return Standing.CLAIMED
        mean, disagreeing = fmean(claimed), 0
        for theirs in self._means_of(entry.key, entry.track):
            if theirs.author == entry.author:
                continue
            if agree_on_means(mean, len(claimed), theirs.mean, theirs.trials, theirs.noise, self._acceptance):
                return Standing.CONFIRMED
            disagreeing += 1
        return (Standing.CLAIMED, Standing.DISPUTED, Standing.REFUTED)[min(disagreeing, 2)]

    def _means_of(self, key: str, track: Track) -> list["_Mean"]:
        """What each who ran a thing got: the same start may be what hundreds have run, each of whom is asked about."""
        if (key, track) not in self._means:
            ran = ((author, scores(trials)) for author, trials in self.trials(key, track).items())
            self._means[key, track] = [
                _Mean(author, fmean(theirs), len(theirs), self.noise(track, author)) for author, theirs in ran if theirs
            ]
        return self._means[key, track]

    def follows(self, entry: Entry) -> bool:
        """Whether a finding's verdict follows from the numbers it carries."""
        said, finding = entry.finding.verdict, entry.finding
        parent = None if finding.proposal.parent is None else said.parent_scores
        noise = Noise(said.noise_sd, said.noise_dof)
        try:
            computed = judge(finding.trials, parent, noise, self._acceptance, simpler=said.simpler)
        except ArithmeticError:  # a stranger's numbers, each of them finite, too large or too small to calculate with
            return False
        return computed.decision is said.decision

    # --- who and what ---------------------------------------------------------------------------------------------

    def authors(self) -> list[PeerId]:
        return sorted(self._by_author)

    def tried(self, track: Track) -> set[str]:
        """Keys of everything anybody has tried on a track, cancelled trials apart."""
        return set(self._tried.get(track, ()))


class Newcomers:
    """Reads what came into a ledger since it last looked: for whoever keeps something that findings only add to."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read: Sequence[Entry] = ()
        self._count = 0  # of what was read

    def look(self) -> tuple[bool, Sequence[Entry]]:
        """Whether to begin anew, because an author was forgotten or this is the first look; and what came since."""
        anew = self._read is not self._ledger.arrived
        if anew:
            self._read, self._count = self._ledger.arrived, 0
        fresh = self._read[self._count :]
        self._count = len(self._read)
        return anew, fresh


def branch_head(own: Iterable[Entry]) -> Entry | None:
    """Where one author's branch stands after these findings of one track: at the last keep.

    A keep moves the branch if it was compared with where the branch stood, or is better than that (when two trials ran
    at a time, both against the same parent).
    """
    head: Entry | None = None
    for entry in sorted(own, key=lambda e: (e.seq, e.id)):
        if entry.finding.verdict.decision is not Decision.KEEP or entry.val_bpb is None:
            continue
        if head is None or entry.finding.proposal.parent == head.id or _rank(entry) < _rank(head):
            head = entry
    return head


def fold(entries: Iterable[Entry], acceptance: Acceptance) -> Ledger:
    ledger = Ledger(acceptance)
    for entry in entries:
        ledger.apply(entry)
    return ledger


def lineage(ledger: Ledger, entry: Entry) -> Iterator[Entry]:
    """A finding and its ancestors, newest first, as far as the ledger knows them."""
    seen: set[FindingId] = set()
    current: Entry | None = entry
    while current is not None and current.id not in seen:
        seen.add(current.id)
        yield current
        current = ledger.get(current.finding.proposal.parent)

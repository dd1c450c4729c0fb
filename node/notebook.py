"""The notebook: the one owner of journal and ledger. Everybody else asks it or looks at what it hands out.

Own findings and replays are sealed here, stored here and announced from here; peers' records come in here, are checked
against the brief, stored and folded. The journal comes before everything that tells others.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable

import trio

from gossip.envelope import Record, seal
from gossip.heard import Heard
from gossip.identity import Identity
from gossip.puller import SMALL_SWARM
from gossip.refusal import Refusal, RefusalReason
from node.clock import wall_clock
from node.events import Events, FindingReceived
from node.text import clean
from node.topic_journal import TopicJournal
from swarm.brief import Brief
from swarm.finding import Finding, check_against, decode_finding, encode_finding
from swarm.ledger import Entry, Ledger, ReplayEntry
from swarm.replay import Replay, decode_replay, encode_replay
from swarm.words import BriefError, Decision, FindingId, MalformedRecord, PeerId, SwarmError, short

MAX_INSPIRATIONS_WAITING = 256  # newest kept; a proposer is told of sixteen at most


class CopiedIdentity(SwarmError):
    """Two nodes run with one key."""


class Notebook:
    def __init__(self, brief: Brief, journal: TopicJournal, identity: Identity, events: Events) -> None:
        self.brief = brief
        self.me = PeerId(identity.peer_id)
        self.journal = journal
        self.ledger = ledger_of(brief, journal.records(), ignored=journal.unwanted() - {self.me})
        self.log_turn = trio.Lock()  # held from a seal to its append: places in our log are given in order
        self._identity = identity
        self._events = events
        self._waiting: deque[Entry] = deque(maxlen=MAX_INSPIRATIONS_WAITING)
        self._on_own: list[Callable[[], None]] = []
        self._opened_ms = int(wall_clock() * 1000)
        self._said_own_came_back = self._said_copied = self._said_forked = False
        if self.me in journal.unwanted():
            self._step_back()

    # --- ours -----------------------------------------------------------------------------------------------------

    def seal(self, finding: Finding) -> Record:
        """Sign a finding as the next record of our log. Nothing is stored yet."""
        return self._seal("finding", encode_finding(finding))

    def append_own(self, record: Record, commit: str) -> Entry:
        """Store a record of ours that is committed in the results repository; from here on it is told to others."""
        self._store_own(record)
        self.journal.journal.remember_commit(record.id, commit)
        entry = self._fold(record)
        assert isinstance(entry, Entry), f"our own record {record.id} does not decode"
        self._wake()
        return entry

    def is_news(self, record: Record) -> bool:
        """Whether a record of ours is told to everybody at once. In a large swarm only what others would act on:
        improvements, and evidence about findings. The rest comes with their next round of catch-up, once, where a
        broadcast comes over every connection.
        """
        entry = self.ledger.get(FindingId(record.id))
        if entry is None or entry.finding.verdict.decision is Decision.KEEP:
            return True
        return len(self.journal.heads()) <= SMALL_SWARM

    def append_replay(self, replay: Replay) -> ReplayEntry:
        """Sign a replay, store it and tell it to others. No commit belongs to it: its finding has one.

        Whoever calls holds `log_turn`.
        """
        record = self._seal("replay", encode_replay(replay))
        self._store_own(record)
        entry = self._fold(record)
        assert isinstance(entry, ReplayEntry), f"our own record {record.id} does not decode"
        self._wake()
        return entry

    def _seal(self, kind: str, payload: bytes) -> Record:
        seq, previous = self.journal.last(self.me)
        at_ms = int(wall_clock() * 1000)
        return seal(self._identity, kind, self.journal.brief, seq + 1, previous, at_ms, payload)

    def _store_own(self, record: Record) -> None:
        if not self.journal.append(record, received=wall_clock(), own=True):
            raise CopiedIdentity(
                f"another node writes with the key of this one (record {record.seq} of {self.me} exists twice): stop "
                "one of the two, and move identity.key of a copied home away so that it becomes a node of its own"
            )

    def _wake(self) -> None:
        for wake in self._on_own:
            wake()

    def when_own(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a record of ours has been stored."""
        self._on_own.append(wake)

    def own(self) -> list[Entry]:
        return sorted(self.ledger.entries(author=self.me), key=lambda entry: entry.seq)

    def next_number(self) -> int:
        return max((entry.finding.number for entry in self.own()), default=0) + 1

    # --- peers' ---------------------------------------------------------------------------------------------------

    def refuse_author(self, author: str) -> Refusal | None:
        """Whether nothing more of an author is taken: it was proven to contradict itself."""
        if author not in self.journal.unwanted():
            return None
        return Refusal(RefusalReason.AUTHOR_EQUIVOCATED, f"{author} signed records that contradict each other")

    def holds(self, record: Record) -> bool:
        return self.journal.at(record.author, record.seq) == record.id

    def receive(self, record: Record, heard: Heard | None = None) -> Refusal | None:
        """Check a peer's record against the brief, store it, fold it. Otherwise the refusal with its reason."""
        if self.holds(record):
            return Refusal(RefusalReason.KNOWN, f"record {record.id} is in the journal")
        if (refusal := self.refuse_author(record.author)) is not None:
            return refusal
        if record.author == self.me and (refusal := self._look_at_own(record)) is not None:
            return refusal
        contradicted = self.journal.contradicted(record)
        if contradicted is not None:
            self._prove(contradicted, record)
            return Refusal(RefusalReason.EQUIVOCATION, f"{record.author} signed two records number {record.seq}")
        # Stored whatever it says: a log with a gap could never be handed on.
        self.journal.append(record, received=wall_clock(), own=False, heard=heard)
        try:
            entry = self._fold(record)
        except (MalformedRecord, BriefError) as error:
            return Refusal(RefusalReason.CONTENT, str(error))
        if record.author == self.me:
            self._say_own_came_back()
        elif isinstance(entry, ReplayEntry):
            self._say_replayed(entry)
        elif entry is not None:
            self._waiting.append(entry)
            self._events.emit(received(entry))
        return None

    def _prove(self, first: Record, second: Record) -> None:
        """From here on an author says nothing to us, and never said anything: so it does not matter which of its two
        stories came first, and every node that holds the proof has the same ledger."""
        self.journal.prove(first, second, wall_clock())
        author = PeerId(first.author)
        if author == self.me:  # our own findings stay ours; nobody else believes them
            self._step_back()
            return
        self.ledger.forget(author)
        self._events.notice(
            f"{short(author)} signed two records that contradict each other (a copied home, or a lie): all its "
            "findings are ignored from now on",
            warning=True,
        )

    # --- a copy of this identity -----------------------------------------------------------------------------------
    # Whoever hears the other first steps back: what it makes stays in its own home, untold, so that the swarm never
    # gets to see two stories, and the other one can go on. Only if both were told before either heard the other is the
    # identity of no more use in this topic.

    def _look_at_own(self, record: Record) -> Refusal | None:
        """A record with our key that we have not: from before a backup, or another machine's. A refusal: not now."""
        if self.log_turn.locked():
            self._step_back()
            return Refusal(RefusalReason.INBOX_FULL, "a record of this node is being written; theirs comes again")
        if record.at_ms > self._opened_ms:
            self._step_back()
        return None

    def _step_back(self) -> None:
        self.journal.hold_back(self.me)
        forked = self.me in self.journal.unwanted()
        if forked and not self._said_forked:
            self._said_forked = self._said_copied = True
            self._events.notice(
                "this node's identity is used by another machine, too, and both have written: research goes on, but "
                "what is found here stays in this home, because peers would believe neither; to take part again stop "
                "this node and move its identity.key away, so that it becomes a node of its own",
                warning=True,
            )
        elif not self._said_copied:
            self._said_copied = True
            self._events.notice(
                "this node's identity is used by another machine, too, right now: research goes on, but what is "
                "found here is told to nobody until the next start; give one of the two a home of its own, without the "
                "copied identity.key",
                warning=True,
            )

    def _say_replayed(self, entry: ReplayEntry) -> None:
        """Of a finding of ours: what somebody else's trial of it came to, and what it stands for now."""
        ours, trial = self.ledger.get(entry.replay.of), entry.replay.trial
        if ours is None or ours.author != self.me:
            return
        name = clean(entry.replay.node_name, 40) or short(entry.author)
        steps = "" if entry.replay.steps is None else f" by its first {entry.replay.steps} steps"
        came_to = trial.outcome.value if trial.val_bpb is None else f"{trial.val_bpb:.4f}"
        standing = self.ledger.standing(ours).value
        self._events.notice(f"{name} replayed #{ours.finding.number}{steps}: {came_to}; it is {standing}")

    def _say_own_came_back(self) -> None:
        if not self._said_own_came_back and not self._said_copied:
            self._said_own_came_back = True
            self._events.notice(
                "peers hold findings of this node that were missing here; they are taken back. If this home was not "
                "restored from a backup, another node runs with a copy of its key: stop one of the two",
                warning=True,
            )

    def drain(self, limit: int = 16) -> tuple[Entry, ...]:
        """Peers' findings that came since the last call, the newest `limit` of them."""
        drained = tuple(entry for entry in self._waiting if entry.id in self.ledger)[-limit:]
        self._waiting.clear()
        return drained

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Return drained findings that no proposal used after all."""
        self._waiting = deque([*entries, *self._waiting], maxlen=MAX_INSPIRATIONS_WAITING)

    def _fold(self, record: Record) -> Entry | ReplayEntry | None:
        return fold_record(self.ledger, record, self.brief)


def fold_record(ledger: Ledger, record: Record, brief: Brief) -> Entry | ReplayEntry | None:
    """Into the ledger; None for kinds the ledger does not hold. Raises MalformedRecord, BriefError."""
    if record.kind == "finding":
        entry = entry_of(record, brief)
        ledger.apply(entry)
        return entry
    if record.kind == "replay":
        replay = replay_entry_of(record)
        ledger.apply_replay(replay)
        return replay
    return None


def entry_of(record: Record, brief: Brief) -> Entry:
    """A finding's record as an entry of its brief's ledger. Raises MalformedRecord, BriefError."""
    finding = decode_finding(record.payload)
    check_against(brief, finding)
    return Entry(
        id=FindingId(record.id),
        author=PeerId(record.author),
        seq=record.seq,
        at_ms=record.at_ms,
        finding=finding,
    )


def replay_entry_of(record: Record) -> ReplayEntry:
    """A replay's record as the ledger knows it; its finding may be unknown here. Raises MalformedRecord."""
    replay = decode_replay(record.payload)
    return ReplayEntry(record.id, PeerId(record.author), record.seq, record.at_ms, replay)


def ledger_of(brief: Brief, records: Iterable[Record], *, ignored: Collection[str] = ()) -> Ledger:
    """What a brief's records say, leaving aside those that say nothing valid, and those of authors to be ignored."""
    ledger = Ledger(brief.acceptance)
    for record in records:
        if record.author in ignored:
            continue
        with contextlib.suppress(MalformedRecord, BriefError):
            fold_record(ledger, record, brief)
    return ledger


def received(entry: Entry) -> FindingReceived:
    """What is said of a peer's finding that came."""
    finding = entry.finding
    return FindingReceived(
        id=entry.id,
        peer=entry.author,
        name=clean(finding.node_name, 40),
        number=finding.number,
        title=clean(finding.proposal.title, 120),
        outcome=finding.outcome,
        val_bpb=entry.val_bpb,
        hardware_class=finding.track.hardware_class,
    )

"""Claims of a running node: its own, told before it trains, and those of others, which it leaves alone.

Owns when something is claimed, for how long, and when it is let go. The rules are swarm/claim.py's, the bytes are
gossip's; nothing here is waited for, and nothing depends on an answer.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import trio

from gossip.puller import SMALL_SWARM
from node.notebook import Notebook
from swarm.claim import Lease, Leases, lease_key
from swarm.finding import Proposal
from swarm.ledger import Entry, Newcomers
from swarm.program import canonical_key
from swarm.space import ChoiceParameter, FloatParameter, IntParameter, Parameter
from swarm.trial import Track
from swarm.words import Config, PeerId, Value

TRIALS_AHEAD = 2  # that a claim is for; most experiments have one, and those that have more claim again
GRACE_SECONDS = 60.0  # for what lies around a trial: evaluation, commit, the finding's way to others; a guess
MOST_TRIALS = 16  # after which a claim of somebody else is obeyed no longer, however often it comes; a guess
SLOTS = 16  # as many as one author has, docs/protocol.md: a worker needs two, of what it runs and of what comes next
ANSWER_SECONDS = 10.0  # between two answers to claims of what has begun here
FEW = 64  # values; of a setting with more it takes luck that two nodes draw the same one

_Setting = tuple[str, type, Value]
Tell = Callable[[str, int, int, bool], None]
"""(key, slot, seconds, begun): broadcasts a claim, without a wait and without a word on who heard it."""


@dataclass(slots=True)
class _Own:
    key: str
    ends: float
    begun: bool = False
    answered_at: float = float("-inf")


class Claims:
    def __init__(self, notebook: Notebook, track: Track) -> None:
        self._notebook = notebook
        self._track = track
        self._tell: Tell = _to_nobody
        self._own: dict[int, _Own] = {}  # by slot
        self._told: dict[int, tuple[str, float]] = {}  # the last claim of each slot, and when it ends
        self._others = Leases(self._seconds(MOST_TRIALS))
        self._newcomers = Newcomers(notebook.ledger)
        self._values: set[_Setting] = set()

    def when_claimed(self, tell: Tell) -> None:
        """Where our claims go from here on."""
        self._tell = tell

    # --- ours -----------------------------------------------------------------------------------------------------

    def claim(self, proposal: Proposal) -> None:
        """Before it trains, early enough for others who thought of the same to hear it."""
        self._hold(proposal, begun=False)

    def begin(self, proposal: Proposal) -> None:
        """It trains now, or goes on training. What was claimed to be next, and was not, is let go."""
        key = self._key(proposal)
        self._own = {slot: own for slot, own in self._own.items() if own.begun or own.key == key}
        self._hold(proposal, begun=True)

    def leave(self, proposal: Proposal) -> None:
        """It will not be trained, or is over. Its finding tells others, or the next claim, which takes its slot."""
        slot = self._slot_of(self._key(proposal))
        if slot is not None:
            del self._own[slot]

    def give_up(self) -> None:
        """All of them, at the end of a run: nobody else is going to."""
        for slot, (key, ends) in self._told.items():
            if ends > trio.current_time():
                self._tell(key, slot, 0, False)
        self._own.clear()
        self._told.clear()

    def is_lost(self, proposal: Proposal) -> bool:
        """Whether somebody else has it, and is to have it."""
        key, now = self._key(proposal), trio.current_time()
        holder = self._others.holder(key, now)
        if holder is None:
            return False
        slot = self._slot_of(key)
        own = Lease(self._notebook.me, key, slot is not None and self._own[slot].begun, now, now)
        return holder.rank < own.rank

    def own(self) -> list[tuple[str, float]]:
        """(key, seconds left)."""
        now = trio.current_time()
        return [(own.key, max(0.0, own.ends - now)) for own in self._own.values()]

    # --- others' --------------------------------------------------------------------------------------------------

    def hear(self, author: str, key: str, slot: int, seconds: int, begun: bool) -> None:
        if author == self._notebook.me:
            return
        now, records = trio.current_time(), self._notebook.journal.heads().get(author, 0)
        lease = self._others.hear(PeerId(author), key, slot, seconds, begun=begun, records=records, now=now)
        mine = self._slot_of(key)
        if lease is not None and mine is not None:
            self._answer(mine, lease, now)

    def held(self) -> frozenset[str]:
        """What others work on now, as lease keys."""
        return frozenset(lease.key for lease in self._others.live(trio.current_time()))

    def of_others(self) -> dict[str, int]:
        """How much each author has claimed now, as far as it is obeyed."""
        return dict(Counter(lease.author for lease in self._others.live(trio.current_time())))

    # --- how ------------------------------------------------------------------------------------------------------

    def _hold(self, proposal: Proposal, *, begun: bool) -> None:
        if proposal.parent is None:  # a baseline: every node measures its own
            return
        key, now = self._key(proposal), trio.current_time()
        slot = self._slot_of(key)
        if slot is None:
            slot = next((n for n in range(SLOTS) if n not in self._own), None)
            if slot is None:
                return
            self._own[slot] = _Own(key, now)
        own = self._own[slot]
        own.begun = begun
        if own.ends - now < self._seconds(1):
            own.ends = now + self._seconds(TRIALS_AHEAD)
            if self._is_worth_telling(proposal):
                self._say(slot, own)

    def _say(self, slot: int, own: _Own) -> None:
        self._told[slot] = (own.key, own.ends)
        self._tell(own.key, slot, max(1, round(own.ends - trio.current_time())), own.begun)

    def _answer(self, slot: int, theirs: Lease, now: float) -> None:
        """Somebody claims what is being trained here: it came late, or missed our claim. Say it again, as begun."""
        own = self._own[slot]
        if own.begun and not theirs.begun and now - own.answered_at >= ANSWER_SECONDS:
            own.answered_at = now
            self._say(slot, own)

    def _key(self, proposal: Proposal) -> str:
        return lease_key(canonical_key(self._notebook.brief, proposal.config, proposal.source), self._track)

    def _slot_of(self, key: str) -> int | None:
        return next((slot for slot, own in self._own.items() if own.key == key), None)

    def _seconds(self, trials: int) -> float:
        return trials * self._track.budget_seconds + GRACE_SECONDS

    # --- what is worth telling -----------------------------------------------------------------------------------

    def _is_worth_telling(self, proposal: Proposal) -> bool:
        """In a large swarm only what others are likely to think of, too: options, small numbers, and values that
        somebody has tried. A number drawn from a range is drawn twice once in thousands of times."""
        if len(self._notebook.journal.heads()) <= SMALL_SWARM:
            return True
        parameters, known = self._notebook.brief.space.parameters, self._known_values()
        return all(
            _has_few_values(parameters[name]) or (name, type(value), value) in known
            for name, value in proposal.config.items()
        )

    def _known_values(self) -> set[_Setting]:
        """Of every config that was tried on this track."""
        anew, fresh = self._newcomers.look()
        base = self._notebook.brief.base_config
        if anew:
            self._values = set(_settings(base))
        for entry in fresh:
            if entry.track == self._track:
                self._values.update(changed_settings(base, entry))
        return self._values


def _has_few_values(parameter: Parameter) -> bool:
    match parameter:
        case ChoiceParameter():
            return True
        case IntParameter():
            return parameter.high - parameter.low < FEW
        case FloatParameter():
            return parameter.low == parameter.high


def changed_settings(base: Config, entry: Entry) -> frozenset[_Setting]:
    """Of a finding's config, those that are not the start's."""
    return frozenset(_settings(entry.finding.proposal.config)) - frozenset(_settings(base))


def _settings(config: Config) -> Iterator[_Setting]:
    return ((name, type(value), value) for name, value in config.items())


def _to_nobody(key: str, slot: int, seconds: int, begun: bool) -> None:
    """Nobody is there, or the network is down."""

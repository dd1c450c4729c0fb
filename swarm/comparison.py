"""A comparison: the trials of one proposal and, where needed, of its parent, until they come to a verdict.

Owns the evidence of one experiment while it grows. Pure: trials are run by whoever asks `next_side`.
"""

from swarm.brief import Brief
from swarm.finding import Proposal
from swarm.ledger import Ledger
from swarm.simplicity import simpler, size
from swarm.trial import Track, Trial, scores
from swarm.verdict import Side, Verdict, judge, next_trial
from swarm.words import PeerId

_KEEP_CURVES = 1  # trials of a finding that carry their curve: a record has to fit into one message


class Comparison:
    def __init__(self, proposal: Proposal, brief: Brief, ledger: Ledger, me: PeerId, track: Track) -> None:
        parent = ledger.get(proposal.parent)
        self.parent = parent.finding.proposal if parent is not None else None
        self._rule, self._noise = brief.acceptance, ledger.noise(track, me)
        self._candidate: list[Trial] = []
        self._parent_again: list[Trial] = []
        self._known: tuple[float, ...] | None = None  # the parent's scores from before
        self._simpler = False
        if parent is not None:
            own = parent.author == me and parent.finding.track == track
            mine = ledger.trials_by(me, parent.key, track)
            self._known = ledger.own_scores(parent) if own else scores(mine)
            before, after = parent.finding.proposal, proposal
            self._simpler = simpler(size(after.config, after.source, brief), size(before.config, before.source, brief))

    def next_side(self) -> Side | None:
        """What to run next; None when there is a verdict, or when more trials are not worth it."""
        return next_trial(
            self._candidate, self._parent_scores, self._parent_again, self._noise, self._rule, simpler=self._simpler
        )

    def add(self, side: Side, trial: Trial) -> None:
        trials = self._candidate if side is Side.CANDIDATE else self._parent_again
        keeps_curve = side is Side.CANDIDATE and len(trials) < _KEEP_CURVES
        trials.append(trial if keeps_curve else trial.model_copy(update={"curve": ()}))

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(self._candidate)

    @property
    def parent_trials(self) -> tuple[Trial, ...]:
        return tuple(self._parent_again)

    def verdict(self) -> Verdict:
        return judge(self._candidate, self._parent_scores, self._noise, self._rule, simpler=self._simpler)

    @property
    def _parent_scores(self) -> tuple[float, ...] | None:
        return None if self._known is None else (*self._known, *scores(self._parent_again))

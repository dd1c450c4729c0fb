"""A campaign: one node alone that searches a surface instead of training, and judges as nodes judge.

Owns the loop and what a surface is. What looks promising is run again (swarm/comparison.py), and every run counts as a
trial, so that proposers are compared at equal compute. No clock, no files, no network; the same surface, proposer and
seed give the same campaign.
"""

import hashlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from node import shipped
from node.proposers.port import Request
from node.topics.topic_file import SpaceFile, read_space_file
from swarm.brief import Brief, Corpus, Shard
from swarm.comparison import Comparison
from swarm.finding import Finding, Proposal
from swarm.ledger import Entry, Ledger
from swarm.space import SearchSpace
from swarm.trial import Track, Trial
from swarm.verdict import Side
from swarm.words import Config, Decision, FindingId, Operator, Outcome, PeerId

TRACK = Track(hardware_class="cpu-simulated-1", budget_seconds=20.0)
ME = PeerId("12D3KooWMeMeMeMe")
SEEDS_APART = 1000  # between the seeds of two campaigns' first proposals


class Surface(Protocol):
    """What a campaign needs of a problem."""

    space: SearchSpace
    start: Config

    def trial(self, config: Config, rng: random.Random) -> tuple[Outcome, float | None]: ...

    def truth(self, config: Config) -> float:
        """Bits per byte without noise."""
        ...


@cache
def space_file() -> SpaceFile:
    """configs/gpt.toml."""
    return read_space_file(shipped.configs() / "gpt.toml")


def research_space() -> SearchSpace:
    return SearchSpace(parameters=space_file().space)


def surface_brief(surface: Surface) -> Brief:
    """A research problem with the surface's start and space. Its code and its text are never looked at."""
    shard = Shard(sha256="0" * 64, raw_bytes=1000, tokens=1000)
    return Brief(
        name="simulated",
        goal="Lower is better.",
        editable={"train.py": "print('simulated')\n"},
        base_config=surface.start,
        space=surface.space,
        corpus=Corpus(documents=1, train=shard, validation=shard, sealed=shard),
    )


@dataclass
class Campaign:
    surface: Surface
    propose: Callable[[Request], Proposal]
    seed: int
    ledger: Ledger = field(init=False)
    best: list[float] = field(default_factory=list[float])  # truth of where the branch stands, after each trial
    endings: list[Outcome] = field(default_factory=list[Outcome])  # of each experiment's first trial
    tried: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.brief = surface_brief(self.surface)
        self.ledger = Ledger(self.brief.acceptance)
        self._rng = random.Random(f"campaign {self.seed}")

    def run(self, trials: int) -> "Campaign":
        self._experiment(self._baseline())
        self.endings.clear()
        while len(self.best) < trials:
            self._experiment(self.propose(self._request()))
        del self.best[trials:]
        return self

    def _baseline(self) -> Proposal:
        digest = self.brief.source_sha256
        return Proposal(
            operator=Operator.DRAFT, proposer="baseline", config=self.brief.base_config, source_sha256=digest, title="b"
        )

    def _request(self) -> Request:
        parent = self.ledger.branch_best(ME, TRACK)
        assert parent is not None, "the start of a surface is measured"
        number = len(self.ledger) + 1
        history = tuple(self.ledger.entries(track=TRACK))
        noise, tried, seed = self.ledger.noise(TRACK, ME), frozenset(self.tried), SEEDS_APART * self.seed + number
        return Request(self.brief, ME, TRACK, parent, history, (), (), tried, number, seed, noise)

    def _experiment(self, proposal: Proposal) -> Entry:
        comparison = Comparison(proposal, self.brief, self.ledger, ME, TRACK)
        while (side := comparison.next_side()) is not None:
            what = proposal if side is Side.CANDIDATE or comparison.parent is None else comparison.parent
            comparison.add(side, self._trial(what.config))
        made = Finding(
            number=len(self.ledger) + 1,
            started_at="2026-01-01T00:00:00Z",
            proposal=proposal,
            trials=comparison.trials,
            parent_trials=comparison.parent_trials,
            verdict=comparison.verdict(),
        )
        entry = _entry(made)
        self.ledger.apply(entry)
        self.tried.add(proposal.key)
        self.endings.append(made.trials[0].outcome)
        head = self.ledger.branch_best(ME, TRACK)
        stands = self.surface.truth(head.finding.proposal.config) if head else math.inf
        before = self.best[-1] if self.best else self.surface.truth(self.surface.start)
        spent = len(made.trials) + len(made.parent_trials)
        self.best += [*[before] * (spent - 1), stands if made.verdict.decision is Decision.KEEP else before]
        return entry

    def _trial(self, config: Config) -> Trial:
        outcome, bpb = self.surface.trial(config, self._rng)
        return Trial(outcome=outcome, track=TRACK, seed=0, seconds=TRACK.budget_seconds, val_bpb=bpb)


def _entry(finding: Finding) -> Entry:
    id = hashlib.sha256(f"{ME}{finding.model_dump_json()}".encode()).hexdigest()
    return Entry(id=FindingId(id), author=ME, seq=finding.number, at_ms=finding.number, finding=finding)

"""Two classic moves: tune the parent, and combine it with somebody's winning change.

Owns which settings move and whose change is worth taking. Pure: a request and a random.Random in, a draft out.
A peer's source is never taken, only differences of its config: numbers and options of the brief's own space.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from node.proposers.draws import can_move, step
from node.proposers.port import Request, is_new
from swarm.finding import Finding
from swarm.ledger import Entry
from swarm.space import changes
from swarm.words import Config, Decision, FindingId, Operator, Standing, short

NEAR_SETTINGS = 3  # a finding that differs from the parent in at most so many settings was a try from here
BEST_FIRST = 0.75  # how often the best source is taken rather than any of the good ones; guess
FITTING = 2.0  # how much likelier a setting is moved on hardware where that is what its trials are good for; guess
SHAPE = ("depth", "width", "layers", "heads", "context", "batch")  # words in the names of settings that cost compute
SOURCES = 8  # the most promising changes that are drawn from


@dataclass(frozen=True)
class Draft:
    """A config somebody thought of, and why."""

    config: Config
    operator: Operator
    rationale: str
    sources: tuple[FindingId, ...] = ()  # peers' findings it took something from


@dataclass(frozen=True)
class Source:
    """A change that helped somebody, ready to be put onto our parent."""

    entry: Entry
    change: Config
    weight: float  # what it may be worth, in bits per byte
    leads: bool  # the finding, a peer's, beats our parent on our track
    drained: bool  # and it is news


def tune(request: Request, rng: random.Random) -> Draft:
    """One to three settings of the parent take a step, the seldom tried ones first."""
    settings = rng.choices((1, 2, 3), weights=(0.34, 0.33, 0.33))[0]
    config = mutate(request, request.parent_config, rng, settings)
    return Draft(config, Operator.TUNE, "A step from the branch's best in settings that were seldom tried from here.")


def mutate(request: Request, config: Config, rng: random.Random, settings: int) -> Config:
    """`config` with a step in that many settings."""
    space = request.brief.space
    tries = _tries(request)
    out = space.normalise(config)
    steering = request.steering
    movable = [n for n, parameter in space.parameters.items() if can_move(parameter) and not steering.fixes(n)]
    for _ in range(min(settings, len(movable))):
        weights = [_fit(request, name) / (1 + tries[name]) ** 2 for name in movable]
        name = rng.choices(movable, weights=weights)[0]
        movable.remove(name)
        out[name] = step(space.parameters[name], out[name], rng)
    return out


def _fit(request: Request, name: str) -> float:
    """On a CPU what costs nothing (rates, norms, initialisation) tells most. A GPU is where depth and width pay."""
    shapes = any(word in name for word in SHAPE)
    return FITTING if shapes is not request.on_cpu else 1.0


def _tries(request: Request) -> Counter[str]:
    """How often each setting was moved from the parent's config, by anybody."""
    tries: Counter[str] = Counter()
    for entry in request.on_track:
        moved = changes(request.parent_config, entry.finding.proposal.config)
        if len(moved) <= NEAR_SETTINGS and _same_source(entry, request.parent):
            tries.update(moved.keys())
    return tries


def combine(request: Request, rng: random.Random, sources: list[Source]) -> Draft | None:
    """A source's change on the parent; where a leader's was tried already, a part of it or one step beyond it."""
    sources = [s for s in sources if s.leads or is_new(request, {**request.parent_config, **s.change})]
    if not sources:
        return None
    source = sources[0] if rng.random() < BEST_FIRST else _weighted(sources[:SOURCES], rng)
    change = source.change
    config = {**request.parent_config, **change}
    if not is_new(request, config):
        if len(change) > 1 and rng.random() < 0.3:
            kept = rng.sample(sorted(change), rng.randint(1, len(change) - 1))
            config = {**request.parent_config, **{name: change[name] for name in kept}}
        else:
            config = mutate(request, config, rng, rng.choices((1, 2), weights=(0.75, 0.25))[0])
    entry = source.entry
    mine = entry.author == request.me
    whose = f"own run {entry.finding.number}" if mine else f"finding {short(entry.id)} of peer {short(entry.author)}"
    rationale = f"Takes {', '.join(sorted(change))} from {whose} onto the branch's best."
    return Draft(config, Operator.COMBINE, rationale, () if mine else (entry.id,))


def _weighted(sources: list[Source], rng: random.Random) -> Source:
    return rng.choices(sources, weights=[max(s.weight, 1e-6) for s in sources])[0]


def find_sources(request: Request) -> list[Source]:
    """Changes worth taking, the most promising first; news that beats our parent before everything else."""
    drained = {e.id for e in request.inspirations}
    known = request.known
    sources = [
        source
        for entry in known.values()
        if entry.id != request.parent.id and (source := _source(request, entry, known, entry.id in drained))
    ]
    return sorted(sources, key=lambda s: (not s.drained, -s.weight, s.entry.id))


def _source(request: Request, entry: Entry, known: Mapping[FindingId, Entry], drained: bool) -> Source | None:
    if entry.val_bpb is None:
        return None
    ahead = lead(request, entry) if entry.author != request.me else 0.0
    if ahead > 0:
        change = changes(request.brief.base_config, entry.finding.proposal.config)
        weight = ahead
    else:
        parent = known.get(entry.finding.proposal.parent) if entry.finding.proposal.parent else None
        before = parent.finding.proposal.config if parent else request.brief.base_config
        change = changes(before, entry.finding.proposal.config)
        gain = _gain(request, entry, parent)
        weight = gain if gain >= request.noise_sd else 0.0  # less than that is luck more often than not
    if weight <= 0 or not changes(request.parent_config, {**request.parent_config, **change}):
        return None
    return Source(entry, change, weight, leads=ahead > 0, drained=ahead > 0 and drained)


def lead(request: Request, entry: Entry) -> float:
    """By how much a finding of this track beats our parent with a source we know. 0: it does not, or cannot be said, or
    others could not see it."""
    if request.standings.get(entry.id) in (Standing.DISPUTED, Standing.REFUTED):
        return 0.0
    ours, theirs = request.parent.val_bpb, entry.val_bpb
    readable = entry.finding.proposal.source is None or _same_source(entry, request.parent)
    if theirs is None or entry.track != request.track or not readable:
        return 0.0
    return float("inf") if ours is None else ours - theirs


def _gain(request: Request, entry: Entry, parent: Entry | None) -> float:
    """What a finding's change brought its author. Numbers of another track only say whether it was kept."""
    if parent is None or entry.track != request.track or not _comparable(entry.finding, parent.finding):
        kept = entry.finding.verdict.decision is Decision.KEEP and entry.finding.proposal.parent is not None
        return request.noise_sd if kept else 0.0
    if entry.val_bpb is None or parent.val_bpb is None:
        return 0.0
    return parent.val_bpb - entry.val_bpb


def _comparable(finding: Finding, parent: Finding) -> bool:
    same_code = finding.proposal.source_sha256 == parent.proposal.source_sha256
    return same_code and finding.track == parent.track


def _same_source(entry: Entry, parent: Entry) -> bool:
    return entry.finding.proposal.source_sha256 == parent.finding.proposal.source_sha256

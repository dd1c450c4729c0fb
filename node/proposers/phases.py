"""What the model is nudged towards: a phase by progress, and a category of change by turns.

Small models stay in their neighbourhood: asked ten times, they propose ten learning rates. So the prompt names one
category, another one each time, and none that was just tried; and as long as nothing is gained, the phase moves on.
Pure: own findings in, words out. What a change touched is told by the words in its settings' names or its title.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.proposers.port import Request
from swarm.ledger import Entry
from swarm.space import changes
from swarm.words import Decision, FindingId, Operator

PLATEAU_RUNS = 10  # own experiments without a keep after which the phase moves on; guess
RECENT_RUNS = 3  # own experiments whose categories are left alone


class Phase(StrEnum):
    TUNING = "tuning"
    ARCHITECTURE = "architecture"
    MOONSHOTS = "moonshots"


PHASE_WORDS = {
    Phase.TUNING: "Tuning: small, well-founded steps around the current best still pay. Prefer them.",
    Phase.ARCHITECTURE: "Architecture: tuning has stopped paying here. Change how the model is built or trained.",
    Phase.MOONSHOTS: "Moonshots: small and medium changes have stopped paying. Propose something bold that could "
    "change the picture, even if it is likely to fail.",
}


@dataclass(frozen=True)
class Category:
    name: str
    words: tuple[str, ...]  # in names of settings and in titles
    advice: str


_OPTIMIZER = Category("optimizer", ("optimizer", "adam", "muon", "beta", "momentum", "learning_rate", "lr", "clip"),
                      "which optimizer updates which weights, its rates, momentum and clipping")  # fmt: skip
_INIT = Category(
    "initialisation", ("init", "std", "gain"), "how weights start: scale, per layer, output layers at zero"
)
_NORM = Category("normalisation", ("norm", "softcap"), "which norm, where, with or without learned scale")
_ATTENTION = Category("attention", ("attention", "heads", "head", "rope", "positions", "qk", "window", "context", "kv"),
                      "heads, positions, windows, what keys and queries go through")  # fmt: skip
_SCHEDULE = Category("schedule", ("schedule", "warmup", "cooldown", "decay_fraction"),
                     "how the rates rise and fall over the budget")  # fmt: skip
_DATA = Category("data order", ("batch", "sequence", "data", "order", "shuffle", "curriculum", "accumulation"),
                 "batch size, length of sequences, how they are drawn, small first")  # fmt: skip
_REGULARISATION = Category(
    "regularisation",
    ("dropout", "weight_decay", "smoothing", "regular", "ema", "average"),
    "decay, dropout, averaging of weights, smoothing; less of it where the budget is short",
)
_SHAPE = Category("architecture", ("depth", "width", "layers", "mlp", "activation", "tied", "embedding", "residual",
                                   "ngram", "shift", "lane", "skip", "expert", "ratio"),
                  "depth against width, activation, embeddings, skip connections, mixing of tokens")  # fmt: skip
_SPEED = Category("throughput", ("compile", "dtype", "bfloat", "fused", "throughput", "speed", "kernel", "cache"),
                  "more tokens in the same time: fewer operations, larger ones, less overhead")  # fmt: skip
_OTHER = Category("another field", (), "an idea from outside of language models, or one that contradicts what is usual")
CATEGORIES = (_OPTIMIZER, _INIT, _NORM, _ATTENTION, _SCHEDULE, _DATA, _REGULARISATION, _SHAPE, _SPEED, _OTHER)
_OF_PHASE = {
    Phase.TUNING: (_OPTIMIZER, _SCHEDULE, _DATA, _INIT, _REGULARISATION, _NORM),
    Phase.ARCHITECTURE: (_SHAPE, _ATTENTION, _NORM, _INIT, _SPEED, _OPTIMIZER),
    Phase.MOONSHOTS: (_OTHER, _SHAPE, _SPEED, _DATA, _ATTENTION, _OPTIMIZER),
}


def phase_of(own: Iterable[Entry]) -> Phase:
    """A plateau moves on, up to moonshots; a moonshot that was kept begins anew: there is something to tune again."""
    phases, at, dry = list(Phase), 0, 0
    for entry in own:
        if entry.finding.proposal.operator is Operator.DRAFT:
            continue
        if entry.finding.verdict.decision is Decision.KEEP:
            at, dry = (0 if phases[at] is Phase.MOONSHOTS else at), 0
            continue
        dry += 1
        if dry >= PLATEAU_RUNS and at + 1 < len(phases):
            at, dry = at + 1, 0
    return phases[at]


def nudge(request: Request, *, code: bool) -> tuple[Phase, Category]:
    """The phase, and the category whose turn it is. Without code only categories that the search space has."""
    own = sorted((e for e in request.on_track if e.author == request.me), key=lambda e: e.seq)
    phase = phase_of(own)
    settings = list(request.brief.space.parameters)
    fitting = [c for c in _OF_PHASE[phase] if code or touched(settings, c)] or [_OTHER]
    just_tried = {c.name for entry in own[-RECENT_RUNS:] for c in categories_of(entry, request.known)}
    turn = request.number % len(fitting)
    in_turn = fitting[turn:] + fitting[:turn]
    return phase, next((c for c in in_turn if c.name not in just_tried), in_turn[0])


def categories_of(entry: Entry, known: Mapping[FindingId, Entry]) -> list[Category]:
    """What a finding's change touched."""
    proposal = entry.finding.proposal
    parent = known.get(proposal.parent) if proposal.parent else None
    if parent is None:
        return []
    names = list(changes(parent.finding.proposal.config, proposal.config))
    if proposal.source_sha256 != parent.finding.proposal.source_sha256:
        names.append(proposal.title)
    return [category for category in CATEGORIES if touched(names, category)]


def touched(names: Sequence[str], category: Category) -> bool:
    said = [f"_{re.sub(r'[^a-z0-9]+', '_', name.lower())}_" for name in names]
    return any(f"_{word}" in name for word in category.words for name in said)

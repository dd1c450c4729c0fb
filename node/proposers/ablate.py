"""Taking a change back: what the branch gathered on its way may have stopped helping, or never did.

Owns which change of the lineage is doubted. The one that brought least, in units of the noise, most of all.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from node.proposers.moves import Draft
from node.proposers.port import Request, is_new
from swarm.ledger import Entry
from swarm.space import changes
from swarm.words import Config, FindingId, Operator, short

MAX_STEPS = 200  # of the lineage that are looked at


@dataclass(frozen=True)
class _Step:
    """What to put back, and how much the change had brought when it was made."""

    before: Config
    effect: float  # standard deviations of a trial
    where: str


def take_back(request: Request, rng: random.Random) -> Draft | None:
    """The parent without a change, or without one setting of it; None if there is none left to take back."""
    steps = [step for step in _steps(request) if is_new(request, {**request.parent_config, **step.before})]
    if not steps:
        return None
    step = rng.choices(steps, weights=[1.0 / (1.0 + max(0.0, step.effect)) for step in steps])[0]
    rationale = f"Takes back {', '.join(sorted(step.before))} from {step.where}: simpler at equal score is a win."
    return Draft({**request.parent_config, **step.before}, Operator.ABLATE, rationale)


def _steps(request: Request) -> list[_Step]:
    """Changes that still stand, each setting of one alone and the whole; then settings off the base config."""
    standing, found, seen = request.parent_config, list[_Step](), set[frozenset[str]]()
    base = {k: v for k, v in request.brief.base_config.items() if k in changes(standing, request.brief.base_config)}
    for entry, before in _lineage(request):
        made = changes(before.finding.proposal.config, entry.finding.proposal.config)
        still = {name for name, value in made.items() if name in base and standing[name] == value}
        effect = (entry.finding.verdict.effect or 0.0) / max(entry.finding.verdict.noise_sd, request.noise_sd)
        for names in [{name} for name in sorted(still)] + ([still] if len(still) > 1 else []):
            if frozenset(names) not in seen:
                seen.add(frozenset(names))
                restored = {name: base[name] for name in sorted(names)}
                found.append(_Step(restored, effect / len(made), f"run {short(entry.id)}"))
    for name, value in base.items():
        if frozenset((name,)) not in seen:
            found.append(_Step({name: value}, 0.0, "an earlier run"))
    return found


def _lineage(request: Request) -> Iterator[tuple[Entry, Entry]]:
    """The parent and its ancestors, newest first, each with its own parent, as far as they are known."""
    visited: set[FindingId] = set()
    current = request.parent
    while len(visited) < MAX_STEPS and current.id not in visited:
        visited.add(current.id)
        before = request.known.get(current.finding.proposal.parent) if current.finding.proposal.parent else None
        if before is None:
            return
        yield current, before
        current = before

"""The proposer that needs nothing: no key, no network, no model. A portfolio of arms with credit.

Owns how an idea comes about: the bandit says which arm is asked, the screening whether the answer is worth a trial;
an arm whose answers are not gives way to the next. Three rules stand above the bandit: while a peer is ahead, ideas
start from its best instead of ours (leader.py) and one in four is a part of its change put onto ours, and most of the
first experiments of a track are random. Deterministic for a request: same seed, number and history, same proposal.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import trio

from node.proposers.arms import ARMS, Arm, Crossover, Local, Random
from node.proposers.bandit import prior_points, ranked
from node.proposers.cma_es import CmaEs
from node.proposers.credit import arm_of, evidence
from node.proposers.leader import leader
from node.proposers.moves import Draft, find_sources, mutate
from node.proposers.port import Request, build_proposal
from node.proposers.screening import Screening
from node.proposers.tpe import Tpe
from swarm.finding import Proposal
from swarm.ledger import Entry
from swarm.words import Operator, short

FOLLOWING = (Local.name, Tpe.name, CmaEs.name)  # arms that start from a config: ours, or the leader's
ATTEMPTS = 10  # draws of one arm until one is worth a trial; a space with anything left to try needs one or two
WARM_UP = 12  # experiments of a track before which most turns are random: a naive start is far from good,
WARM_SHARE = 0.75  # and models need something to learn from; see docs/log.md
WARM_UP_TOGETHER = 24  # by all of a swarm, whose nodes begin at once and do not yet hear of each other
BEHIND = 0.25  # how often an idea is a part of what a peer did that is ahead of us, while one is; see docs/log.md


class Classic:
    """The portfolio, or one arm of it."""

    def __init__(self, arms: Sequence[Arm] = ARMS) -> None:
        self._arms = tuple(arms)
        names = [arm.name for arm in self._arms]
        self.name = f"classic/{names[0]}" if len(names) == 1 else "classic"

    async def propose(self, request: Request) -> Proposal:
        # A thread because Optuna's import and a long history take a while; nothing is left behind if we are cancelled.
        in_thread = cast("Callable[..., Awaitable[Proposal]]", trio.to_thread.run_sync)  # trio-typing's stubs are older
        return await in_thread(propose_now, request, self._arms, abandon_on_cancel=True)


def propose_now(request: Request, arms: Sequence[Arm] = ARMS) -> Proposal:
    """The same without an event loop: a pure function of the request."""
    drawn = _first_worth_a_trial(request, arms)
    draft = drawn.draft
    return build_proposal(
        request,
        proposer=f"classic/{drawn.arm}",
        operator=draft.operator,
        config=draft.config,
        rationale=draft.rationale,
        sources=draft.sources,
    )


def turn_of_llm(request: Request, ways: Sequence[str], arms: Sequence[Arm] = ARMS) -> str | None:
    """Which of a language model's arms has the next idea, when they are arms more among ours; None: one of ours."""
    if request.failed is not None:
        failed = arm_of(request.failed.proposer)
        return failed if failed in ways else None
    if not ways or (arms and _takes_from_peer(request)):
        return None
    first = _order(request, [*(arm.name for arm in arms), *ways])[0]
    return first if first in ways else None


def is_turn_of(name: str, request: Request, arms: Sequence[Arm] = ARMS) -> bool:
    """The same for any arm that is asked elsewhere. What failed is repaired by whoever had the idea."""
    return turn_of_llm(request, (name,), arms) == name


@dataclass(frozen=True)
class _Drawn:
    draft: Draft
    arm: str
    penalty: float


def _first_worth_a_trial(request: Request, arms: Sequence[Arm]) -> _Drawn:
    by_name, screening = {arm.name: arm for arm in arms}, Screening(request)
    order = _order(request, list(by_name))
    if Random.name in by_name and _warms_up(request):
        order.insert(0, order.pop(order.index(Random.name)))
    if Crossover.name in by_name and _takes_from_peer(request):
        order.insert(0, order.pop(order.index(Crossover.name)))
    least: _Drawn | None = None
    for name in order:
        drawn = _best_of(request, by_name[name], screening)
        if drawn is not None and drawn.penalty == 0.0:
            return drawn
        if drawn is not None and (least is None or drawn.penalty < least.penalty):
            least = drawn
    return least or _last_resort(request)


def _best_of(request: Request, arm: Arm, screening: Screening) -> _Drawn | None:
    """The first draft of an arm that nothing speaks against, else the one that least does; None if none is new."""
    rng = random.Random(f"{_seed(request)}/{arm.name}/draw")
    least: _Drawn | None = None
    ahead = leader(request, random.Random(f"{_seed(request)}/leader")) if arm.name in FOLLOWING else None
    for _ in range(ATTEMPTS):
        draft = arm.draw(request, rng) if ahead is None else _standing_on(ahead, request, arm, rng)
        if draft is None:
            break
        penalty = screening.penalty(draft.config)
        if penalty is not None and (least is None or penalty < least.penalty):
            least = _Drawn(draft, arm.name, penalty)
        if penalty == 0.0:
            break
    return least


def _standing_on(ahead: Entry, request: Request, arm: Arm, rng: random.Random) -> Draft | None:
    draft = arm.draw(replace(request, parent=ahead), rng)
    if draft is None:
        return None
    whose = (
        f"Starts from finding {short(ahead.id)} of peer {short(ahead.author)}, which is ahead of the branch's best. "
    )
    return replace(draft, operator=Operator.COMBINE, rationale=whose + draft.rationale, sources=(ahead.id,))


def _last_resort(request: Request) -> _Drawn:
    """No arm has anything new to say: a step from the parent that is new, or else run a neighbour once more."""
    rng, screening = random.Random(f"{_seed(request)}/last"), Screening(request)
    for settings in (1, 1, 2, 2, 3, 3, 4, 4):
        config = mutate(request, request.parent_config, rng, settings)
        if screening.penalty(config) is not None:
            return _Drawn(Draft(config, Operator.TUNE, "A step from the branch's best."), Local.name, 1.0)
    why = "Everything drawn had been tried: a neighbour of the branch's best once more."
    return _Drawn(Draft(config, Operator.TUNE, why), Local.name, 1.0)


def _warms_up(request: Request) -> bool:
    done = [entry for entry in request.on_track if entry.finding.proposal.parent is not None]
    alone = all(entry.author == request.me for entry in done)
    warm = len(done) < (WARM_UP if alone else WARM_UP_TOGETHER)
    return warm and random.Random(f"{_seed(request)}/warm").random() < WARM_SHARE


def _takes_from_peer(request: Request) -> bool:
    behind = any(source.leads for source in find_sources(request))
    return behind and random.Random(f"{_seed(request)}/behind").random() < BEHIND


def _order(request: Request, names: list[str]) -> list[str]:
    alone = all(source.entry.author == request.me for source in find_sources(request))
    return ranked(names, evidence(request), _seed(request), prior_points(on_cpu=request.on_cpu, alone=alone))


def _seed(request: Request) -> str:
    return f"{request.seed}/{request.number}/{len(request.history)}/{request.parent.id}"

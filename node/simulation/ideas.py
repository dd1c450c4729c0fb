"""Proposers for simulations: without threads, which virtual time does not wait for.

Light has the two rules that make a swarm of the classic proposer, and nothing that takes long: the changes of news that
beats our best are put onto it, else some settings of our best take a step. It looks at no history, so that ten thousand
ideas take seconds.
"""

import random

import trio

from node.proposers.classic import propose_now
from node.proposers.draws import anywhere, can_move, step
from node.proposers.port import Proposer, Request, build_proposal, is_new
from swarm.finding import Proposal
from swarm.ledger import Entry
from swarm.space import SearchSpace, changes
from swarm.words import Config, Operator

ATTEMPTS = 20
SETTINGS = (1, 2, 3)


class Portfolio:
    name = "classic"

    async def propose(self, request: Request) -> Proposal:
        await trio.lowlevel.checkpoint()
        return propose_now(request)


class Light:
    name = "light"

    async def propose(self, request: Request) -> Proposal:
        await trio.lowlevel.checkpoint()
        rng = random.Random(f"{request.seed}/{request.number}/{request.parent.id}")
        leader = _leader(request)
        if leader is None:
            config = _stepped(request, request.parent_config, rng)
            return build_proposal(request, proposer=self.name, operator=Operator.TUNE, config=config)
        config = request.parent_config | changes(request.brief.base_config, leader.finding.proposal.config)
        if not is_new(request, config):  # what somebody has tried is not tried again, the leader's own least of all
            config = _stepped(request, config, rng)
        return build_proposal(
            request, proposer=self.name, operator=Operator.COMBINE, config=config, sources=(leader.id,)
        )


class Anywhere:
    """Random search that shares nothing: what every other way to have ideas has to beat."""

    name = "random"

    async def propose(self, request: Request) -> Proposal:
        await trio.lowlevel.checkpoint()
        rng = random.Random(f"{request.seed}/{request.number}")
        config = {name: anywhere(p, rng) for name, p in request.brief.space.parameters.items()}
        return build_proposal(request, proposer=self.name, operator=Operator.TUNE, config=config)


def proposer_of(kind: str) -> tuple[Proposer, int | None]:
    """A proposer, and how much history it has to be shown."""
    if kind == "light":
        return Light(), 0
    return Portfolio(), None


def _leader(request: Request) -> Entry | None:
    """The best news of our track that beats where we stand."""
    ours = request.parent.val_bpb
    told = [(e.val_bpb, e.id, e) for e in request.inspirations if e.track == request.track]
    better = [(bpb, id, e) for bpb, id, e in told if bpb is not None and (ours is None or bpb < ours)]
    return min(better)[2] if better else None


def _stepped(request: Request, start: Config, rng: random.Random) -> Config:
    config = dict(start)
    for _ in range(ATTEMPTS):
        config = stepped(request.brief.space, start, rng)
        if is_new(request, config):
            break
    return config


def stepped(space: SearchSpace, start: Config, rng: random.Random) -> Config:
    """One to three settings take a step."""
    movable = [name for name, parameter in space.parameters.items() if can_move(parameter)]
    config = dict(start)
    for name in rng.sample(movable, min(rng.choice(SETTINGS), len(movable))):
        config[name] = step(space.parameters[name], config[name], rng)
    return config

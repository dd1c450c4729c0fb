"""The proposer that needs nothing: no key, no network, no model. Three moves, chosen by a seeded draw.

Owns which move is made when. Deterministic for a request: same seed, number and history, same proposal.
"""

import random
from collections.abc import Awaitable, Callable
from typing import cast

import trio

from node.proposers.moves import Draft, Source, combine, find_sources, mutate, tune
from node.proposers.port import Request, build_proposal, is_new
from node.proposers.tpe import observations, suggest
from swarm.finding import Proposal
from swarm.ledger import Entry
from swarm.words import Operator

ATTEMPTS = 40  # draws until one is new; a space with anything left to try needs one or two
NEWS_ATTEMPTS = 8  # of them go to a peer's news that beats our parent, when there is such news
# How often each move is made when all three can be; guesses, checked on the synthetic surface of the tests.
TUNE, COMBINE, SUGGEST = 0.4, 0.25, 0.35
COMBINE_BEHIND = 0.75  # instead of COMBINE, while a peer of our track is ahead of us


class Classic:
    """Local search, crossover with others' wins, and TPE over the brief's space."""

    name = "classic"

    async def propose(self, request: Request) -> Proposal:
        # A thread because Optuna's import and a long history take a while; nothing is left behind if we are cancelled.
        in_thread = cast("Callable[..., Awaitable[Proposal]]", trio.to_thread.run_sync)  # trio-typing's stubs are older
        return await in_thread(propose_now, request, abandon_on_cancel=True)


def propose_now(request: Request) -> Proposal:
    """The same without an event loop: a pure function of the request."""
    rng = random.Random(f"{request.seed}/{request.number}/{len(request.history)}/{request.parent.id}")
    draft = _first_new(request, rng)
    return build_proposal(
        request,
        proposer=Classic.name,
        operator=draft.operator,
        config=draft.config,
        rationale=draft.rationale,
        sources=draft.sources,
    )


def _first_new(request: Request, rng: random.Random) -> Draft:
    sources = find_sources(request)
    seen = observations(request)
    for attempt in range(ATTEMPTS):
        news = [s for s in sources if s.drained] if attempt < NEWS_ATTEMPTS else []
        draft = combine(request, rng, news) if news else _draft(request, rng, sources, seen)
        if draft is not None and is_new(request, draft.config):
            return draft
    # Everything near has been tried: run a neighbour once more rather than stop.
    config = mutate(request, request.parent_config, rng, 1)
    return Draft(config, Operator.TUNE, "Everything drawn had been tried: a neighbour of the branch's best once more.")


def _draft(request: Request, rng: random.Random, sources: list[Source], seen: list[Entry]) -> Draft | None:
    crossover = COMBINE_BEHIND if any(s.leads for s in sources) else COMBINE
    move = rng.choices(("tune", "combine", "suggest"), weights=(TUNE, crossover, SUGGEST))[0]
    if move == "combine" and sources:
        return combine(request, rng, sources)
    if move == "suggest":
        return suggest(request, rng, seen) or tune(request, rng)
    return tune(request, rng)

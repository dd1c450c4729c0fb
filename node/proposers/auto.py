"""The proposer the loop sees: the language model when it is its turn and it answers, the classic one whenever else.

Owns when the model is asked and how long it may take; whether it answers at all is availability.py's business. Never
raises ProposerFailed: a dead or babbling endpoint costs an idea's origin, never an experiment.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, get_args

import trio

from node.proposers.arms import ARMS
from node.proposers.availability import Availability, Check, Say
from node.proposers.classic import Classic, is_turn_of, is_turn_of_llm
from node.proposers.cma_es import CmaEs
from node.proposers.port import Failure, Proposer, ProposerFailed, Request
from swarm.finding import Proposal
from swarm.words import SwarmError

Kind = Literal["auto", "classic", "llm", "random", "local", "tpe", "cmaes", "crossover", "ablate", "command"]
KINDS: tuple[str, ...] = get_args(Kind)
Turn = Callable[[Request], bool]  # whether this idea is the model's

COMMAND = "command"  # the arm that is a program of this node's person
ANSWER_SECONDS = 90.0  # the longest a model may think; guess: a local 30 B model writes its answer in a minute
ANSWER_SHARE = 0.8  # of a trial's budget, if that is shorter: an idea later than the running trial idles the machine


class Auto:
    """`llm` when it is its turn, `classic` otherwise and as long as that one fails."""

    def __init__(
        self,
        llm: Proposer,
        classic: Proposer,
        say: Say,
        answer_seconds: float = ANSWER_SECONDS,
        *,
        turn: Turn = lambda _: True,
        check: Check | None = None,
    ) -> None:
        self._llm = llm
        self._classic = classic
        self._answer_seconds = answer_seconds
        self._turn = turn
        self._availability = Availability(llm.name, say, check)

    @property
    def name(self) -> str:
        """The proposer that is meant to answer; each proposal names the one that did."""
        return self._llm.name

    async def run(self) -> None:
        """Finds out in the background whether the model answers at all, for as long as the node runs."""
        await self._availability.run()

    async def propose(self, request: Request) -> Proposal:
        if self._availability.may_ask and self._turn(request):
            try:
                proposal = await self._ask(request)
            except ProposerFailed as failure:
                self._availability.failed(failure)
            else:
                self._availability.answered()
                return proposal
        return await self._classic.propose(request)

    async def _ask(self, request: Request) -> Proposal:
        seconds = min(self._answer_seconds, ANSWER_SHARE * request.track.budget_seconds)
        with trio.move_on_after(seconds):
            return await self._llm.propose(request)
        raise ProposerFailed(Failure.TIMED_OUT, f"{self._llm.name} gave no answer within {seconds:.0f} s")


def make_proposer(
    kind: Kind,
    model: str | None,
    env: Mapping[str, str],
    say: Say,
    agent: Callable[[Turn, Proposer], Proposer] | None = None,
) -> Proposer:
    """The proposer of a kind. `env` is the environment, `say` hears what people should know.

    `agent` puts the agent command in front of another proposer, if there is one.
    Raises SwarmError, a usage error, for kind llm without an endpoint and for an endpoint that is none.
    """
    if agent is None and kind == "command":
        raise SwarmError("--proposer command needs --agent-command, the program that is to have the ideas")
    if agent is not None and kind not in ("auto", "command"):
        raise SwarmError(f"--agent-command goes with --proposer auto or command, not with {kind}")
    if kind == "command" and agent is not None:
        return agent(lambda _: True, Classic())
    if kind == "classic":
        return Classic()
    if kind not in ("auto", "llm"):
        return _one_arm(kind)
    classic = Classic() if agent is None else agent(partial(is_turn_of, COMMAND), Classic())
    from node.proposers.llm import LanguageModel, endpoint_from  # openai takes half a second to import

    endpoint = endpoint_from(model, env)
    if endpoint is not None:
        asked = LanguageModel(endpoint)
        if kind == "llm":
            return Auto(asked, Classic(), say, check=asked.check)
        return Auto(asked, classic, say, turn=is_turn_of_llm, check=asked.check)  # one arm more in the same bandit
    if kind == "llm":
        raise SwarmError(
            "no language model is configured for --proposer llm: set OPENAI_API_KEY, or OPENAI_BASE_URL for a local "
            "server, or choose --proposer auto"
        )
    return classic


def _one_arm(kind: str) -> Proposer:
    arm = next(arm for arm in ARMS if arm.name == kind)
    if isinstance(arm, CmaEs) and arm.problem is not None:
        raise SwarmError(f"--proposer {kind}: {arm.problem}")
    return Classic((arm,))

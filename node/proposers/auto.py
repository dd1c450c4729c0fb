"""The proposer the loop sees: the language model when it is its turn and it answers, the classic one whenever else.

Owns when the model is asked, how long it may take, how long it is left alone after a failure, and saying so once.
Never raises ProposerFailed: a dead or babbling endpoint costs an idea's origin, never an experiment.
"""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import trio

from node.proposers.arms import ARMS
from node.proposers.classic import Classic, is_turn_of_llm
from node.proposers.cma_es import CmaEs
from node.proposers.port import Failure, Proposer, ProposerFailed, Request
from swarm.finding import Proposal
from swarm.words import SwarmError

Kind = Literal["auto", "classic", "llm", "random", "local", "tpe", "cmaes", "crossover", "ablate"]
KINDS: tuple[str, ...] = get_args(Kind)
Say = Callable[[str], None]  # takes one sentence for people
Turn = Callable[[Request], bool]  # whether this idea is the model's

ANSWER_SECONDS = 90.0  # the longest a model may think; guess: a local 30 B model writes its answer in a minute
ANSWER_SHARE = 0.8  # of a trial's budget, if that is shorter: an idea later than the running trial idles the machine
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 600.0


class Auto:
    """`llm` when it is its turn, `classic` otherwise and as long as that one fails."""

    def __init__(
        self,
        llm: Proposer | None,
        classic: Proposer,
        say: Say,
        answer_seconds: float = ANSWER_SECONDS,
        *,
        turn: Turn = lambda _: True,
    ) -> None:
        self._llm = llm
        self._classic = classic
        self._say = say
        self._answer_seconds = answer_seconds
        self._turn = turn
        self._down = False
        self._failures = 0  # in a row
        self._ask_again_at = float("-inf")  # trio.current_time()

    @property
    def name(self) -> str:
        """The proposer that is meant to answer; each proposal names the one that did."""
        return (self._llm or self._classic).name

    async def propose(self, request: Request) -> Proposal:
        if self._llm is not None and trio.current_time() >= self._ask_again_at and self._turn(request):
            try:
                proposal = await self._ask(self._llm, request)
            except ProposerFailed as failure:
                self._note_failure(failure)
            else:
                self._note_answer()
                return proposal
        return await self._classic.propose(request)

    async def _ask(self, llm: Proposer, request: Request) -> Proposal:
        seconds = min(self._answer_seconds, ANSWER_SHARE * request.track.budget_seconds)
        with trio.move_on_after(seconds):
            return await llm.propose(request)
        raise ProposerFailed(Failure.TIMED_OUT, f"{llm.name} gave no answer within {seconds:.0f} s")

    def _note_failure(self, failure: ProposerFailed) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        pause = min(max(pause, failure.retry_after_seconds or 0.0), LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 16)
        self._ask_again_at = trio.current_time() + pause
        if not self._down:
            self._down = True
            self._say(f"{failure}; the classic proposer goes on, and the model is asked again from {pause:.0f} s on")

    def _note_answer(self) -> None:
        if self._down:
            self._say(f"{self.name} answers again")
        self._down = False
        self._failures = 0


def make_proposer(kind: Kind, model: str | None, env: Mapping[str, str], say: Say) -> Proposer:
    """The proposer of a kind. `env` is the environment, `say` hears what people should know.

    Raises SwarmError, a usage error, for kind llm without an endpoint and for an endpoint that is none.
    """
    if kind == "classic":
        return Classic()
    if kind not in ("auto", "llm"):
        return _one_arm(kind)
    from node.proposers.llm import LanguageModel, endpoint_from  # openai takes half a second to import

    endpoint = endpoint_from(model, env)
    if endpoint is not None and kind == "llm":
        return Auto(LanguageModel(endpoint), Classic(), say)
    if endpoint is not None:  # one arm more, and the same bandit says when
        return Auto(LanguageModel(endpoint), Classic(), say, turn=is_turn_of_llm)
    if kind == "llm":
        raise SwarmError(
            "no language model is configured for --proposer llm: set OPENAI_API_KEY, or OPENAI_BASE_URL for a local "
            "server, or choose --proposer auto"
        )
    return Classic()


def _one_arm(kind: str) -> Proposer:
    arm = next(arm for arm in ARMS if arm.name == kind)
    if isinstance(arm, CmaEs) and arm.problem is not None:
        raise SwarmError(f"--proposer {kind}: {arm.problem}")
    return Classic((arm,))

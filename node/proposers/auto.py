"""The proposer the loop sees: the language model when it is its turn and it answers, the classic one whenever else.

Owns when the model is asked, in which of its ways, and how long it may take; whether it answers at all is
availability.py's business, what may be spent spending.py's. Never raises ProposerFailed: a dead or babbling endpoint
costs an idea's origin, never an experiment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import trio

from node.proposers.arms import ARMS
from node.proposers.availability import Availability, Check, Say
from node.proposers.classic import Classic, is_turn_of, turn_of_llm
from node.proposers.cma_es import CmaEs
from node.proposers.port import Failure, Proposer, ProposerFailed, Request
from node.proposers.prices import load_prices
from node.proposers.spending import NO_CAPS, Caps, Spending, Usage
from swarm.finding import Proposal
from swarm.words import SwarmError

if TYPE_CHECKING:
    from node.proposers.director import Director
    from node.proposers.llm import LanguageModel
    from node.proposers.llm_arms import Idea

Kind = Literal["auto", "classic", "llm", "random", "local", "tpe", "cmaes", "crossover", "ablate", "command"]
KINDS: tuple[str, ...] = get_args(Kind)
Turn = Callable[[Request, Sequence[str]], str | None]  # which of the model's arms has the next idea; None: none
AgentTurn = Callable[[Request], bool]  # whether this idea is the agent command's
Told = Callable[[str, str, Usage], None]  # of each question: who asked, 'answered' or the Failure, what it took

COMMAND = "command"  # the arm that is a program of this node's person
ANSWER_SECONDS = 90.0  # the longest a model may think; guess: a local 30 B model writes its answer in a minute
ANSWER_SHARE = 0.8  # of a trial's budget, if that is shorter: an idea later than the running trial idles the machine
DIRECTION_FILE = "DIRECTION.md"
ANSWERED = "answered"
CHECK = "check"


def untold(by: str, outcome: str, usage: Usage) -> None:
    """For whom nobody counts."""


class AskedArm(Protocol):
    """A way to ask a language model."""

    @property
    def name(self) -> str: ...
    def can_be_asked(self, request: Request) -> bool: ...
    async def propose(self, request: Request, direction: str = "") -> "Idea":
        """Raises ProposerFailed."""
        ...


def turn_alone(request: Request, ways: Sequence[str]) -> str | None:
    """The model is the only one that is asked: the bandit chooses among its ways."""
    return turn_of_llm(request, ways, ())


class Auto:
    """The model's arms when one has its turn, `classic` otherwise and as long as they fail."""

    def __init__(
        self,
        name: str,
        arms: Sequence[AskedArm],
        classic: Proposer,
        say: Say,
        answer_seconds: float = ANSWER_SECONDS,
        *,
        turn: Turn = turn_alone,
        check: Check | None = None,
        spending: Spending | None = None,
        told: Told = untold,
    ) -> None:
        self.name = name  # the proposer that is meant to answer; each proposal names the one that did
        self.spending = spending or Spending()
        self.director: Director | None = None
        self._arms = {arm.name: arm for arm in arms}
        self._classic = classic
        self._say = say
        self._told = told
        self._answer_seconds = answer_seconds
        self._turn = turn
        self._availability = Availability(name, say, check, lambda failure: told(CHECK, failure.reason.value, Usage()))
        self._said_capped = False
        self._said_director = False

    async def run(self) -> None:
        """Finds out in the background whether the model answers at all; asks the director. As long as the node runs."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._availability.run)
            if self.director is not None:
                nursery.start_soon(self.director.run)

    def branch_files(self) -> dict[str, bytes]:
        """What of it is kept in the branch."""
        page = self.director.page if self.director is not None else ""
        return {DIRECTION_FILE: page.encode()} if page else {}

    def load(self, direction: str) -> None:
        """Go on where an earlier start was. `direction`: DIRECTION.md of the branch."""
        if self.director is not None:
            self.director.load(direction)

    async def propose(self, request: Request) -> Proposal:
        try:
            return await self._propose(request)
        finally:
            if self.director is not None:  # afterwards: with a cap one question is asked at a time
                self.director.consider(request)

    async def _propose(self, request: Request) -> Proposal:
        if (arm := self._whose_turn(request)) is not None:
            try:
                idea = await self._ask(arm, request)
            except ProposerFailed as failure:
                self._note_failure(arm, failure)
            else:
                self._note_answer(arm, idea)
                return idea.proposal
        return await self._classic.propose(request)

    def _whose_turn(self, request: Request) -> AskedArm | None:
        """A capped or absent model has no turn, so that an arm that can answer gets it."""
        if not self._availability.may_ask or self._capped() or self.spending.taken:
            return None
        ways = [name for name, arm in self._arms.items() if arm.can_be_asked(request)]
        way = self._turn(request, ways)
        return None if way is None else self._arms[way]

    async def _ask(self, arm: AskedArm, request: Request) -> "Idea":
        seconds = min(self._answer_seconds, ANSWER_SHARE * request.track.budget_seconds)
        with trio.move_on_after(seconds):
            return await arm.propose(request, self.director.direction if self.director else "")
        raise ProposerFailed(Failure.TIMED_OUT, f"{self.name} gave no answer within {seconds:.0f} s")

    def _note_answer(self, arm: AskedArm, idea: "Idea") -> None:
        self.spending.remember(idea.proposal.key, idea.usage)
        self._availability.answered()
        self._told(arm.name, ANSWERED, idea.usage)

    def _note_failure(self, arm: AskedArm, failure: ProposerFailed) -> None:
        self._told(arm.name, failure.reason.value, Usage())
        if failure.reason is not Failure.CAPPED:
            self._availability.failed(failure)

    def note_director(self, by: str, came: "Usage | ProposerFailed") -> None:
        """What came of a question of the director's."""
        if isinstance(came, ProposerFailed):
            self._told(by, came.reason.value, Usage())
            if came.reason is not Failure.CAPPED and not self._said_director:
                self._said_director = True
                self._say(f"no direction from --director-model: {came}; it is asked again after the next runs")
        else:
            self._said_director = False
            self._told(by, ANSWERED, came)

    def _capped(self) -> bool:
        reached = self.spending.reached()
        if reached is not None and not self._said_capped:
            self._say(f"{reached}: it is asked no more, the classic proposer goes on")
        self._said_capped = reached is not None  # a cap of a day is said again the next time it is reached
        return self._said_capped


@dataclass(frozen=True)
class ModelOptions:
    """What a person may say about the language models, beside their endpoint."""

    director_model: str | None = None
    director_every: int = 20
    caps: Caps = NO_CAPS
    home: Path | None = None  # where spending.jsonl is kept and prices.toml may be


def make_proposer(
    kind: Kind,
    model: str | None,
    env: Mapping[str, str],
    say: Say,
    options: ModelOptions | None = None,
    told: Told = untold,
    agent: Callable[[AgentTurn, Proposer], Proposer] | None = None,
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
    options = options or ModelOptions()
    if kind == "classic":
        return Classic()
    if kind not in ("auto", "llm"):
        return _one_arm(kind)
    classic = Classic() if agent is None else agent(partial(is_turn_of, COMMAND), Classic())
    from node.proposers.llm import LanguageModel, endpoint_from  # openai takes half a second to import

    endpoint = endpoint_from(model, env)
    if endpoint is not None:
        home = options.home
        prices = load_prices(home and home / "prices.toml")
        spending = Spending(home and home / "spending.jsonl", options.caps, prices)
        return _with_model(kind, LanguageModel(endpoint, spending), say, options, told, classic)
    if kind == "llm" or options.director_model is not None:
        asked = "--proposer llm" if kind == "llm" else "--director-model"
        raise SwarmError(
            f"no language model is configured for {asked}: set OPENAI_API_KEY, or OPENAI_BASE_URL for a local "
            "server, or choose --proposer auto"
        )
    return classic


def _with_model(
    kind: Kind, model: "LanguageModel", say: Say, options: ModelOptions, told: Told, classic: Proposer
) -> Auto:
    from node.proposers.director import Director
    from node.proposers.llm import LanguageModel
    from node.proposers.llm_arms import LlmArm
    from node.proposers.prompt import Form

    arms = [LlmArm(model, form) for form in Form]
    turn = turn_alone if kind == "llm" else turn_of_llm  # arms more in the same bandit
    auto = Auto(model.name, arms, classic, say, turn=turn, check=model.check, spending=model.spending, told=told)
    models = [model.endpoint.model]
    if options.director_model is not None:
        other = LanguageModel(replace(model.endpoint, model=options.director_model), model.spending)
        auto.director = Director(other, auto.note_director, options.director_every)
        models.append(options.director_model)
    unknown = [name for name in models if not model.spending.has_price(name)]
    if unknown and options.caps.of_cost:
        say(
            f"what {' and '.join(unknown)} costs is not known, so a cap in dollars cannot hold it and tokens alone are "
            "counted: add it to prices.toml in the home, or cap tokens with --max-tokens"
        )
    return auto


def _one_arm(kind: str) -> Proposer:
    arm = next(arm for arm in ARMS if arm.name == kind)
    if isinstance(arm, CmaEs) and arm.problem is not None:
        raise SwarmError(f"--proposer {kind}: {arm.problem}")
    return Classic((arm,))

"""The agent command as one arm: when it is asked, how long it is left alone after a failure, and saying so once.

Never raises ProposerFailed: a program that fails costs an idea's origin, never an experiment.
"""

from collections.abc import Callable

import trio

from node.proposers.port import Proposer, ProposerFailed, Request
from swarm.finding import Proposal

Say = Callable[[str], None]  # takes one sentence for people
Count = Callable[[str], None]  # takes the reason of each failure
Turn = Callable[[Request], bool]
FIRST_PAUSE_SECONDS = 30.0  # after a failure; twice as long after each further one in a row
LONGEST_PAUSE_SECONDS = 600.0


class AgentArm:
    """`agent` when it is its turn and it answers, `other` otherwise."""

    def __init__(self, agent: Proposer, other: Proposer, say: Say, count: Count, *, turn: Turn) -> None:
        self._agent, self._other, self._say, self._count, self._turn = agent, other, say, count, turn
        self._said: set[str] = set()  # each reason is said once, and counted each time
        self._failures = 0  # in a row
        self._ask_again_at = float("-inf")  # trio.current_time()

    @property
    def name(self) -> str:
        """Of who is meant to answer; each proposal names the one that did."""
        return self._agent.name

    async def propose(self, request: Request) -> Proposal:
        if trio.current_time() >= self._ask_again_at and self._turn(request):
            try:
                proposal = await self._agent.propose(request)
            except ProposerFailed as failure:
                self._note(failure)
            else:
                self._failures = 0
                return proposal
        return await self._other.propose(request)

    def _note(self, failure: ProposerFailed) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 16)
        self._ask_again_at = trio.current_time() + pause
        self._count(str(failure))
        if failure.reason not in self._said:
            self._said.add(failure.reason)
            self._say(f"{failure}; other proposers go on, and it is asked again after {pause:.0f} s")

"""What a changed train.py has to pass before it costs a trial, and what becomes of one that does not.

Owns which proposals are tried in a smoke run, the one chance to repair a failed one, and the counting. What a smoke run
is belongs to node/trials; who repairs is the proposer that made the change, asked with `Request.failure`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from node.events import Events, ProposalRefused
from node.notebook import Notebook
from node.proposers.credit import LLM_ARMS, arm_of
from node.proposers.port import Request
from node.trials.output import one_line
from swarm.finding import Proposal
from swarm.words import Operator, Outcome

Smoke = Callable[[Proposal], Awaitable[str]]  # why it would not get through a trial, empty when nothing speaks against
REPAIRING = (*LLM_ARMS, "llm", "command")  # arms that can read what went wrong; what others bring is dropped
HOPELESS = 2  # proposals with one source that failed: another config will not mend it
SOURCES_KEPT = 1000  # that are known to run here, or not to
STAGE = "smoke"


@dataclass(frozen=True)
class Failed:
    """A proposal that did not pass, and what was said."""

    proposal: Proposal
    told: str


class SmokeFilter:
    """One node's. `passes` is asked at the boundary between two trials, `request` when the next proposal is made."""

    def __init__(self, notebook: Notebook, events: Events) -> None:
        self._notebook, self._events = notebook, events
        # By hash of the source, what was said to each proposal of it, by key: with a smaller batch the same code may
        # run. Nothing: it runs here.
        self._said: dict[str, Mapping[str, str]] = {}
        self._sent_back: Failed | None = None
        self.dropped: set[str] = set()  # keys nobody needs to propose again

    async def passes(self, proposal: Proposal, smoke: Smoke) -> bool:
        """Whether it is worth a trial. Takes seconds for a train.py that has not run here, else none."""
        digest = proposal.source_sha256
        if self._runs_here(proposal):
            return True
        failed = self._said.get(digest, {})
        told = failed.get(proposal.key) or (_last(failed) if len(failed) >= HOPELESS else "") or await smoke(proposal)
        if not told:
            self._remember(digest, {})
            return True
        again = arm_of(proposal.proposer) in REPAIRING and proposal.operator is not Operator.REPAIR
        self._refuse(proposal, told, again=again and not failed)
        if len(failed) < HOPELESS:
            self._remember(digest, {**failed, proposal.key: told})
        return False

    def _refuse(self, proposal: Proposal, told: str, *, again: bool) -> None:
        self.dropped.add(proposal.key)
        if again:
            self._sent_back = Failed(proposal, told)
        first = one_line(told.split("\n", 1)[0], 300)
        self._events.emit(
            ProposalRefused(
                stage=STAGE, proposer=proposal.proposer, title=proposal.title, reason=first, sent_back=again
            )
        )

    def _remember(self, digest: str, said: Mapping[str, str]) -> None:
        self._said[digest] = said
        while len(self._said) > SOURCES_KEPT:
            del self._said[next(iter(self._said))]

    def _runs_here(self, proposal: Proposal) -> bool:
        """It is the brief's own train.py, or one that was measured on this machine."""
        digest = proposal.source_sha256
        if digest == self._notebook.brief.source_sha256 or self._said.get(digest) == {}:
            return True
        own = (entry.finding for entry in self._notebook.own())
        found = any(f.proposal.source_sha256 == digest and f.outcome is Outcome.MEASURED for f in own)
        if found:
            self._remember(digest, {})
        return found

    def request(self, request: Request) -> Request:
        """The request, with what failed for whoever made it. The same until `answered`."""
        failed = self._sent_back
        return request if failed is None else replace(request, failure=failed.told, failed=failed.proposal)

    def answered(self, request: Request, proposal: Proposal) -> Proposal:
        """What came of a request of `request`: a repair is marked as one, and is not sent back again."""
        failed = request.failed
        if failed is None:
            return proposal
        self._sent_back = None
        if arm_of(proposal.proposer) != arm_of(failed.proposer):
            return proposal
        return proposal.model_copy(update={"operator": Operator.REPAIR})


def _last(failed: Mapping[str, str]) -> str:
    return list(failed.values())[-1]

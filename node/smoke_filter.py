"""What a changed train.py has to pass before it costs a trial, and what becomes of one that does not.

Owns which proposals are tried in a smoke run, the one chance to repair a failed one, and the counting. What a smoke run
is belongs to node/trials; who repairs is the proposer that made the change, asked with `Request.failure`.
"""

from collections.abc import Awaitable, Callable
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
        self._passed: dict[str, str] = {}  # by hash of the source
        self._broken: dict[str, str] = {}  # by key, and what was said: with a smaller batch the same code may run
        self._failed_once: dict[str, str] = {}  # by hash of the source; with two configs it is
        self._hopeless: dict[str, str] = {}
        self._sent_back: Failed | None = None
        self.dropped: set[str] = set()  # keys nobody needs to propose again

    async def passes(self, proposal: Proposal, smoke: Smoke) -> bool:
        """Whether it is worth a trial. Takes seconds for a train.py that has not run here, else none."""
        digest = proposal.source_sha256
        if self._runs_here(proposal):
            return True
        told = self._broken.get(proposal.key) or self._hopeless.get(digest) or await smoke(proposal)
        if not told:
            _remember(self._passed, digest, told)
            return True
        again = arm_of(proposal.proposer) in REPAIRING and proposal.operator is not Operator.REPAIR
        self._refuse(proposal, told, again=again and digest not in self._failed_once)
        if digest in self._failed_once and proposal.key not in self._broken:
            _remember(self._hopeless, digest, told)
        _remember(self._failed_once, digest, told)
        _remember(self._broken, proposal.key, told)
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

    def _runs_here(self, proposal: Proposal) -> bool:
        """It is the brief's own train.py, or one that was measured on this machine."""
        digest = proposal.source_sha256
        if digest == self._notebook.brief.source_sha256 or digest in self._passed:
            return True
        own = (entry.finding for entry in self._notebook.own())
        found = any(f.proposal.source_sha256 == digest and f.outcome is Outcome.MEASURED for f in own)
        if found:
            _remember(self._passed, digest, "")
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


def _remember(sources: dict[str, str], digest: str, told: str) -> None:
    sources[digest] = told
    while len(sources) > SOURCES_KEPT:
        del sources[next(iter(sources))]

"""Keeps one hypothesis ready, so that the accelerator never waits for a language model.

Owns when the proposer is asked and what happens to an answer that comes late: it is kept for the next trial, and a
quick stand-in serves this one. What a good proposal is belongs to the proposers.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

import trio

from node.claims import Claims
from node.events import Events, ProposalRefused
from node.notebook import Notebook
from node.proposers.diagnostics import shown
from node.proposers.port import MAX_RATIONALE_CHARS, MAX_TITLE_CHARS, Proposer, Request
from node.proposers.steering import Steering
from node.rebasing import CannotRebase, rebase
from node.results.repository import Results
from node.run_gradients import RunGradients
from node.smoke_filter import Smoke, SmokeFilter
from node.steering import Helm
from node.tried import Together, Tried
from swarm.brief import Brief
from swarm.finding import Proposal, Track
from swarm.ledger import Entry
from swarm.program import canonical_key
from swarm.space import describe_changes
from swarm.words import Operator, Outcome

MAX_STANDINGS = 1000  # peers' findings, the newest: more than a model-based arm learns from
MAX_REFUSED = 3  # proposals of one trial that a smoke run drops; a stand-in's train.py runs here already
PATIENCE_SECONDS = 2.0  # how long a trial waits for a hypothesis that is being made; a guess


Moved = Callable[[str, str], None]  # a proposal's key before and after it was carried over to another parent


def unmoved(before: str, after: str) -> None:
    """For who keeps nothing by a proposal's key."""


class Hypotheses:
    """One proposal ahead. `prepare` makes it, `take` hands it out."""

    def __init__(
        self,
        notebook: Notebook,
        track: Track,
        proposer: Proposer,
        stand_in: Proposer,
        max_inspirations: int = 16,
        *,
        max_history: int | None = None,
        code_may_change: bool = True,
        helm: Helm | None = None,
        claims: Claims | None = None,
        smoke_filter: SmokeFilter | None = None,
        moved: Moved = unmoved,
        events: Events | None = None,
    ) -> None:
        """`max_history`: of the track's findings a proposer is shown the newest so many; None: all."""
        self._max_history = max_history
        self._notebook = notebook
        self._track = track
        self._proposer = proposer
        self._stand_in = stand_in
        self._max_inspirations = max_inspirations
        self._code_may_change = code_may_change
        self._helm = helm
        self.claims = claims or Claims(notebook, track)
        self.gradients = RunGradients()
        self._tried_by_anybody = Tried(notebook.brief, notebook.ledger, track)
        self._filter = smoke_filter or SmokeFilter(notebook, events or Events())
        self._moved = moved
        self._events = events or Events()
        self._ready: Proposal | None = None
        self._told: tuple[Entry, ...] = ()  # peers' findings that were drained for the ready one
        self._taken: set[str] = set()  # keys of what was handed out by this object: running, or in the ledger by now
        self._asking = False
        self._answered = trio.Event()

    async def load(self, results: Results) -> None:
        """Go on where an earlier start was: what the branch has of the runs that the next prompts show."""
        if (best := self._best()) is not None:
            own = self._notebook.ledger.entries(self._notebook.me, self._track)
            await self.gradients.load(results, shown(best, own))

    async def prepare(self) -> None:
        """Drain inspirations and make the next proposal, unless one is there or there is no baseline yet."""
        best = self._best()
        if self._asking or self._ready is not None or best is None:
            return
        self._asking, self._answered = True, trio.Event()
        inspirations = self._notebook.drain(self._max_inspirations)
        try:
            request = self._filter.request(self._request(best, inspirations))
            self._ready = self._filter.answered(request, await self._proposer.propose(request))
            self._told = inspirations
            self.claims.claim(self._ready)
        except BaseException:
            self._notebook.put_back(inspirations)
            raise
        finally:
            self._asking = False
            self._answered.set()

    async def take(self, smoke: Smoke | None = None) -> Proposal:
        """The next proposal: the baseline first, then the prepared one, or a quick stand-in when that is late.

        `smoke` tries a changed train.py for seconds; a stand-in takes the place of one that does not pass.
        """
        proposal, told = await self._take()
        for _ in range(MAX_REFUSED):
            if smoke is None or await self._filter.passes(proposal, smoke):
                break
            self._notebook.put_back(told)  # nobody has used them
            proposal, told = await self._take()
        self._taken |= {proposal.key, self._canonical_key(proposal)}
        self.claims.begin(proposal)
        return proposal if self._helm is None or proposal.parent is None else remarked(proposal, self._helm.remark())

    async def _take(self) -> tuple[Proposal, tuple[Entry, ...]]:
        """A proposal, and the peers' findings that were drained for it."""
        best = self._best()
        if best is None:
            return baseline(self._notebook.brief), ()
        if self._asking:
            with trio.move_on_after(PATIENCE_SECONDS):
                await self._answered.wait()
        (proposal, told), self._ready, self._told = (self._ready, self._told), None, ()
        before = proposal.key if proposal is not None else ""
        if proposal is not None:
            proposal = await self._rebased(proposal, best)
        if proposal is not None:
            proposal = self._permitted(proposal)
            self._moved(before, proposal.key)
        if proposal is None or self._is_tried(proposal) or self.claims.is_lost(proposal):
            self._notebook.put_back(told)  # nobody has used them
            told = self._notebook.drain(self._max_inspirations)
            proposal = await self._stand_in.propose(self._request(best, told))
        return self._permitted(proposal), told

    async def _rebased(self, proposal: Proposal, best: Entry) -> Proposal | None:
        """On where the branch stands now; None, and said, when its change does not fit there."""
        try:
            return await rebase(proposal, self._notebook, best)
        except CannotRebase as refused:
            refusal = ProposalRefused(
                stage="moved", proposer=proposal.proposer, title=proposal.title, reason=str(refused)
            )
            self._events.emit(refusal)
            return None

    def _permitted(self, proposal: Proposal) -> Proposal:
        """Where nothing holds a script, a proposal is its config; it is tried with the brief's own train.py. What the
        node's owner has pinned or banned holds for every proposal, also for one made before that."""
        brief, proposal = self._notebook.brief, self._steered(proposal)
        if self._code_may_change or proposal.source_sha256 == brief.source_sha256:
            return proposal
        return proposal.model_copy(update={"source": None, "source_sha256": brief.source_sha256})

    def _steered(self, proposal: Proposal) -> Proposal:
        parent = self._notebook.ledger.get(proposal.parent)
        if self._helm is None or parent is None:
            return proposal
        self._helm.look()
        before = parent.finding.proposal
        config = self._helm.steering.config(proposal.config, before.config, self._notebook.brief.space)
        if config == proposal.config:
            return proposal
        config = self._notebook.brief.space.normalise(config)
        changed_code = proposal.source_sha256 != before.source_sha256
        title = proposal.title if changed_code else describe_changes(before.config, config)[:MAX_TITLE_CHARS]
        return proposal.model_copy(update={"config": config, "title": title})

    def _tried(self) -> AbstractSet[str]:
        return Together(self._tried_by_anybody.keys(), self._taken, self._filter.dropped)

    def _is_tried(self, proposal: Proposal) -> bool:
        return not self._tried().isdisjoint({proposal.key, self._canonical_key(proposal)})

    def _canonical_key(self, proposal: Proposal) -> str:
        return canonical_key(self._notebook.brief, proposal.config, proposal.source)

    def _best(self) -> Entry | None:
        return self._notebook.ledger.branch_best(self._notebook.me, self._track)

    def _request(self, best: Entry, inspirations: tuple[Entry, ...]) -> Request:
        ledger, me = self._notebook.ledger, self._notebook.me
        brief, steering = self._notebook.brief, Steering()
        if self._helm is not None:
            self._helm.look()
            brief, steering = brief.model_copy(update={"goal": self._helm.goal}), self._helm.steering
        number = self._notebook.next_number()
        history = self._history()
        peers = [e for e in history if e.author != me and e.val_bpb is not None][-MAX_STANDINGS:]
        return Request(
            brief=brief,
            me=me,
            track=self._track,
            parent=best,
            history=history,
            other_tracks=self._other_tracks(),
            inspirations=inspirations,
            tried=self._tried(),
            number=number,
            seed=trial_seed(me, number),
            noise=ledger.noise(self._track, me),
            standings={e.id: ledger.standing(e) for e in peers},
            steering=steering,
            gradients=self.gradients.known,
            claimed=self.claims.held(),
            code_may_change=self._code_may_change,
            failure=None,
        )

    def _history(self) -> tuple[Entry, ...]:
        if self._max_history == 0:
            return ()
        found = self._notebook.ledger.entries(track=self._track)
        if self._max_history is not None:
            found = found[-self._max_history :]
        return tuple(e for e in found if e.outcome is not Outcome.CANCELLED)

    def _other_tracks(self) -> tuple[Entry, ...]:
        ledger, me = self._notebook.ledger, self._notebook.me
        if self._max_history == 0 or ledger.tracks() == [self._track]:
            return ()
        return tuple(e for e in ledger.entries() if e.track != self._track and e.author != me)


def baseline(brief: Brief) -> Proposal:
    """The start of every branch: the brief's own config and train.py, unchanged."""
    return Proposal(
        operator=Operator.DRAFT,
        proposer="baseline",
        config=brief.base_config,
        source_sha256=brief.source_sha256,
        title="baseline",
        rationale="The brief's own start, measured on this machine: what every later number is compared with.",
    )


def remarked(proposal: Proposal, remark: str) -> Proposal:
    """With what its node's owner steers, so that everybody who reads the finding knows why it was tried."""
    if not remark:
        return proposal
    remark = remark[:MAX_RATIONALE_CHARS]
    said = proposal.rationale[: max(0, MAX_RATIONALE_CHARS - len(remark) - 1)]
    return proposal.model_copy(update={"rationale": f"{said} {remark}".strip()[:MAX_RATIONALE_CHARS]})


def trial_seed(me: str, number: int, turn: int = 1) -> int:
    """A seed that no candidate chooses: from who trains, which run it is, and which trial of it."""
    seed = 0
    for byte in f"{me}:{number}:{turn}".encode():
        seed = (seed * 257 + byte) % (2**31 - 1)
    return seed

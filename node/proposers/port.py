"""The port of proposers: what one is asked, what it answers, and how it says that it cannot.

Owns Request, Proposer, ProposerFailed and the one place that turns a draft into a Proposal.
Knows neither how ideas are had nor when they are asked for.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from node.proposers.steering import Steering
from node.trials.gradients import GradientNorms
from swarm.brief import Brief, source_sha256
from swarm.claim import lease_key
from swarm.finding import Proposal
from swarm.ledger import Entry
from swarm.program import canonical_key
from swarm.space import config_key, describe_changes
from swarm.trial import Track
from swarm.verdict import Noise, prior_noise
from swarm.words import BriefError, Config, FindingId, Operator, PeerId, Standing, SwarmError

MAX_INSPIRATIONS = 16  # of one proposal; swarm.finding.Proposal allows no more
MAX_TITLE_CHARS = 120
MAX_RATIONALE_CHARS = 1000


@dataclass(frozen=True)
class Request:
    """Everything a proposer may look at. It has no other source: no ledger, no clock, no files."""

    brief: Brief  # its goal is the home's program.md, where the node's owner has written there
    me: PeerId
    track: Track
    parent: Entry  # the branch's current best, what to improve
    history: tuple[Entry, ...]  # everything known on this track, own and peers', bad outcomes too, oldest first
    other_tracks: tuple[
        Entry, ...
    ]  # peers' findings on other hardware or budgets: a change may inspire, a number never
    inspirations: tuple[Entry, ...]  # peers' findings drained since the last proposal, newest last
    tried: AbstractSet[str]  # keys of everything tried on this track, by anybody: Proposal.key and canonical ones
    number: int  # of the run that is to come
    seed: int
    noise: Noise | None = None  # run to run on this track, as far as it is known
    standings: Mapping[FindingId, Standing] = field(default_factory=dict[FindingId, Standing])
    # ^ of peers' findings on this track; one that is not there is claimed
    gradients: Mapping[FindingId, GradientNorms] = field(default_factory=dict[FindingId, GradientNorms])
    # ^ of own runs whose script told them
    steering: Steering = field(default_factory=Steering)  # what the node's owner fixes and rules out
    claimed: frozenset[str] = frozenset()  # lease keys of what others work on now
    code_may_change: bool = True  # something here can hold a script that nobody has read
    failure: str | None = None  # why `failed` did not run: text of a smoke run's end, data, several lines
    failed: Proposal | None = None  # the previous version of this idea; whoever made it has one chance to repair it

    @property
    def noise_sd(self) -> float:
        """Standard deviation of one trial's score."""
        return (self.noise or prior_noise(self.brief.acceptance)).sd

    @property
    def on_cpu(self) -> bool:
        """A CPU sees few tokens in its budget, which decides what is worth trying there."""
        return self.track.hardware_class.startswith("cpu-")

    @property
    def parent_config(self) -> Config:
        return self.parent.finding.proposal.config

    @property
    def parent_source(self) -> str:
        return self.parent.finding.proposal.source or self.brief.source

    def steered(self, config: Config) -> Config:
        """The nearest to `config` that the node's owner allows."""
        return self.steering.config(config, self.parent_config, self.brief.space)

    @cached_property
    def known(self) -> dict[FindingId, Entry]:
        """Every finding of the request by id, oldest first. One whose config is outside the space is not there.

        Such a finding is refused long before it comes here; a proposer that met one would fall over at every proposal.
        """
        everything = {e.id: e for e in (*self.other_tracks, *self.history, *self.inspirations, self.parent)}
        return {id: e for id, e in everything.items() if self._fits(e)}

    @cached_property
    def on_track(self) -> list[Entry]:
        """Findings whose numbers compare with the parent's, oldest first, each once."""
        return [e for e in self.known.values() if e.track == self.track]

    def _fits(self, entry: Entry) -> bool:
        try:
            self.brief.space.check(entry.finding.proposal.config)
        except BriefError:
            return False
        return True


class Proposer(Protocol):
    """Has the next idea. Timeouts are the caller's cancel scopes."""

    @property
    def name(self) -> str:
        """'classic', 'llm:some-model': what a Proposal's `proposer` says, or the beginning of it."""
        ...

    async def propose(self, request: Request) -> Proposal:
        """A proposal for `request`, or ProposerFailed."""
        ...


class Failure(StrEnum):
    """Why a proposer has no answer."""

    UNREACHABLE = "unreachable"  # nobody listens, or the connection broke
    REFUSED = "refused"  # 401, 403, 404 and other 4xx: the settings are wrong
    RATE_LIMITED = "rate_limited"  # 429
    SERVER_ERROR = "server_error"  # 5xx
    TIMED_OUT = "timed_out"
    CAPPED = "capped"  # what may be spent is spent
    UNUSABLE = "unusable"  # an answer, but no proposal in it, repair round included


class ProposerFailed(SwarmError):
    """No proposal this time. The sentence names neither a key nor a word of what a server said."""

    def __init__(self, reason: Failure, sentence: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


def told_of(request: Request, sources: Iterable[FindingId] = ()) -> tuple[FindingId, ...]:
    """The peers' findings a proposal names: those drained for it and those it took a change from, newest kept."""
    ids: dict[FindingId, None] = dict.fromkeys(e.id for e in request.inspirations)
    for id in sources:
        ids.pop(id, None)
        ids[id] = None  # what was really taken goes last and is never the one that is dropped
    return tuple(ids)[-MAX_INSPIRATIONS:]


def plain_line(text: str, limit_chars: int) -> str:
    """One printable line: control, bidi, surrogate and private characters gone, white space single, cut to length."""
    kept = "".join(c if not unicodedata.category(c).startswith("C") else " " for c in text[: 8 * limit_chars])
    return " ".join(kept.split())[:limit_chars].rstrip()


def build_proposal(
    request: Request,
    *,
    proposer: str,
    operator: Operator,
    config: Config,
    source: str | None = None,
    title: str = "",
    rationale: str = "",
    sources: Iterable[FindingId] = (),
) -> Proposal:
    """A Proposal on the request's parent, with its source if none is given. Raises BriefError for a bad config."""
    config = request.brief.space.normalise(request.steered(config))
    text = request.parent_source if source is None else source
    own = text != request.brief.source
    describing = describe_changes(request.parent_config, config)
    return Proposal(
        operator=operator,
        proposer=proposer,
        config=config,
        source_sha256=source_sha256(text),
        source=text if own else None,
        parent=request.parent.id,
        inspirations=told_of(request, sources),
        title=plain_line(title, MAX_TITLE_CHARS) or plain_line(describing, MAX_TITLE_CHARS),
        rationale=plain_line(rationale, MAX_RATIONALE_CHARS),
    )


def is_new(request: Request, config: Config, source: str | None = None) -> bool:
    """Nobody on this track has run it yet or works on it now, however it is written, and it is not the parent.

    Steered, as it would be run.
    """
    brief, parent = request.brief, request.parent.finding.proposal
    config = request.steered(config)
    text = request.parent_source if source is None else source
    exact = config_key(brief.space.normalise(config), source_sha256(text))
    canonical = canonical_key(brief, config, text)
    if not request.tried.isdisjoint({exact, canonical}) or lease_key(canonical, request.track) in request.claimed:
        return False
    return canonical != canonical_key(brief, parent.config, parent.source)

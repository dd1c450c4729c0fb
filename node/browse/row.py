"""A run as one row of the table: everything the table can show, sort and be filtered by, as plain values.

Foreign text is cleaned here, once. What stands in a row follows from the ledger; the row owns no rule.
"""

from dataclasses import dataclass
from statistics import fmean

from node.names import friendly_name
from node.proposers.credit import arm_of
from node.report.run_words import status
from node.text import clean
from swarm.ledger import Entry, Ledger
from swarm.trial import Track
from swarm.words import Config, FindingId, Outcome, PeerId, Standing


@dataclass(frozen=True, slots=True)
class Row:
    id: FindingId
    peer: PeerId
    node_name: str
    number: int
    seq: int
    at_ms: int
    started_at: str
    track: Track
    arm: str
    operator: str
    proposer: str
    status: str  # keep, inconclusive, discard, crash, censored, cancelled
    outcome: str
    standing: Standing
    contested: bool  # others ran the same thing: its standing follows what is known of the noise
    mean: float | None  # of all its author's trials
    trials: int  # behind the mean
    effect: float | None
    interval: float | None  # of the effect
    p_better: float | None
    seconds: float
    steps: int
    tokens: int
    parameters: int
    peak_memory_bytes: int
    parent: FindingId | None
    inspirations: tuple[FindingId, ...]
    source_sha256: str
    title: str
    reason: str
    config: Config
    text: str  # what a search looks through, in lower case

    @property
    def kept(self) -> bool:
        return self.status == "keep"

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.seconds and self.tokens else None


def shown_name(node_name: str, peer: str) -> str:
    """Never empty, so that there is always something to click."""
    return clean(node_name, 40) or friendly_name(peer)


def row_of(ledger: Ledger, entry: Entry) -> Row:
    finding, proposal, first = entry.finding, entry.finding.proposal, entry.finding.trials[0]
    numbers = ledger.own_scores(entry) if finding.outcome is Outcome.MEASURED else ()
    others = any(author != entry.author for author in ledger.trials(entry.key, finding.track))
    name, title = shown_name(finding.node_name, entry.author), clean(proposal.title, 120)
    reason, arm = clean(finding.reason, 400), clean(arm_of(proposal.proposer) or "", 64) or "baseline"
    said = (title, clean(proposal.rationale, 1000), reason, name, proposal.proposer, entry.id[:12], entry.author)
    return Row(
        id=entry.id,
        peer=entry.author,
        node_name=name,
        number=finding.number,
        seq=entry.seq,
        at_ms=entry.at_ms,
        started_at=finding.started_at,
        track=finding.track,
        arm=arm,
        operator=proposal.operator.value,
        proposer=proposal.proposer,
        status=status(finding),
        outcome=finding.outcome.value,
        standing=ledger.standing(entry) if others else Standing.CLAIMED,
        contested=others,
        mean=fmean(numbers) if numbers else None,
        trials=len(numbers),
        effect=finding.verdict.effect,
        interval=finding.verdict.interval,
        p_better=finding.verdict.p_better,
        seconds=sum(one.seconds for one in (*finding.trials, *finding.parent_trials)),
        steps=first.steps,
        tokens=first.tokens,
        parameters=first.parameters,
        peak_memory_bytes=first.peak_memory_bytes,
        parent=proposal.parent,
        inspirations=proposal.inspirations,
        source_sha256=proposal.source_sha256,
        title=title,
        reason=reason,
        config=proposal.config,
        text="\n".join(said).lower(),
    )

"""What is seen of a simulated swarm while it runs: who found what when, who heard of it when, and a trace of all that.

Owns the records of a run; figures are made of them in node/simulation/figures.py. It sees what no node could: what a
config is really worth, and who lies.
"""

import hashlib
from array import array
from dataclasses import dataclass, field
from typing import Any

import trio

from swarm.ledger import Entry
from swarm.trial import Track
from swarm.words import Decision, FindingId, Operator, Outcome


@dataclass(frozen=True, slots=True)
class Made:
    """A finding, as an onlooker knows it."""

    at: float  # virtual seconds
    member: int
    honest: bool
    kept: bool
    key: str
    track: Track
    truth: float | None  # bits per byte without noise; None if nothing was measured
    said: float | None
    combined: bool
    inspired_by: tuple[FindingId, ...]
    trials: int


@dataclass
class Observation:
    made: dict[FindingId, Made] = field(default_factory=dict[FindingId, Made])
    copied: set[FindingId] = field(default_factory=set[FindingId])  # of what an honest node had measured
    latencies: "array[float]" = field(default_factory=lambda: array("d"))  # seconds, of each that was there to hear
    news_latencies: "array[float]" = field(default_factory=lambda: array("d"))  # of improvements only
    received: int = 0
    best: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])  # hours, truth of the best kept
    notices: dict[str, int] = field(default_factory=dict[str, int])  # warnings of honest nodes, by their first words
    _trace: Any = field(default_factory=hashlib.sha256)  # Any: hashlib does not name its class
    _events: int = 0

    def own(self, member: int, entry: Entry, truth: float | None, *, honest: bool) -> None:
        finding, kept = entry.finding, entry.finding.verdict.decision is Decision.KEEP
        proposal, now = finding.proposal, trio.current_time()
        self.made[entry.id] = Made(
            at=now,
            member=member,
            honest=honest,
            kept=kept,
            key=proposal.key,
            track=finding.track,
            truth=truth if finding.outcome is Outcome.MEASURED else None,
            said=entry.val_bpb,
            combined=proposal.operator is Operator.COMBINE,
            inspired_by=proposal.inspirations,
            trials=len(finding.trials) + len(finding.parent_trials),
        )
        if honest and kept and truth is not None and (not self.best or truth < self.best[-1][1]):
            self.best.append((now / 3600, truth))
        self.note("own", member, entry.id)

    def heard(self, member: int, id: FindingId, there_since: float) -> None:
        """`there_since`: when the hearer's present life began. Who was away when it was told only catches up."""
        self.note("heard", member, id)
        made = self.made.get(id)
        if made is None:
            return
        self.received += 1
        if made.honest and made.at >= there_since:
            seconds = trio.current_time() - made.at
            self.latencies.append(seconds)
            if made.kept:
                self.news_latencies.append(seconds)

    def warned(self, text: str) -> None:
        words = " ".join(text.split()[:6])
        self.notices[words] = self.notices.get(words, 0) + 1

    def note(self, *what: object) -> None:
        """One line of the trace."""
        self._events += 1
        self._trace.update(f"{trio.current_time():.6f} {' '.join(map(str, what))}\n".encode())

    @property
    def trace(self) -> str:
        """Equal for equal runs, and for no others."""
        return f"{self._events}:{self._trace.hexdigest()}"

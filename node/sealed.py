"""Sealed scores and their drift: what the branch's milestones are worth on text that nothing was chosen by.

A milestone has two numbers of the same trials: bits per byte of the validation shard, by which the branch moved, and of
the sealed one. Owns what their distance says. It is for people: no proposer, prompt, verdict, commit or peer ever gets
it, else the sealed text would be one more validation text. The journal keeps it, the trainer makes it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from swarm.trial import Track
from swarm.words import BriefId, FindingId


@dataclass(frozen=True)
class SealedScore:
    """Both numbers of the trials that made a finding a milestone."""

    finding: FindingId
    brief: BriefId
    track: Track
    val_bpb: float  # mean of just the trials that have a sealed score; the finding's own is of all
    sealed_bpb: float
    at: float  # seconds since the epoch, our clock

    @property
    def gap(self) -> float:
        """Above 0: worse on the sealed text. By itself that says only that one text is harder than the other."""
        return self.sealed_bpb - self.val_bpb


@dataclass(frozen=True)
class Drift:
    """How the gap has moved since the first milestone: if it grows, the branch fits its validation text."""

    scores: Sequence[SealedScore]  # of one track, in order, two at least

    @property
    def first(self) -> SealedScore:
        return self.scores[0]

    @property
    def latest(self) -> SealedScore:
        return self.scores[-1]

    @property
    def growth(self) -> float:
        return self.latest.gap - self.first.gap


def sealed_score(
    finding: FindingId, brief: BriefId, track: Track, pairs: Sequence[tuple[float, float]], at: float
) -> SealedScore | None:
    """Of a finding's own trials that were scored: (val_bpb, sealed_bpb) each. None when none was."""
    if not pairs:
        return None
    val_bpb, sealed_bpb = (math.fsum(scores) / len(pairs) for scores in zip(*pairs, strict=True))
    return SealedScore(finding, brief, track, val_bpb, sealed_bpb, at)


def drift_of(scores: Sequence[SealedScore], track: Track | None) -> Drift | None:
    """Of the milestones of one track; None while there are fewer than two: one gap says nothing."""
    chosen = [score for score in scores if score.track == track]
    return Drift(chosen) if len(chosen) > 1 else None

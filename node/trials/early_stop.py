"""Early stop: whether a run's training curve is hopeless against where the branch stands.

Pure: curves in, a sentence out. A run's end is guessed from its curve so far, as if it went on falling by the same
share each time its time doubles, which flatters most curves. By how much it flatters is known from the runs that came
to their end: of each, what it scored over what would have been guessed of it at the same second. Hopeless is a run
that would miss the best by a margin even if it was flattered no more than the one of them that was so least.

A score of nobody can make a run hopeless that is not so by this node's own curves: a run more is one more that may have
been flattered least, and at least LEAST_OWN runs are our own. What a curve's loss means is not known here, only that
it means the same in all of them.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Curve = tuple[tuple[float, float], ...]  # (seconds since the hand-over, train loss in nats), in order of time

# Tuned on one half of the recorded trials (configs/trials), `make bench-early-stop` reports the other half.
LEAST_OWN = 8  # own runs that came to their end
LEAST_SHARE = 0.3  # of the budget is never cut
LAST_SHARE = 0.9  # from here on there is nothing to save
MARGIN = 0.2  # of a score: so far from the best must the most hopeful guess be


@dataclass(frozen=True, slots=True)
class Past:
    """A run that came to its end on the same track with the same train.py."""

    curve: Curve
    val_bpb: float
    own: bool = True


class EarlyStop(Protocol):
    """Looks at a run while it trains."""

    def hopeless(self, points: Sequence[tuple[float, float]]) -> str:
        """Why it is not worth its budget, in one sentence; empty as long as it may be. `points`: all so far."""
        ...


@dataclass(frozen=True, slots=True)
class StopRule:
    """For the next run of a branch that stands at `best_bpb`."""

    past: tuple[Past, ...]
    best_bpb: float
    budget_seconds: float

    def hopeless(self, points: Sequence[tuple[float, float]]) -> str:
        seconds = points[-1][0]
        if not LEAST_SHARE <= seconds / self.budget_seconds <= LAST_SHARE:
            return ""
        guess = guessed_end(points, seconds, self.budget_seconds)
        factor = self._least_factor(seconds)
        if guess is None or factor is None or guess * factor * (1 - MARGIN) <= self.best_bpb:
            return ""
        return (
            f"stopped early at {seconds:.0f} of {self.budget_seconds:g} s: at train loss {points[-1][1]:.3f} it was on "
            f"its way to {guess * factor:.3f} val_bpb at best, where {self.best_bpb:.4f} stands"
        )

    def _least_factor(self, seconds: float) -> float | None:
        """What was scored over what would have been guessed at this second, by the run that was flattered least."""
        factors: list[float] = []
        own = 0
        for one in self.past:
            if guess := guessed_end(one.curve, seconds, self.budget_seconds):
                factors.append(one.val_bpb / guess)
                own += one.own
        return min(factors) if own >= LEAST_OWN else None


def stop_rule(past: Iterable[Past], best_bpb: float, budget_seconds: float) -> StopRule | None:
    """None while too little is known here to stop anything."""
    known = tuple(one for one in past if one.val_bpb > 0)
    return StopRule(known, best_bpb, budget_seconds) if sum(one.own for one in known) >= LEAST_OWN else None


def guessed_end(curve: Sequence[tuple[float, float]], seconds: float, budget_seconds: float) -> float | None:
    """The train loss at the end of the budget, guessed at `seconds` from the fall since half of it. None: no saying."""
    now, before = loss_at(curve, seconds), loss_at(curve, seconds / 2)
    if now is None or before is None or now <= 0 or before <= 0:
        return None
    fall = min(1.0, now / before)  # one that rises is not expected to go on rising
    return now * fall ** math.log2(budget_seconds / seconds)


def loss_at(curve: Sequence[tuple[float, float]], seconds: float) -> float | None:
    """Between two points a straight line, which lies above a curve that flattens. None: outside of it."""
    at = bisect_left(curve, seconds, key=lambda point: point[0])
    if at == len(curve):
        return None
    (t1, y1) = curve[at]
    if t1 == seconds:
        return y1
    if at == 0:
        return None
    t0, y0 = curve[at - 1]
    return y0 + (y1 - y0) * (seconds - t0) / (t1 - t0)

"""Early stop: whether a run's training curve is hopeless against where the branch stands.

Pure: curves in, a sentence out. A run's end is guessed from its curve so far, as if it went on falling by the same
share each time its time doubles. How wrong such a guess is depends on how fast the curve falls, and is not assumed but
taken from the runs that came to their end: of each, what it scored over what would have been guessed of it at the same
second. Hopeless is a run that would miss the best by a margin even if its guess flattered it as little as the least
flattered of those own runs that fell most like it. One that falls faster than nearly all of them is left alone: nothing
is known of its like.

A peer's curve may spare a run and cannot stop one: it counts beside the own ones where it falls like them, and only
the least flattered of all decides. What a loss means is not known here, only that it means the same in all of them.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Curve = tuple[tuple[float, float], ...]  # (seconds since the hand-over, train loss in nats), in order of time

# Chosen on one half of the recorded trials; `make bench-early-stop` reports the other half.
LEAST_OWN = 8  # own runs that came to their end, and as many are compared with: those that fell most like it
LEAST_STEEPER = 3  # of the own runs fell at least as fast
LEAST_SHARE = 0.3  # of the budget is never cut
LAST_SHARE = 0.9  # from here on there is nothing to save
MOST_LOG_FALL = -20.0  # what falls faster does so on paper only, and numbers stay numbers
LEAST_LOSS = 1e-9  # nats; a peer may say anything, and a quotient stays a number
MARGIN = 0.1  # of a score: so far from the best must the most hopeful guess be


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
        falling = fall(points, seconds)
        factor = None if falling is None else self._least_factor(seconds, falling)
        if falling is None or factor is None:
            return ""
        hoped = falling.end(self.budget_seconds) * factor
        if hoped * (1 - MARGIN) <= self.best_bpb:
            return ""
        return (
            f"stopped early at {seconds:.0f} of {self.budget_seconds:g} s: with train loss {points[-1][1]:.3f} there "
            f"it was on its way to {hoped:.3f} val_bpb at best, and the best is {self.best_bpb:.4f}"
        )

    def _least_factor(self, seconds: float, falling: "Fall") -> float | None:
        """What was scored over what would have been guessed at this second, where that was least. None: no saying."""
        own, theirs = list[tuple[float, float]](), list[tuple[float, float]]()  # how unlike in its fall, factor
        steeper = 0
        for one in self.past:
            there = fall(one.curve, seconds)
            if there is not None and (end := there.end(self.budget_seconds)) > LEAST_LOSS:
                found = (abs(there.log_share - falling.log_share), one.val_bpb / end)
                (own if one.own else theirs).append(found)
                steeper += one.own and there.log_share <= falling.log_share
        if len(own) < LEAST_OWN or steeper < LEAST_STEEPER:
            return None
        alike = sorted(own)[:LEAST_OWN]
        unlike = alike[-1][0]
        return min(factor for distance, factor in (*alike, *theirs) if distance <= unlike)


def stop_rule(past: Iterable[Past], best_bpb: float, budget_seconds: float) -> StopRule | None:
    """None while too little is known here to stop anything."""
    known = tuple(one for one in past if one.val_bpb > 0)
    return StopRule(known, best_bpb, budget_seconds) if sum(one.own for one in known) >= LEAST_OWN else None


@dataclass(frozen=True, slots=True)
class Fall:
    """How a curve falls at some second."""

    seconds: float
    loss: float
    log_share: float  # of the loss that was left since half that second; 0 at most: nothing is expected to rise on

    def end(self, budget_seconds: float) -> float:
        """The loss at the end of the budget, if it goes on like this."""
        return self.loss * math.exp(self.log_share * math.log2(budget_seconds / self.seconds))


def fall(curve: Sequence[tuple[float, float]], seconds: float) -> Fall | None:
    now, before = loss_at(curve, seconds), loss_at(curve, seconds / 2)
    if now is None or before is None or now <= 0 or before <= 0:
        return None
    return Fall(seconds, now, max(MOST_LOG_FALL, min(0.0, math.log(now) - math.log(before))))


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

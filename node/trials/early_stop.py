"""Early stop: whether a run's training curve is hopeless against where the branch stands.

Pure; to be tuned.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Curve = tuple[tuple[float, float], ...]  # (seconds since the hand-over, train loss in nats), in order of time

LEAST_CURVES = 8
LEAST_SHARE = 0.25  # of the budget
MARGIN = 0.15


@dataclass(frozen=True, slots=True)
class Past:
    """A run that came to its end on the same track with the same train.py."""

    curve: Curve
    val_bpb: float
    own: bool = True


@dataclass(frozen=True, slots=True)
class StopRule:
    budget_seconds: float
    contenders: tuple[Curve, ...]

    def hopeless(self, points: Sequence[tuple[float, float]]) -> str:
        seconds, loss = points[-1]
        if not LEAST_SHARE * self.budget_seconds <= seconds:
            return ""
        there = [at for curve in self.contenders if (at := loss_at(curve, seconds)) is not None]
        if not there or loss <= max(there) * (1 + MARGIN):
            return ""
        return f"stopped at {seconds:.0f} of {self.budget_seconds:g} s"


def stop_rule(past: Iterable[Past], best_bpb: float, budget_seconds: float) -> StopRule | None:
    known = sorted(past, key=lambda one: one.val_bpb)
    if sum(one.own for one in known) < LEAST_CURVES:
        return None
    return StopRule(budget_seconds, tuple(one.curve for one in known[:3]))


def loss_at(curve: Curve, seconds: float) -> float | None:
    """Between two points a straight line, which lies above a curve that flattens. None: outside of it."""
    at = bisect_left(curve, seconds, key=lambda point: point[0])
    if at == len(curve) or (at == 0 and curve[0][0] != seconds):
        return None
    if at == 0 or curve[at][0] == seconds:
        return curve[at][1]
    (t0, y0), (t1, y1) = curve[at - 1], curve[at]
    return y0 + (y1 - y0) * (seconds - t0) / (t1 - t0)

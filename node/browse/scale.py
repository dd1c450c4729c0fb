"""Axes of a picture: from numbers to pixels and to the few round numbers that stand beside them. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST = 1e12  # of what is drawn: a stranger may report the largest float there is
_BEYOND = 2.5  # times the interesting range; what is worse stands at the edge


@dataclass(frozen=True, slots=True)
class Scale:
    """A range of values on a range of pixels; values outside stand at the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def scale(values: Iterable[float], start: float, end: float, *, room: float = 0.05) -> Scale:
    """Over all values, with some room on both sides."""
    known = [max(-MOST, min(value, MOST)) for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    around = (high - low) * room or max(abs(high) * 0.02, 1e-6)
    return Scale(low - around, high + around, start, end)


def upper_edge(values: Sequence[float]) -> float:
    """Where a picture of scores ends above, so that one diverged run does not flatten all the others."""
    if not values:
        return 1.0
    ordered = sorted(values)
    interesting = ordered[(len(ordered) - 1) * 3 // 4] - ordered[0]
    return min(ordered[-1], ordered[0] + _BEYOND * interesting) if interesting else ordered[-1]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About so many round numbers inside a range: steps of 1, 2 or 5 times a power of ten."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return []
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, first + 3 * wanted) if n * step <= high + step * 1e-9]


def tick_words(values: Sequence[float]) -> list[str]:
    """All with the digits that tell them apart."""
    if not values:
        return []
    step = min((b - a for a, b in pairwise(values)), default=abs(values[0]) or 1.0)
    if max(map(abs, values)) >= 1e6 or (0 < step < 1e-6):
        return [f"{value:.3g}" for value in values]
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return [f"{value:,.{digits}f}" for value in values]

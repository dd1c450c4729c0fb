"""Numbers as a row of blocks, or a few rows of them: a picture that fits into a line of text.

Owns thinning, scale and the characters. Knows nothing of what the numbers are.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from statistics import fmean

BLOCKS = " ▁▂▃▄▅▆▇█"
_FULL = len(BLOCKS) - 1
_SMALLER = 2.0**20  # a power of two: nothing is rounded
_SAME = 1e-12  # relative; means of equal numbers differ in their last digit
_SETTLED = 10  # a curve may begin so far up that nothing else could be seen: the scale leaves out the first tenth


def best_so_far(numbers: Sequence[float]) -> list[float]:
    """The lowest up to each of them."""
    return list(accumulate(numbers, min))


def thinned(numbers: Sequence[float], width: int) -> list[float]:
    """At most `width` numbers: means of equally many neighbours, give or take one. What is not finite is left out."""
    finite = [number for number in numbers if math.isfinite(number)]
    if len(finite) <= width:
        return finite
    edges = [len(finite) * i // width for i in range(width + 1)]
    return [_mean(finite[begin:end]) for begin, end in pairwise(edges)]


def _mean(numbers: Sequence[float]) -> float:
    return fmean(number / _SMALLER for number in numbers) * _SMALLER  # a sum of the largest ones is no number


def block_rows(numbers: Sequence[float], width: int, height: int = 1) -> list[str]:
    """The numbers as columns, from the top row down; no rows if there are none. The lowest still has a mark."""
    columns = thinned(numbers, width)
    if not columns:
        return []
    low, top = min(columns), max(columns[len(columns) // _SETTLED :])
    levels = height * _FULL
    marks = [_level(min(number, top), low, top, levels) for number in columns]
    return [
        "".join(BLOCKS[max(0, min(_FULL, mark - row * _FULL))] for mark in marks).rstrip()
        for row in range(height - 1, -1, -1)
    ]


def sparkline(numbers: Sequence[float], width: int = 24) -> str:
    return "".join(block_rows(numbers, width))


def _level(number: float, low: float, top: float, levels: int) -> int:
    number, low, top = number / 2, low / 2, top / 2  # so that a difference of two is a number
    if top - low <= _SAME * max(abs(top), abs(low)):
        return levels // 2  # all the same: neither high nor low
    return 1 + round((number - low) / (top - low) * (levels - 1))

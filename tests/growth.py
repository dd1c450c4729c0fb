"""What a process uses as time goes by, and how fast that grows, over lives that end and begin again."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

HOUR = 3600.0  # seconds


@dataclass(frozen=True)
class Sample:
    at: float  # seconds
    life: int  # of which process of a node
    memory_mb: float  # resident
    files: int  # open


@dataclass(frozen=True)
class Growth:
    memory_mb_per_hour: float
    files_per_hour: float
    watched_seconds: float  # after warm-up


def growth(samples: Iterable[Sample], warm_up_seconds: float) -> Growth:
    """By least squares, one slope for all lives of a node, each from its own level. The beginning of a life says
    nothing: what is imported and filled once is no growth."""
    lives: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        lives[sample.life].append(sample)
    warm = [[one for one in life if one.at >= life[0].at + warm_up_seconds] for life in lives.values()]
    warm = [life for life in warm if len(life) > 1]
    memory = _slope([[(one.at, one.memory_mb) for one in life] for life in warm])
    files = _slope([[(one.at, float(one.files)) for one in life] for life in warm])
    return Growth(HOUR * memory, HOUR * files, sum(life[-1].at - life[0].at for life in warm))


def _slope(lives: list[list[tuple[float, float]]]) -> float:
    above = below = 0.0
    for life in lives:
        middle = statistics.fmean(at for at, _ in life)
        level = statistics.fmean(value for _, value in life)
        above += sum((at - middle) * (value - level) for at, value in life)
        below += sum((at - middle) ** 2 for at, _ in life)
    return above / below if below else 0.0

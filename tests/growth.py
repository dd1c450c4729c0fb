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
    memory_mb: float  # on average, meanwhile

    @property
    def memory_percent_per_hour(self) -> float:
        return 100 * self.memory_mb_per_hour / self.memory_mb if self.memory_mb else 0.0


def growth(samples: Iterable[Sample], warm_up_seconds: float) -> Growth:
    """By least squares, one slope for all lives, each from its own level. The beginning of a life says nothing: what is
    imported and filled once is no growth."""
    return _growth(_warm_lives(samples, warm_up_seconds))


def late_growth(samples: Iterable[Sample], warm_up_seconds: float) -> Growth:
    """The same over the second half of what is left of each life: growth that ends is not seen there."""
    lives = _warm_lives(samples, warm_up_seconds)
    return _growth([[one for one in life if one.at >= (life[0].at + life[-1].at) / 2] for life in lives])


def _warm_lives(samples: Iterable[Sample], warm_up_seconds: float) -> list[list[Sample]]:
    lives: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        lives[sample.life].append(sample)
    warm = [[one for one in life if one.at >= life[0].at + warm_up_seconds] for life in lives.values()]
    return [life for life in warm if len(life) > 1]


def _growth(lives: list[list[Sample]]) -> Growth:
    everything = [one.memory_mb for life in lives for one in life]
    return Growth(
        HOUR * _slope([[(one.at, one.memory_mb) for one in life] for life in lives]),
        HOUR * _slope([[(one.at, float(one.files)) for one in life] for life in lives]),
        sum(life[-1].at - life[0].at for life in lives),
        statistics.fmean(everything) if everything else 0.0,
    )


def _slope(lives: list[list[tuple[float, float]]]) -> float:
    above = below = 0.0
    for life in lives:
        middle = statistics.fmean(at for at, _ in life)
        level = statistics.fmean(value for _, value in life)
        above += sum((at - middle) * (value - level) for at, value in life)
        below += sum((at - middle) ** 2 for at, _ in life)
    return above / below if below else 0.0

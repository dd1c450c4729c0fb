"""A surrogate: what a trial of any config would come to, learned from the table of real ones.

Owns the model: a Gaussian process on the logarithm of bits per byte says the mean, another how likely a config is to
end without a number, repeats say the noise at each level, and real curves, moved to the score that was drawn, are the
curves. A draw depends on the config and the seed alone. Where no trial was near, the mean goes back to that of all
trials, which is far from the best: a search cannot find gold where nobody has looked. What it does not know: code that
changes, other topics, and other budgets than the table's.

A faster machine (`speed`, times the table's) sees more text in the same time. Its score is the table's times
speed ** -SPEED_EXPONENT, for every config alike: the order of configs stays, which on real machines it does not quite
(a GPU prefers larger models). Enough to have classes that differ; not a claim about GPUs.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Self

import numpy as np

from node.simulation.campaign import research_space
from node.simulation.config_points import ConfigPoints, Setting
from node.simulation.gaussian_process import Array, GaussianProcess, solve
from node.simulation.table import RecordedTrial, TableError, read_table
from swarm.space import SearchSpace, config_key
from swarm.words import Outcome

LEAST_ROWS = 8  # measured configs, below which there is nothing to learn
SPEED_EXPONENT = 0.1  # of the score with the text seen; a guess
FEW_REPEATS_SD = 0.005  # of the logarithm: noise where the table repeats nothing; about that of the naive base
NEAREST = 3  # recorded trials that lend their curve, or their way to fail
WORST_BPB = 60.0
KNOWS_NOTHING = 9.0  # bits per byte; 8 is what a model of bytes has before it learned, and above all are alike: broken
FURTHER = 0.05  # of the logarithm: a guess is never better than the best recorded config by more

Curve = tuple[tuple[float, float], ...]  # seconds, nats per token of the training text


@dataclass(frozen=True)
class Noise:
    """Standard deviation of the logarithm of a score, as exp(level + slope * log(bpb))."""

    level: float
    slope: float
    repeats: int  # degrees of freedom it was fitted to

    def sd(self, bpb: float) -> float:
        """Bits per byte, of one trial at this level."""
        return bpb * math.exp(self.level + self.slope * math.log(bpb))


@dataclass(frozen=True)
class _Ended:
    outcome: Outcome
    share: float  # of the budget that was used


class Surrogate:
    def __init__(self, rows: Sequence[RecordedTrial], space: SearchSpace) -> None:
        """Raises TableError when there is too little to learn from."""
        self.space, self._points = space, ConfigPoints(space)
        self._measured = [row for row in rows if row.val_bpb is not None]
        groups = by_config(self._measured)
        if len(groups) < LEAST_ROWS:
            raise TableError(f"{len(groups)} measured configs are too few to learn from; {LEAST_ROWS} are needed")
        self.noise = fit_noise(groups)
        logs = [[math.log(capped(row)) for row in group] for group in groups]
        self._range = min(map(fmean, logs)), max(map(fmean, logs))
        x = self._points.points(group[0].config for group in groups)
        counts = np.array([float(len(group)) for group in groups])
        self._process = GaussianProcess(x, np.array([sum(one) / len(one) for one in logs]), counts)
        self._groups = groups
        self._failures = [row for row in rows if row.val_bpb is None]
        self._failure_points = self._points.points(row.config for row in self._failures)
        self._failing = self._learn_failing(by_config(rows)) if self._failures else None
        self._means: dict[str, float] = {}

    @classmethod
    def fit(cls, rows: Sequence[RecordedTrial], space: SearchSpace) -> Self:
        return cls(rows, space)

    def mean(self, config: Setting, speed: float = 1.0) -> float:
        """Bits per byte without noise, if it ends with a number."""
        key = config_key(dict(config), "")
        if key not in self._means:
            log_bpb = float(self._process.means(self._points.points([config]))[0])
            self._means[key] = math.exp(min(max(log_bpb, self._range[0] - FURTHER), self._range[1]))
        return min(self._means[key] * speed**-SPEED_EXPONENT, WORST_BPB)

    def noise_sd(self, config: Setting, speed: float = 1.0) -> float:
        """Bits per byte, from one trial of the config to the next."""
        return self.noise.sd(self.mean(config, speed))

    def doubt_sd(self, config: Setting) -> float:
        """How far the mean itself may be off, in bits per byte."""
        return self.mean(config) * float(self._process.sds(self._points.points([config]))[0])

    def fails(self, config: Setting) -> float:
        """Chance that a trial ends without a number."""
        if self._failing is None:
            return 0.0
        return min(max(float(self._failing.means(self._points.points([config]))[0]), 0.0), 1.0)

    def draw(self, config: Setting, seed: int, speed: float = 1.0) -> tuple[Outcome, float | None]:
        """What one trial comes to; the same for the same config and seed."""
        rng = _random(config, seed)
        if (ended := self._ended(config, rng)) is not None:
            return ended.outcome, None
        return Outcome.MEASURED, self._score(config, rng, speed)

    def curve(self, config: Setting, seed: int, speed: float = 1.0) -> Curve:
        """Of the trial that `draw` says: a real curve of a config nearby, moved so that it ends where the score says.

        A trial that fails has the beginning of one.
        """
        rng = _random(config, seed)
        ended = self._ended(config, rng)
        bpb = self.mean(config, speed) if ended else self._score(config, rng, speed)
        row = self._neighbour(config, rng)
        assert row.val_bpb is not None
        moved = tuple((seconds, nats * bpb / row.val_bpb) for seconds, nats in row.curve)
        return moved if ended is None else moved[: max(1, int(ended.share * len(moved)))]

    def neighbour(self, config: Setting, seed: int) -> RecordedTrial:
        """The recorded trial that stands for what the score does not say: steps, tokens, memory, seconds."""
        rng = _random(config, seed)
        if self._ended(config, rng) is None:
            self._score(config, rng, 1.0)
        return self._neighbour(config, rng)

    def left_out(self) -> tuple[Array, Array]:
        """For each measured config: its mean as recorded, and as all others predict it. Lengthscales saw them all."""
        seen = [fmean(map(capped, group)) for group in self._groups]
        means, _ = self._process.left_out()
        return np.array(seen), np.exp(means)

    def _score(self, config: Setting, rng: random.Random, speed: float) -> float:
        mean = self.mean(config, speed)
        return min(max(mean + rng.gauss(0.0, self.noise.sd(mean)), 0.01), WORST_BPB)

    def _ended(self, config: Setting, rng: random.Random) -> _Ended | None:
        """None: with a number. Else as one of the nearest failures ended."""
        lot, which, share = rng.random(), rng.random(), rng.random()
        if lot >= self.fails(config):
            return None
        apart = ((self._failure_points - self._points.points([config])) ** 2).sum(1)
        nearest = sorted(range(len(apart)), key=lambda at: float(apart[at]))[:NEAREST]
        return _Ended(self._failures[nearest[int(which * len(nearest))]].outcome, share)

    def _learn_failing(self, groups: Sequence[Sequence[RecordedTrial]]) -> GaussianProcess:
        """The same model on 1 for a failure and 0 for a number: a chance once it is cut to between them."""
        shares = np.array([fmean(row.val_bpb is None for row in group) for group in groups])
        counts = np.array([float(len(group)) for group in groups])
        return GaussianProcess(self._points.points(group[0].config for group in groups), shares, counts)

    def _neighbour(self, config: Setting, rng: random.Random) -> RecordedTrial:
        apart = self._process.distances(self._points.points([config]))[0]
        nearest = sorted(range(len(apart)), key=lambda at: float(apart[at]))[:NEAREST]
        return rng.choice(self._groups[rng.choice(nearest)])


def capped(row: RecordedTrial) -> float:
    """Bits per byte of a measured trial."""
    assert row.val_bpb is not None
    return min(row.val_bpb, KNOWS_NOTHING)


def by_config(rows: Sequence[RecordedTrial]) -> list[list[RecordedTrial]]:
    """Repeats of a config together, in the order of their first."""
    groups: dict[str, list[RecordedTrial]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    return list(groups.values())


def fit_noise(groups: Sequence[Sequence[RecordedTrial]]) -> Noise:
    """Maximum likelihood of normal repeats whose spread is a power of the level; the power only as far as data say."""
    levels, squares, freedoms = list[float](), list[float](), list[int]()
    for group in groups:
        logs = np.log([row.val_bpb for row in group if row.val_bpb is not None])
        if len(logs) > 1:
            levels.append(float(logs.mean()))
            squares.append(float(logs.var(ddof=1)))
            freedoms.append(len(logs) - 1)
    if not levels:
        return Noise(math.log(FEW_REPEATS_SD), 0.0, 0)
    x, s2, dof = np.array(levels), np.array(squares) + 1e-12, np.array(freedoms, np.float64)
    center = float(np.average(x, weights=dof))
    at = np.array([0.5 * math.log(float(np.average(s2, weights=dof))), 0.0])
    ridge = np.array([0.0, 0.5])  # of the slope: as if it were 0, with a standard deviation of 1.4
    for _ in range(50):
        ratio = s2 / np.exp(2.0 * (at[0] + at[1] * (x - center)))
        sides = np.stack((np.ones_like(x), x - center))
        slope = (sides * (dof * (1.0 - ratio))).sum(1) + ridge * at
        bend = (sides * (2.0 * dof * ratio)) @ sides.T + np.diag(ridge + 1e-9)
        at = at - np.clip(solve(bend, slope), -0.5, 0.5)
    return Noise(float(at[0] - at[1] * center), float(at[1]), int(dof.sum()))


@cache
def shipped_surrogate() -> Surrogate:
    """Of the shipped table, over the space of configs/gpt.toml. Takes seconds the first time."""
    space = research_space()
    return Surrogate(read_table(space=space).rows, space)


def _random(config: Setting, seed: int) -> random.Random:
    made = hashlib.sha256(f"{config_key(dict(config), '')} {seed}".encode()).digest()
    return random.Random(int.from_bytes(made[:8]))

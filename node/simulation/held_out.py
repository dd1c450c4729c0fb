"""How well a surrogate predicts real trials that it was not fitted to.

Owns the folds and the figures. All repeats of a config are in one fold: nothing is predicted from its own repeat. The
whole fit is made again for each fold, lengthscales too.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import fmean

import numpy as np

from node.simulation.surrogate import Surrogate, by_config, capped, fit_noise
from node.simulation.table import RecordedTrial
from swarm.space import SearchSpace

FOLDS = 5
GOOD_SHARE = 1 / 3  # of the configs, the best ones: where searches spend their trials


@dataclass(frozen=True)
class Prediction:
    """Of one measured config."""

    seen_bpb: float  # mean of its recorded trials
    told_bpb: float  # by a surrogate that saw none of them
    doubt_sd: float  # bits per byte, as the surrogate says of itself
    repeats: int


@dataclass(frozen=True)
class HeldOut:
    predictions: tuple[Prediction, ...]
    fails_said: tuple[float, ...]  # chance of failure of each trial, by a surrogate that saw none of its config
    failed: tuple[bool, ...]
    noise_sd: float  # bits per byte of one trial, at the median level

    @property
    def good(self) -> "HeldOut":
        """The best configs alone."""
        ranked = sorted(self.predictions, key=lambda one: one.seen_bpb)
        kept = tuple(ranked[: max(2, round(GOOD_SHARE * len(ranked)))])
        return HeldOut(kept, (), (), self.noise_sd)

    @property
    def r2(self) -> float:
        """Share of the variance of log bits per byte that is predicted."""
        seen = [log(one.seen_bpb) for one in self.predictions]
        told = [log(one.told_bpb) for one in self.predictions]
        middle = fmean(seen)
        missed = sum((a - b) ** 2 for a, b in zip(seen, told, strict=True))
        return 1.0 - missed / sum((a - middle) ** 2 for a in seen)

    @property
    def spearman(self) -> float:
        seen = _ranks([one.seen_bpb for one in self.predictions])
        told = _ranks([one.told_bpb for one in self.predictions])
        return float(np.corrcoef(seen, told)[0, 1])

    @property
    def rmse(self) -> float:
        """Bits per byte; includes what noise the recorded means have."""
        return sqrt(fmean((one.seen_bpb - one.told_bpb) ** 2 for one in self.predictions))

    @property
    def median_miss(self) -> float:
        """Bits per byte."""
        return float(np.median([abs(one.seen_bpb - one.told_bpb) for one in self.predictions]))

    @property
    def within_two_sd(self) -> float:
        """Share of misses inside twice what the surrogate says of its own doubt; 0.95 if it is honest."""
        inside = [abs(one.seen_bpb - one.told_bpb) <= 2.0 * one.doubt_sd for one in self.predictions]
        return fmean(inside)

    @property
    def fails_auc(self) -> float | None:
        """Chance that a trial that failed was given a higher one than a trial that did not; None if none failed."""
        bad = [said for said, failed in zip(self.fails_said, self.failed, strict=True) if failed]
        good = [said for said, failed in zip(self.fails_said, self.failed, strict=True) if not failed]
        if not bad or not good:
            return None
        return fmean(0.5 * (b == g) + (b > g) for b in bad for g in good)


def held_out(rows: Sequence[RecordedTrial], space: SearchSpace, folds: int = FOLDS) -> HeldOut:
    """Raises TableError when a fold leaves too little to learn from."""
    groups = by_config(rows)
    random.Random(0).shuffle(groups)
    predictions, said, failed = list[Prediction](), list[float](), list[bool]()
    for fold in range(folds):
        inside = [row for at, group in enumerate(groups) if at % folds != fold for row in group]
        surrogate = Surrogate.fit(inside, space)
        for group in groups[fold::folds]:
            scores = [capped(row) for row in group if row.val_bpb is not None]
            said += [surrogate.fails(group[0].config)] * len(group)
            failed += [row.val_bpb is None for row in group]
            if scores:
                predictions.append(_predict(surrogate, group[0], scores))
    middle = float(np.median([one.seen_bpb for one in predictions]))
    noise = fit_noise(by_config([row for row in rows if row.val_bpb is not None]))
    return HeldOut(tuple(predictions), tuple(said), tuple(failed), noise.sd(middle))


def _predict(surrogate: Surrogate, row: RecordedTrial, scores: list[float]) -> Prediction:
    told = surrogate.mean(row.config)
    noise = surrogate.noise.sd(told) / sqrt(len(scores))
    doubt = sqrt(surrogate.doubt_sd(row.config) ** 2 + noise**2)
    return Prediction(fmean(scores), told, doubt, len(scores))


def _ranks(numbers: list[float]) -> list[int]:
    order = sorted(range(len(numbers)), key=lambda at: numbers[at])
    ranks = [0] * len(numbers)
    for rank, at in enumerate(order):
        ranks[at] = rank
    return ranks

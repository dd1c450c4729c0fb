"""The verdict: what trials of a candidate and of its parent say, and which trial to run next to know more.

Pure arithmetic on scores (bits per byte, lower is better). A candidate is run once; if it looks promising, it and its
parent are run again with other seeds, always the one with fewer runs, until P(better) is high enough, too low, or the
candidate has had its share. Chances use the noise as estimated from repeats, Student's t with its degrees of freedom.
Every reader can apply the same rule to the numbers a finding carries.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist, fmean, median, variance
from typing import Annotated

from pydantic import Field

from swarm.brief import Acceptance
from swarm.trial import Trial, scores
from swarm.words import Decision, Frozen, Outcome

MAX_MARKED = 2  # contended or throttled trials of one side that are run again, until the rest is left as it is
RERUN_SEEDS = 5  # an interval says where the mean of so many fresh runs should lie
CONFIDENCE = 0.95
MANY_GROUPS = 5  # from so many repeated things on, one that spreads unlike the others is told from them
OUTLYING = 36.0  # variance over the median one: 4 standard deviations for things run twice
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard deviation of one trial's score, run to run with other seeds, and how many repeats it rests on."""

    sd: float
    dof: float


class Side(StrEnum):
    """What to run again."""

    CANDIDATE = "candidate"
    PARENT = "parent"


Score = Annotated[float, Field(gt=0, lt=64)]  # as Trial.val_bpb


class Verdict(Frozen):
    """A finding against its parent, as its author computed it, with all that is needed to compute it again."""

    decision: Decision
    effect: float | None = Field(default=None, gt=-64, lt=64)  # mean of the parent minus ours; positive is better
    interval: float | None = Field(default=None, ge=0)  # half width of the effect's 95 % interval
    p_better: float | None = Field(default=None, ge=0, le=1)
    noise_sd: float = Field(ge=1e-9, lt=64)  # of one trial
    noise_dof: float = Field(default=2.0, ge=0.1, le=1e6)  # below that, Student's t leaves the range of a float
    parent_scores: tuple[Score, ...] = Field(default=(), max_length=64)  # every one it was compared with
    simpler: bool = False  # less code or fewer changes than the parent


def prior_noise(acceptance: Acceptance) -> Noise:
    """What is assumed before anything has been repeated."""
    return Noise(acceptance.noise_sd, acceptance.noise_dof)


def pooled_noise(groups: Iterable[Sequence[float]], prior: Noise) -> Noise:
    """Noise from repeats of the same things: variance of each about its own mean, together with the prior's.

    A thing far less stable than the others (one seed of it diverged) counts no more than the most unstable that still
    looks like them: it says much about itself, and little about the noise of what is compared next.
    """
    return pooled_spreads(filter(None, map(spread, groups)), prior)


def spread(group: Sequence[float]) -> tuple[float, int] | None:
    """Variance and degrees of freedom of repeats of one thing; None of fewer than two."""
    return (variance(group), len(group) - 1) if len(group) > 1 else None


def pooled_spreads(found: Iterable[tuple[float, int]], prior: Noise) -> Noise:
    """As pooled_noise, of spreads that are known already."""
    spreads = list(found)
    most = math.inf
    if len(spreads) >= MANY_GROUPS:
        most = OUTLYING * max(median(squared for squared, _ in spreads), prior.sd**2)
    dof = prior.dof + sum(free for _, free in spreads)
    squares = prior.sd**2 * prior.dof + math.fsum(min(squared, most) * free for squared, free in spreads)
    return Noise(math.sqrt(squares / dof), dof)


def judge(
    candidate: Sequence[Trial], parent: Sequence[float] | None, noise: Noise, rule: Acceptance, *, simpler: bool = False
) -> Verdict:
    """The verdict on all trials of a candidate against its parent's scores. None: there is no parent (the baseline).

    One trial without a number discards: what fails with some seeds is not better. Trials of which none counts say
    nothing: inconclusive. A trial that ran out of time beside other work is one of those, and so is one that was
    stopped early: it makes nothing better, whatever stands beside it.
    """
    made = Verdict(
        decision=Decision.INCONCLUSIVE,
        noise_sd=noise.sd,
        noise_dof=noise.dof,
        parent_scores=tuple(parent or ()),
        simpler=simpler,
    )
    if any(trial.fails for trial in candidate):
        return made.model_copy(update={"decision": Decision.DISCARD})
    if parent is None:
        known = any(trial.outcome is Outcome.MEASURED for trial in candidate)
        return made.model_copy(update={"decision": Decision.KEEP if known else Decision.DISCARD})
    ours = scores(candidate)
    if not ours or not parent or any(trial.censored for trial in candidate):
        return made
    effect, error = fmean(parent) - fmean(ours), _standard_error(len(ours), len(parent), noise)
    p_better = _p_better(effect + (rule.simplicity * noise.sd if simpler else 0.0), error, noise)
    measured = {"effect": effect, "interval": _quantile(noise) * error, "p_better": p_better}
    return made.model_copy(update={"decision": _decide(p_better, len(ours), rule), **measured})


def next_trial(
    candidate: Sequence[Trial],
    parent: Sequence[float] | None,
    parent_again: Sequence[Trial],  # trials of the parent made for this verdict; those that count are in `parent` too
    noise: Noise,
    rule: Acceptance,
    *,
    simpler: bool = False,
) -> Side | None:
    """What to run next to come to a verdict; None when there is one, or when more trials are not worth it."""
    if not candidate:
        return Side.CANDIDATE
    if any(trial.fails or trial.censored for trial in candidate):
        return None
    for side, trials in ((Side.CANDIDATE, candidate), (Side.PARENT, parent_again)):
        marked = sum(not trial.counts for trial in trials)
        if trials and not trials[-1].counts:
            return side if marked <= MAX_MARKED else None
    ours = len(scores(candidate))
    if parent is None:  # the baseline: it is repeated to know the noise, where nobody knows it yet
        return Side.CANDIDATE if ours < rule.noise_trials and noise.dof <= rule.noise_dof else None
    if not parent:
        return Side.PARENT
    verdict = judge(candidate, parent, noise, rule, simpler=simpler)
    if verdict.decision is not Decision.INCONCLUSIVE or ours >= rule.max_trials:
        return None
    return Side.PARENT if len(parent) < ours else Side.CANDIDATE


def agree(first: Sequence[float], second: Sequence[float], noise: Noise, rule: Acceptance) -> bool:
    """Whether two sets of scores can be of the same thing. Neither may be empty."""
    return agree_on_means(fmean(first), len(first), fmean(second), len(second), noise, rule)


def agree_on_means(first: float, trials: int, second: float, others: int, noise: Noise, rule: Acceptance) -> bool:
    """The same of their means, and how many scores are behind each."""
    return abs(first - second) <= rule.z * _standard_error(trials, others, noise)


def rerun_interval(trials: int, noise: Noise) -> float:
    """Half width of where the mean of five fresh runs should lie around the mean of `trials`, 19 times in 20.

    The run that made it look promising was chosen for being good: it counts in the mean, not in how sure the mean is.
    """
    return _quantile(noise) * _standard_error(max(1, trials - 1), RERUN_SEEDS, noise)


def _decide(p_better: float, trials: int, rule: Acceptance) -> Decision:
    if p_better >= rule.keep_at[min(trials, len(rule.keep_at)) - 1]:
        return Decision.KEEP
    return Decision.DISCARD if p_better <= rule.drop_at else Decision.INCONCLUSIVE


def _standard_error(first: int, second: int, noise: Noise) -> float:
    """Of the difference of two means."""
    return noise.sd * math.sqrt(1 / first + 1 / second)


def _p_better(effect: float, error: float, noise: Noise) -> float:
    """Student's t by Wallace's transform to a normal deviate (1959); within 0.002 from 3 degrees of freedom on."""
    t, dof = effect / error, noise.dof
    z = (8 * dof + 1) / (8 * dof + 3) * math.sqrt(dof * math.log1p(t * t / dof))
    return _NORMAL.cdf(math.copysign(z, t))


def _quantile(noise: Noise) -> float:
    """Two-sided 95 % quantile of Student's t: the same transform, the other way round."""
    z = _NORMAL.inv_cdf(0.5 + CONFIDENCE / 2) * (8 * noise.dof + 3) / (8 * noise.dof + 1)
    return math.sqrt(noise.dof * math.expm1(z * z / noise.dof))

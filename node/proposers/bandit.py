"""The bandit: which arm has the next idea.

Thompson sampling (Thompson 1933; Chapelle & Li 2011) with a Beta posterior for each arm and rewards between 0 and 1
(Agrawal & Goyal 2012), discounted with age (Raj & Kalyani 2017), because what helps a naive start does not help
later. Why not UCB: its bonus visits all arms in turn for the first dozens of trials, and a night has a few hundred.
Why not EXP3: it guards against an adversary and pays for that with exploration; here the floor does as much.

Owns the choice and its floor: an arm that had less than FLOOR of the recent trials is asked next, so that one that
has done badly is still seen when its time comes. State is none: evidence in, order out, the same for the same seed.
"""

import random
from collections.abc import Mapping, Sequence

from node.proposers.credit import Evidence

FLOOR = 0.02  # of the trials go to each arm whatever it earned
PRIOR_TRIALS = 10.0  # what is believed of an arm before it has done anything is worth so many trials; guess
# ... with these points, for who was better at equal compute where others measured it (models before random search), and
# on made-up surfaces (`swarm bench proposers --made-up N`). Guesses; evidence moves them within a night.
PRIOR_POINTS = {
    "tpe": 3.0,
    "local": 3.0,
    "cmaes": 0.6,
    "crossover": 0.6,
    "command": 2.0,
    "llm:config": 1.5,
    "llm:code": 1.0,
    "random": 0.3,
    "ablate": 0.1,
}
NEW_ARM_POINTS = 1.0
CROSSOVER_ALONE = 0.2  # where nobody else's changes are worth taking, it has only one's own to combine
CODE_ARMS = ("llm:code", "command")
# What is believed of them, times this. On a CPU most changes of code are over before enough tokens have been seen to
# tell, and each has to pass a smoke run; a GPU's budget is where they pay. As far apart as moves.FITTING; guess.
CODE_ON_GPU, CODE_ON_CPU = 1.5, 0.75


def prior_points(*, on_cpu: bool, alone: bool) -> Mapping[str, float]:
    """What is believed of each arm on such a machine, before it has done anything there."""
    code = {arm: PRIOR_POINTS[arm] * (CODE_ON_CPU if on_cpu else CODE_ON_GPU) for arm in CODE_ARMS}
    return PRIOR_POINTS | code | ({"crossover": CROSSOVER_ALONE} if alone else {})


def ranked(
    arms: Sequence[str], known: Mapping[str, Evidence], seed: str, prior: Mapping[str, float] = PRIOR_POINTS
) -> list[str]:
    """Arms in the order in which they should be asked; later ones serve when earlier ones have nothing to say."""
    draws = {arm: _draw(arm, known.get(arm, Evidence()), random.Random(f"{seed}/{arm}"), prior) for arm in arms}
    order = sorted(arms, key=lambda arm: (-draws[arm], arm))
    owed = _owed(arms, known)
    return [*owed, *(arm for arm in order if arm not in owed)]


def _owed(arms: Sequence[str], known: Mapping[str, Evidence]) -> list[str]:
    """Arms with less than their floor by at least one whole trial, the one furthest below first."""
    trials = {arm: known.get(arm, Evidence()).trials for arm in arms}
    least = FLOOR * sum(trials.values())
    return sorted((arm for arm in arms if trials[arm] <= least - 1.0), key=lambda arm: (trials[arm], arm))


def _draw(arm: str, evidence: Evidence, rng: random.Random, prior: Mapping[str, float]) -> float:
    """A sample of how many points a trial of the arm may bring."""
    points = prior.get(arm, NEW_ARM_POINTS) + evidence.points
    missed = PRIOR_TRIALS + evidence.trials - points
    return rng.betavariate(points, max(missed, 1e-3))

"""CMA-ES: Optuna's, started from what is known to be good each time it is asked.

The warm start is Nomura et al. 2021 ("Warm Starting CMA-ES for Hyperparameter Optimization", arXiv 2012.06932): a
normal distribution fitted to the best tenth of all observations, of which the first sample is taken. Everybody's
trials feed it, and it keeps no state: a restart asks the same question. It moves settings that have a scale; the
others stay as in the parent.
"""

import random

from node.proposers.moves import Draft
from node.proposers.observations import WORST_BPB, observations
from node.proposers.port import Request
from node.proposers.study import ask, cma_problem, movable, nearest
from swarm.words import Operator

ENOUGH_OBSERVATIONS = 10  # with numbers: the best tenth has to be one at least
SETTINGS = (3, 10)  # how many settings one call moves; guess, as in tpe.py


class CmaEs:
    name = "cmaes"

    @property
    def problem(self) -> str | None:
        """Why this arm is off here; None if it is not."""
        return cma_problem()

    def draw(self, request: Request, rng: random.Random) -> Draft | None:
        """A sample of the distribution of the best, or None while there is too little to learn from."""
        if self.problem is not None:
            return None
        seen = [one for one in observations(request) if one.value < WORST_BPB]
        choice = movable(request, ordered=True)
        if len(seen) < ENOUGH_OBSERVATIONS or not choice:
            return None
        names = rng.sample(choice, min(rng.randint(*SETTINGS), len(choice)))
        seed = rng.getrandbits(31)
        drawn = ask(
            request,
            names,
            nearest(request, names, seen, ENOUGH_OBSERVATIONS),
            lambda optuna, trials: optuna.samplers.CmaEsSampler(
                seed=seed, source_trials=trials, n_startup_trials=0, warn_independent_sampling=False
            ),
            told=False,
        )
        rationale = (
            f"Sampled by CMA-ES around the best of {len(seen)} trials of this track: {', '.join(sorted(names))}."
        )
        return Draft({**request.parent_config, **drawn}, Operator.TUNE, rationale)

"""TPE: Optuna's tree-structured Parzen estimator, told of every observation, asked for a few settings at a time.

Asked for all settings at once, TPE leaves the good configs behind it; asked for a few, with the rest as in the parent,
it stays near what is known to be good.
"""

import random

from node.proposers.moves import Draft
from node.proposers.observations import observations
from node.proposers.port import Request
from node.proposers.study import ask, movable, nearest
from swarm.words import Operator

ENOUGH_OBSERVATIONS = 8  # below, TPE has no two groups to tell apart; guess
SETTINGS = (1, 5)  # how many settings one call moves


class Tpe:
    name = "tpe"

    def draw(self, request: Request, rng: random.Random) -> Draft | None:
        """An idea for a few settings of the parent, or None while there is too little to learn from."""
        seen, choice = observations(request), movable(request)
        if len(seen) < ENOUGH_OBSERVATIONS or not choice:
            return None
        names = rng.sample(choice, min(rng.randint(*SETTINGS), len(choice)))
        seed = rng.getrandbits(31)
        drawn = ask(
            request,
            names,
            nearest(request, names, seen, 2 * ENOUGH_OBSERVATIONS),
            lambda optuna, _: optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=1),
        )
        rationale = f"Suggested by TPE after {len(seen)} trials of this track by everybody: {', '.join(sorted(names))}."
        return Draft({**request.parent_config, **drawn}, Operator.TUNE, rationale)

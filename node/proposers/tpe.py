"""The model-based move: Optuna's TPE, told of every trial of the track, asked for a few settings at a time.

Owns everything Optuna. The study is rebuilt from the history at each call: nothing to store, nothing to lose.
Asked for all twenty settings at once, TPE leaves the good configs behind it; asked for a few, with the rest as in
the parent, it stays near what is known to be good.
"""

import random
import warnings
from collections.abc import Sequence
from typing import Any

from node.proposers.draws import can_move, is_ordered, position, tidy
from node.proposers.moves import Draft
from node.proposers.port import Request
from swarm.ledger import Entry
from swarm.space import ChoiceParameter, IntParameter, Parameter, changes
from swarm.words import Operator, Outcome, Value

ENOUGH_OBSERVATIONS = 8  # below, TPE has no two groups to tell apart; guess
MAX_OBSERVATIONS = 1000  # the newest; above, a call takes longer than it teaches
SETTINGS = (1, 5)  # how many settings one call moves
WORST_BPB = 64.0  # Trial.val_bpb is below this: a bad ending ranks after every number


def observations(request: Request) -> list[Entry]:
    """Trials of the parent's own source on this track. Cancelled ones say nothing about the idea."""
    digest = request.parent.finding.proposal.source_sha256
    return [
        e
        for e in request.on_track
        if e.finding.proposal.source_sha256 == digest and e.finding.outcome is not Outcome.CANCELLED
    ][-MAX_OBSERVATIONS:]


def suggest(request: Request, rng: random.Random, seen: Sequence[Entry]) -> Draft | None:
    """TPE's idea for a few settings of the parent, or None while there is too little to learn from."""
    movable = [name for name, p in request.brief.space.parameters.items() if can_move(p)]
    if len(seen) < ENOUGH_OBSERVATIONS or not movable:
        return None
    names = rng.sample(movable, min(rng.randint(*SETTINGS), len(movable)))
    drawn = _ask(request, names, _nearest(request, names, seen), rng.getrandbits(31))
    rationale = f"Suggested by TPE after {len(seen)} trials of this track by everybody: {', '.join(sorted(names))}."
    return Draft({**request.parent_config, **drawn}, Operator.TUNE, rationale)


def _nearest(request: Request, names: Sequence[str], seen: Sequence[Entry]) -> list[Entry]:
    """The half of the observations that agrees best with the parent in the settings that will not move."""

    def distance(entry: Entry) -> int:
        return len(changes(request.parent_config, entry.finding.proposal.config).keys() - set(names))

    return sorted(seen, key=distance)[: max(2 * ENOUGH_OBSERVATIONS, len(seen) // 2)]


def _ask(request: Request, names: Sequence[str], seen: Sequence[Entry], seed: int) -> dict[str, Value]:
    import optuna  # half a second: only who asks pays, and in a worker thread

    # Both are process-wide switches; set again at each call because a library or a test may have reset them.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    parameters = {name: request.brief.space.parameters[name] for name in names}
    distributions = {name: _distribution(p) for name, p in parameters.items()}
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=1)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    # A bad ending counts as worse than any number: left out (FAIL), TPE would walk into it again and again.
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={n: _to_optuna(p, e.finding.proposal.config[n]) for n, p in parameters.items()},
                distributions=distributions,
                value=WORST_BPB if e.val_bpb is None else e.val_bpb,
            )
            for e in seen
        ]
    )
    drawn = study.ask(distributions).params
    return {name: _from_optuna(p, drawn[name]) for name, p in parameters.items()}


def _distribution(parameter: Parameter) -> Any:  # Any: Optuna's distribution classes, imported only inside
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, ChoiceParameter):
        # Positions, not options: for Optuna True, 1 and 1.0 are one choice, for a config they are three.
        last = len(parameter.options) - 1
        return IntDistribution(0, last) if is_ordered(parameter) else CategoricalDistribution(tuple(range(last + 1)))
    if isinstance(parameter, IntParameter):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _to_optuna(parameter: Parameter, value: Value) -> Value:
    if isinstance(parameter, ChoiceParameter):
        return position(parameter, value)
    return value


def _from_optuna(parameter: Parameter, value: Any) -> Value:  # Any: what Optuna keeps in params
    if isinstance(parameter, ChoiceParameter):
        return parameter.options[int(value)]
    return tidy(parameter, float(value))

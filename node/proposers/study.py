"""Optuna behind the arms that use it: parameters as its distributions, observations as its trials, one question.

Owns everything Optuna. The study is rebuilt from the observations at each question: nothing to store, nothing to lose,
and the same observations give the same answer.
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from node.proposers.draws import can_move, is_ordered, position, tidy
from node.proposers.observations import Observation
from node.proposers.port import Request
from swarm.space import ChoiceParameter, IntParameter, Parameter, changes
from swarm.words import Value

Trials = list[Any]  # Any: Optuna's FrozenTrial, a class imported only when asked
MakeSampler = Callable[[Any, Trials], Any]  # from the module optuna and the trials to a sampler


def cma_problem() -> str | None:
    """Why Optuna's CMA-ES cannot be used here; None if it can."""
    if importlib.util.find_spec("cmaes") is None:
        return "the package cmaes is not installed, which Optuna's CMA-ES needs: pip install cmaes"
    return None


def movable(request: Request, *, ordered: bool = False) -> list[str]:
    """Settings that have another value; with `ordered` those with a scale only."""
    return [
        name
        for name, parameter in request.brief.space.parameters.items()
        if can_move(parameter)
        and not request.steering.fixes(name)
        and not (ordered and isinstance(parameter, ChoiceParameter) and not is_ordered(parameter))
    ]


def nearest(request: Request, names: Sequence[str], seen: Sequence[Observation], least: int) -> list[Observation]:
    """The half of the observations that agrees best with the parent in the settings that will not move."""

    def distance(one: Observation) -> int:
        return len(changes(request.parent_config, one.config).keys() - set(names))

    return sorted(seen, key=distance)[: max(least, len(seen) // 2)]


def ask(
    request: Request, names: Sequence[str], seen: Sequence[Observation], make_sampler: MakeSampler, *, told: bool = True
) -> dict[str, Value]:
    """A sampler's values for `names`. `told`: the study holds the observations; else only the sampler got them."""
    import optuna  # half a second: only who asks pays, and in a worker thread

    # Both are process-wide switches; set again at each call because a library or a test may have reset them.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    parameters = {name: request.brief.space.parameters[name] for name in names}
    distributions = {name: _distribution(p) for name, p in parameters.items()}
    trials = [_trial(optuna, parameters, distributions, one) for one in seen]
    study = optuna.create_study(direction="minimize", sampler=make_sampler(optuna, trials))
    if told:
        study.add_trials(trials)
    # A sampler that finds the settings by looking at finished trials needs one to look at.
    elif trials:
        study.add_trials(trials[:1])
    drawn = study.ask(distributions).params
    return {name: _from_optuna(p, drawn[name]) for name, p in parameters.items()}


def _trial(optuna: Any, parameters: Mapping[str, Parameter], distributions: dict[str, Any], one: Observation) -> Any:
    """A bad ending counts as worse than any number: left out (FAIL), a sampler would walk into it again and again."""
    return optuna.trial.create_trial(
        params={name: _to_optuna(p, one.config[name]) for name, p in parameters.items()},
        distributions=distributions,
        value=one.value,
    )


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

"""Configs as points: every setting on its own scale from 0 to 1, so that configs have a distance.

Owns the coordinates and the distance. An option without an order is another one or the same: distance 1 or 0.
"""

import math
from collections.abc import Iterable, Mapping

from node.proposers.draws import can_move, is_ordered, position, to_unit
from swarm.space import ChoiceParameter, Parameter, SearchSpace
from swarm.words import Config, Value

NEAR = (
    0.02  # closer than this, two configs are one experiment: a learning rate that moves by 12 % in [1e-4, 3e-2]; guess
)


def coordinate(parameter: Parameter, value: Value) -> float:
    """Where `value` lies between the lowest (0) and the highest (1). Options without an order lie in theirs."""
    if not can_move(parameter):
        return 0.0
    if isinstance(parameter, ChoiceParameter):
        return position(parameter, value) / (len(parameter.options) - 1)
    assert not isinstance(value, str), f"number expected, {value!r} found"
    return to_unit(parameter, value)


def has_order(parameter: Parameter) -> bool:
    return not isinstance(parameter, ChoiceParameter) or is_ordered(parameter)


class Points:
    """Configs already tried, to be asked whether another one is as good as one of them."""

    def __init__(self, space: SearchSpace, configs: Iterable[Mapping[str, Value]]) -> None:
        self._space = space
        self._configs = list(configs)

    def near(self, config: Config, within: float = NEAR) -> bool:
        return any(self._distance(config, other, within) < within for other in self._configs)

    def _distance(self, first: Mapping[str, Value], second: Mapping[str, Value], enough: float) -> float:
        """Euclidean; stops adding once it is `enough`."""
        total = 0.0
        for name, parameter in self._space.parameters.items():
            a, b = first[name], second[name]
            if a == b and type(a) is type(b):
                continue
            total += (coordinate(parameter, a) - coordinate(parameter, b)) ** 2 if has_order(parameter) else 1.0
            if total >= enough**2:
                break
        return math.sqrt(total)

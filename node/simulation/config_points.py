"""Configs as points for a model of their scores: every setting, and what the settings together cost.

Owns the coordinates. A setting that another one switches off lies in the middle, whatever its value. Beside the
settings stand two that no setting says alone, because the budget is time: how much a token costs, and how many
tokens a step has. Both only where the space has the settings of configs/gpt.toml; any other space works without them.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from node.proposers.draws import can_move
from node.proposers.unit_cube import coordinate, has_order
from node.simulation.gaussian_process import Array
from swarm.space import ChoiceParameter, SearchSpace
from swarm.words import Value

Setting = Mapping[str, Value]

OPTION = 0.5**0.5  # two options of a setting without order are at distance 1
OFF: dict[str, Callable[[Setting], bool]] = {  # settings of configs/gpt.toml that have no effect, and when
    "muon_learning_rate": lambda config: config["optimizer"] != "muon",
    "ngram_rows": lambda config: config["ngram_order"] == 1,
    "ngram_learning_rate": lambda config: config["ngram_order"] == 1,
    "cooldown_fraction": lambda config: config["schedule"] != "trapezoid",
    "head_lr_multiplier": lambda config: config["tied_embeddings"] is True,
}
OFF_NEEDS = {"optimizer", "ngram_order", "schedule", "tied_embeddings", *OFF}
COST_NEEDS = {"depth", "width", "context", "batch_size", "activation"}
VOCABULARY = 256  # the shipped topics' bytes


class ConfigPoints:
    """From configs of one space to coordinates."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = {name: parameter for name, parameter in space.parameters.items() if can_move(parameter)}
        self._switches = space.parameters.keys() >= OFF_NEEDS
        self._costs = space.parameters.keys() >= COST_NEEDS

    def points(self, configs: Iterable[Setting]) -> Array:
        return np.array([self._point(config) for config in configs])

    def _point(self, config: Setting) -> list[float]:
        out: list[float] = []
        for name, parameter in self._space.items():
            if self._switches and name in OFF and OFF[name](config):
                out.append(0.5)
            elif has_order(parameter):
                out.append(coordinate(parameter, config[name]))
            else:
                assert isinstance(parameter, ChoiceParameter)
                chosen = [_same(option, config[name]) for option in parameter.options]
                # Two options need one number, more of them one each.
                out += [float(chosen[1])] if len(chosen) == 2 else [OPTION * one for one in chosen]
        return out + (_costs(config) if self._costs else [])


def _same(first: Value, second: Value) -> bool:
    return type(first) is type(second) and first == second


def _costs(config: Setting) -> list[float]:
    """Multiplications for a token, and tokens in a step, as logarithms from about 0 to 1."""
    depth, width, context, batch = (float(config[name]) for name in ("depth", "width", "context", "batch_size"))
    block = 4 * width * width + 8 * width * width + width * context
    multiplications = depth * block + VOCABULARY * width
    return [math.log(multiplications / 2e4) / math.log(1e3), math.log(context * batch / 128) / math.log(256)]

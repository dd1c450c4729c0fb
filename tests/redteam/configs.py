"""Points of the search space for the shipped script: both ends of every knob, every option, and draws from all of it.

Owns which points, and how many windows are enough for each: a large model costs a thousand times a small one.
"""

import math
import random
from typing import Any

from node.trials.scoring import SHIPPED_SAMPLES
from redteam.laboratory import SETTINGS, SHIPPED, TINY, Brought
from swarm.words import Config

DRAWN, SEED = 24, 4
SHAPE = ("depth", "width", "heads", "context", "batch_size")  # what a measurement's cost hangs on
SPACE: dict[str, dict[str, Any]] = SETTINGS["space"]  # Any: numbers and words, as the parameter's kind says
MEASURED_OPERATIONS = 3e9  # multiplications a measurement may take: about half a second of one core
TRAINED_OPERATIONS = 6e9  # that training may take; where not one step fits, the weights are as they were drawn
STEPS, LEAST_WINDOWS = 20, 8


def drawn(number: int) -> Config:
    """A point anywhere in the space."""
    draw = random.Random(SEED * 1000 + number)
    return {**TINY, **{name: _value(parameter, draw) for name, parameter in SPACE.items()}}


def _value(parameter: dict[str, Any], draw: random.Random) -> Any:
    if parameter["kind"] == "choice":
        return draw.choice(parameter["options"])
    low, high = parameter["low"], parameter["high"]
    if parameter["kind"] == "int":
        return draw.randint(low, high)
    if parameter.get("log"):
        return math.exp(draw.uniform(math.log(low), math.log(high)))
    return draw.uniform(low, high)


def ends(parameter: dict[str, Any]) -> list[Any]:
    """Its smallest and its largest value; of words all."""
    if parameter["kind"] != "choice":
        return [parameter["low"], parameter["high"]]
    options = parameter["options"]
    numbers = all(isinstance(option, int | float) and not isinstance(option, bool) for option in options)
    return [options[0], options[-1]] if numbers else options


def corners() -> dict[str, Config]:
    """Each knob of the model's shape at both its ends, all others as in TINY; the other knobs together, so that each
    comes to both its ends and to all its words; and all knobs at once at their first and at their last."""
    found = {f"{name} {value}": {**TINY, name: value} for name in SHAPE for value in ends(SPACE[name])}
    others = {name: ends(knob) for name, knob in SPACE.items() if name not in SHAPE}
    rows = max(map(len, others.values()))
    for row in range(2 * rows):  # the second time each knob begins elsewhere
        shift = row // rows
        values = {
            name: kinds[(row + shift * number) % len(kinds)] for number, (name, kinds) in enumerate(others.items())
        }
        found[f"ends together {row}"] = {**TINY, **values}
    found["everything at its least"] = {**TINY, **{name: ends(knob)[0] for name, knob in SPACE.items()}}
    found["everything at its most"] = {**TINY, **{name: ends(knob)[-1] for name, knob in SPACE.items()}}
    return found


def brought(config: Config) -> Brought:
    depth, width, context, batch = (int(str(config[key])) for key in ("depth", "width", "context", "batch_size"))
    multiplications = 12 * depth * width**2 + 256 * width + depth * width * context  # of one token, about
    windows = int(MEASURED_OPERATIONS / (1.5 * multiplications * context))  # prefixes take half as many again
    steps = int(TRAINED_OPERATIONS / (3 * multiplications * batch * context))
    windows = max(LEAST_WINDOWS, min(SHIPPED_SAMPLES, windows))
    return Brought(SHIPPED, config, min(STEPS, steps), windows, SHIPPED_SAMPLES)


def points() -> dict[str, Brought]:
    configs = corners() | {f"drawn {number}": drawn(number) for number in range(DRAWN)}
    return {name: brought(config) for name, config in configs.items()}

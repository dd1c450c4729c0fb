"""Drawing values: one step of one setting, on the scale its parameter is measured on.

Owns steps and nothing of which setting to move or why.
"""

import math
import random
from itertools import pairwise

from swarm.space import ChoiceParameter, FloatParameter, IntParameter, Parameter
from swarm.words import Value

STEP_SD = 0.2  # of the whole range, on the parameter's own scale; guess: a step is felt, and two steps cross the range
JUMP = 0.15  # share of steps that land anywhere in the range; guess
DIGITS = 3  # significant digits of a drawn float: people read them, and near-equal numbers are equal


def can_move(parameter: Parameter) -> bool:
    if isinstance(parameter, ChoiceParameter):
        return len(parameter.options) > 1
    return parameter.low < parameter.high


def step(parameter: Parameter, value: Value, rng: random.Random) -> Value:
    """Another value of `parameter`, most often near `value`; `value` itself only where there is no other."""
    if not can_move(parameter):
        return value
    if isinstance(parameter, ChoiceParameter):
        return _other_option(parameter, value, rng)
    assert not isinstance(value, str), f"number expected, {value!r} found"
    for _ in range(8):
        at = rng.random() if rng.random() < JUMP else to_unit(parameter, value) + rng.gauss(0.0, STEP_SD)
        drawn = from_unit(parameter, min(max(at, 0.0), 1.0))
        if drawn != value:
            return drawn
    return _neighbour(parameter, value)


def anywhere(parameter: Parameter, rng: random.Random) -> Value:
    """Any value, evenly on the parameter's own scale."""
    if isinstance(parameter, ChoiceParameter):
        return rng.choice(parameter.options)
    return from_unit(parameter, rng.random()) if can_move(parameter) else parameter.low


def is_ordered(parameter: ChoiceParameter) -> bool:
    """Options that are a scale, such as widths: neighbours are alike."""
    numbers = [o for o in parameter.options if not isinstance(o, (bool, str))]
    return len(numbers) == len(parameter.options) > 2 and all(a < b for a, b in pairwise(numbers))


def position(parameter: ChoiceParameter, value: Value) -> int:
    """Which option `value` is. Types count: True, 1 and 1.0 are three options."""
    return next(i for i, o in enumerate(parameter.options) if type(o) is type(value) and o == value)


def _other_option(parameter: ChoiceParameter, value: Value, rng: random.Random) -> Value:
    here = position(parameter, value)
    others = [i for i in range(len(parameter.options)) if i != here]
    near = [i for i in others if abs(i - here) <= 2]
    local = is_ordered(parameter) and rng.random() >= JUMP
    return parameter.options[rng.choice(near if local else others)]


def to_unit(parameter: IntParameter | FloatParameter, value: float) -> float:
    """Where `value` lies between low (0) and high (1)."""
    low, high = float(parameter.low), float(parameter.high)
    if parameter.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def from_unit(parameter: IntParameter | FloatParameter, at: float) -> int | float:
    low, high = float(parameter.low), float(parameter.high)
    if parameter.log:
        exact = math.exp(math.log(low) + at * (math.log(high) - math.log(low)))
    else:
        exact = low + at * (high - low)
    return tidy(parameter, exact)


def tidy(parameter: IntParameter | FloatParameter, exact: float) -> int | float:
    """`exact` as people would write it, inside the range."""
    if isinstance(parameter, IntParameter):
        return min(max(round(exact), parameter.low), parameter.high)
    return min(max(float(f"{exact:.{DIGITS}g}"), parameter.low), parameter.high)


def _neighbour(parameter: IntParameter | FloatParameter, value: float) -> int | float:
    """The next value up, or down at the top: ranges so small that random steps kept coming back."""
    if isinstance(parameter, IntParameter):
        return int(value) + 1 if value < parameter.high else int(value) - 1
    return parameter.high if value != parameter.high else parameter.low

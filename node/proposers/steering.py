"""Steering: what the owner of a node fixes or rules out, as a rule on configs.

Pure. Owns what a pin and a ban mean for one config, whoever had the idea. Where they are written down is
node/steering.py's, when they are read Hypotheses'.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from swarm.space import ChoiceParameter, FloatParameter, IntParameter, Parameter, SearchSpace
from swarm.words import Config, SwarmError, Value


class SteeringError(SwarmError):
    """What was asked for cannot be steered."""


@dataclass(frozen=True)
class Steering:
    """Nothing, until a person says something."""

    pins: Mapping[str, Value] = field(default_factory=dict[str, Value])  # every proposal has this value
    bans: tuple[str, ...] = ()  # settings that stay as they are in the parent
    banned_values: Mapping[str, tuple[Value, ...]] = field(default_factory=dict[str, tuple[Value, ...]])

    def __bool__(self) -> bool:
        return bool(self.pins or self.bans or self.banned_values)

    def fixes(self, name: str) -> bool:
        """Whether a proposal cannot move this setting."""
        return name in self.pins or name in self.bans

    def allows(self, name: str, value: Value) -> bool:
        return not any(_same(value, one) for one in self.banned_values.get(name, ()))

    def config(self, config: Mapping[str, Value], parent: Mapping[str, Value], space: SearchSpace) -> Config:
        """The nearest to `config` that the owner allows. A setting that is not in the space is left to its check."""
        out = dict(config)
        for name, parameter in space.parameters.items():
            if name in self.pins:
                out[name] = self.pins[name]
            elif name in self.bans and name in parent:
                out[name] = parent[name]
            if name in out and not self.allows(name, out[name]):
                out[name] = self._instead(name, parameter, parent.get(name))
        return out

    def _instead(self, name: str, parameter: Parameter, before: Value | None) -> Value:
        """The parent's value, or the first of the range that is left."""
        if before is not None and self.allows(name, before):
            return before
        return next((value for value in _some_values(parameter) if self.allows(name, value)), _first(parameter))

    def problem(self, space: SearchSpace) -> str | None:
        """Why it does not fit a search space, in one sentence; None if it does and leaves something to try."""
        for name, values in (*((n, (v,)) for n, v in self.pins.items()), *self.banned_values.items()):
            if (parameter := space.parameters.get(name)) is None:
                return unknown(name, space)
            if wrong := next((found for value in values if (found := parameter.problem(value))), None):
                return f"{name} = {wrong}"
        if lost := next((name for name in self.bans if name not in space.parameters), None):
            return unknown(lost, space)
        if clash := next((name for name, value in self.pins.items() if not self.allows(name, value)), None):
            return f"{clash} = {show(self.pins[clash])} is pinned and banned at once"
        for name in self.banned_values:
            if not any(self.allows(name, value) for value in _some_values(space.parameters[name])):
                return f"every value of {name} would be banned"
        if not any(self._can_move(name, parameter) for name, parameter in space.parameters.items()):
            return "nothing would be left to try: every setting is pinned or banned"
        return None

    def _can_move(self, name: str, parameter: Parameter) -> bool:
        left = [value for value in _some_values(parameter) if self.allows(name, value)]
        return not self.fixes(name) and len(left) > 1

    def words(self) -> str:
        """'pinned depth = 4; banned rope, width = 128'. Empty when nothing is steered."""
        pinned = ", ".join(f"{name} = {show(value)}" for name, value in self.pins.items())
        values = (f"{name} = {show(value)}" for name, many in self.banned_values.items() for value in many)
        banned = ", ".join((*self.bans, *values))
        return "; ".join(filter(None, (pinned and f"pinned {pinned}", banned and f"banned {banned}")))


def unknown(name: str, space: SearchSpace) -> str:
    return f"there is no setting {name[:60]!r}; the search space has {', '.join(sorted(space.parameters))}"


def read_value(name: str, text: str, space: SearchSpace) -> Value:
    """A value as a person types it, in the type that the space has it in. Raises SteeringError."""
    parameter = space.parameters.get(name)
    if parameter is None:
        raise SteeringError(unknown(name, space))
    found = next((value for value in _readings(parameter, text) if parameter.problem(value) is None), None)
    if found is None:
        raise SteeringError(f"{name} cannot be {text[:60]!r}; it may be {_range(parameter)}")
    return found


def _readings(parameter: Parameter, text: str) -> Iterable[Value]:
    """What a text can mean: JSON first, so that 1, 1.0 and "1" stay three, then a word as it stands."""
    try:
        read: object = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        read = None
    number = read if isinstance(read, (int, float)) and not isinstance(read, bool) else None
    if number is not None and isinstance(parameter, FloatParameter):
        yield float(number) if abs(number) < sys.float_info.max else math.inf
    elif isinstance(read, (bool, int, float, str)):
        yield read
    if number is not None and isinstance(parameter, ChoiceParameter):
        yield from (o for o in parameter.options if not isinstance(o, (bool, str)) and o == number)
    if isinstance(parameter, ChoiceParameter):
        yield text
        yield from (o for o in parameter.options if isinstance(o, bool) and show(o) == text.lower())


def _range(parameter: Parameter) -> str:
    if isinstance(parameter, ChoiceParameter):
        return ", ".join(show(option) for option in parameter.options)
    kind = "a whole number" if isinstance(parameter, IntParameter) else "a number"
    return f"{kind} from {parameter.low:g} to {parameter.high:g}"


def _some_values(parameter: Parameter) -> Iterable[Value]:
    """All values, or, of a range, more than anybody bans one by one."""
    if isinstance(parameter, ChoiceParameter):
        return parameter.options
    if isinstance(parameter, IntParameter):
        return range(parameter.low, min(parameter.high, parameter.low + 10_000) + 1)
    width = parameter.high - parameter.low
    return (parameter.low,) if not width else (parameter.low + width * i / 1000 for i in range(1001))


def _first(parameter: Parameter) -> Value:
    return parameter.options[0] if isinstance(parameter, ChoiceParameter) else parameter.low


def _same(a: Value, b: Value) -> bool:
    return type(a) is type(b) and a == b


def show(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)

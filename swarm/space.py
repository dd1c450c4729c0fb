"""The typed search space of a brief: which settings a config has and which values they may take.

Owns checking a config and naming it (`config_key`). How values are drawn belongs to the proposers.
"""

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from swarm.words import BriefError, Config, Frozen, Value


class IntParameter(Frozen):
    kind: Literal["int"] = "int"
    low: int
    high: int
    log: bool = False  # draw on a logarithmic scale

    @model_validator(mode="after")
    def _bounds(self) -> "IntParameter":
        if self.low > self.high or (self.log and self.low < 1):
            raise ValueError(
                f"bounds {self.low}..{self.high} are not a range" + (" for a log scale" if self.log else "")
            )
        return self

    def problem(self, value: Value) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{value!r} is not a whole number"
        return None if self.low <= value <= self.high else f"{value} is outside {self.low}..{self.high}"


class FloatParameter(Frozen):
    kind: Literal["float"] = "float"
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _bounds(self) -> "FloatParameter":
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"bounds {self.low}..{self.high} are not a range" + (" for a log scale" if self.log else "")
            )
        return self

    def problem(self, value: Value) -> str | None:
        if isinstance(value, (bool, str)) or (isinstance(value, float) and not math.isfinite(value)):
            return f"{value!r} is not a finite number"
        return None if self.low <= value <= self.high else f"{value} is outside {self.low}..{self.high}"


class ChoiceParameter(Frozen):
    kind: Literal["choice"] = "choice"
    options: tuple[Value, ...] = Field(min_length=1)

    def problem(self, value: Value) -> str | None:
        # True == 1 in Python; a config is what it says, so types count.
        if any(type(value) is type(option) and value == option for option in self.options):
            return None
        return f"{value!r} is not one of {', '.join(repr(option) for option in self.options)}"


Parameter = Annotated[IntParameter | FloatParameter | ChoiceParameter, Field(discriminator="kind")]


class SearchSpace(Frozen):
    """Every setting of a config, by name. A config has exactly these settings."""

    parameters: dict[str, Parameter] = Field(min_length=1)

    def normalise(self, config: Mapping[str, Value]) -> Config:
        """`config`, checked, with keys in the space's order and numbers in the type that the space has them in."""
        order = {name: i for i, name in enumerate(self.parameters)}
        out: Config = {}
        for name in sorted(config, key=lambda name: order.get(name, len(order))):
            out[name] = _as_meant(config[name], self.parameters.get(name))
        self.check(out)
        return out

    def check(self, config: Mapping[str, Value]) -> None:
        """Raise BriefError, in one sentence, unless `config` has exactly this space's settings within their ranges."""
        for name in config:
            if name not in self.parameters:
                raise BriefError(
                    f"unknown config key {name!r}; the search space has {', '.join(sorted(self.parameters))}"
                )
        for name, parameter in self.parameters.items():
            if name not in config:
                raise BriefError(f"config key {name!r} is missing")
            if problem := parameter.problem(config[name]):
                raise BriefError(f"config value out of range: {name} = {problem}")


def _as_meant(value: Value, parameter: Parameter | None) -> Value:
    """15 where the space means 15.0, and the other way round; whatever is not that stays as it is."""
    if isinstance(value, (bool, str)):
        return value
    match parameter:
        case FloatParameter():
            return float(value) if abs(value) < sys.float_info.max else value  # a whole number may be beyond any float
        case ChoiceParameter():
            numbers = (option for option in parameter.options if not isinstance(option, (bool, str)))
            exact = any(type(option) is type(value) and option == value for option in parameter.options)
            return value if exact else next((option for option in numbers if option == value), value)
        case _:
            return value


def changes(parent: Mapping[str, Value], child: Mapping[str, Value]) -> Config:
    """The settings of `child` that differ from `parent`, with the child's values."""
    return {k: v for k, v in child.items() if k not in parent or parent[k] != v or type(parent[k]) is not type(v)}


def describe_changes(parent: Mapping[str, Value], child: Mapping[str, Value]) -> str:
    """One line for people and branch tables: 'width 64 → 128, norm layernorm → rmsnorm'."""
    parts = [
        f"{k} {_show(parent[k])} → {_show(v)}" if k in parent else f"{k} = {_show(v)}"
        for k, v in changes(parent, child).items()
    ]
    return ", ".join(parts) if parts else "no change"


def _show(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def config_key(config: Mapping[str, Value], source_sha256: str) -> str:
    """Canonical name of what a trial runs: equal for equal config and source, whatever the order of keys."""
    canonical = json.dumps({"config": dict(config), "source": source_sha256}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()

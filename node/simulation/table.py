"""The shipped table of real trials: which configs were run here, and what each came to.

Owns the file's shape. The first line says what holds for all rows; each further line is one trial, of whose config
only what differs from the start is written. Knows nothing of what is learned from it (surrogate.py); the script that
makes it is tests/bench/record_trials.py.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from pydantic import Field, ValidationError

from node import shipped
from swarm.space import SearchSpace, config_key
from swarm.words import Config, Frozen, Outcome, SwarmError, Value

SHIPPED = "pysource-cpu.jsonl"


class TableError(SwarmError):
    """A table of trials cannot be used."""


class Conditions(Frozen):
    """What holds for every trial of a table."""

    topic: str
    hardware_class: str
    threads: int = Field(ge=1)
    cpu_seconds: float = Field(gt=0)  # the budget of a trial
    measured_bytes: int = Field(gt=0)  # of the validation shard
    start: dict[str, Value]  # the config that campaigns began with, and that rows are differences from


class RecordedTrial(Frozen):
    """One trial that really ran."""

    campaign: str  # "classic 0": who proposed, and the seed of the search
    arm: str  # who had the idea; "baseline", "repeat" where nobody did
    config: dict[str, Value]
    seed: int
    outcome: Outcome
    val_bpb: float | None = Field(default=None, gt=0, lt=64)
    reason: str = ""
    steps: int = 0
    tokens: int = 0
    parameters: int = 0
    train_seconds: float = 0.0
    peak_memory_bytes: int = 0
    curve: tuple[tuple[float, float], ...] = ()  # seconds, nats per token of the training text

    @property
    def key(self) -> str:
        return config_key(self.config, "")


class Table(Frozen):
    conditions: Conditions
    rows: tuple[RecordedTrial, ...]

    @property
    def start(self) -> Config:
        return dict(self.conditions.start)


def shipped_table() -> Path:
    return shipped.configs() / "trials" / SHIPPED


def read_table(path: Path | None = None, space: SearchSpace | None = None) -> Table:
    """The table in `path`, the shipped one without. Rows outside `space` are left out. Raises TableError."""
    path = path or shipped_table()
    try:
        first, *rest = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"the table of trials {path} cannot be read: {error}") from None
    except ValueError:
        raise TableError(f"the table of trials {path} is empty; make one with tests/bench/record_trials.py") from None
    number = 1
    try:
        conditions = Conditions.model_validate_json(first)
        rows: list[RecordedTrial] = []
        for number, line in enumerate(rest, 2):  # noqa: B007 - said when it fails
            rows.append(_row(line, conditions))
    except (ValidationError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise TableError(f"{path}, line {number}: {what}; make the table again with record_trials.py") from None
    kept = rows if space is None else [row for row in rows if not _outside(row, space)]
    return Table(conditions=conditions, rows=tuple(kept))


def write_table(path: Path, conditions: Conditions, rows: Iterable[RecordedTrial]) -> None:
    lines = [conditions.model_dump_json()]
    for row in rows:
        fields = row.model_dump(mode="json", exclude_defaults=True)
        changed = {name: value for name, value in row.config.items() if not _same(value, conditions.start.get(name))}
        lines.append(json.dumps(fields | {"config": changed}, separators=(",", ":")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(line: str, conditions: Conditions) -> RecordedTrial:
    fields: Any = json.loads(line)  # Any: whatever the file holds; the model says whether it is a trial
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    row = cast("dict[str, Any]", fields)
    if isinstance(row.get("config"), dict):
        row["config"] = conditions.start | row["config"]
    return RecordedTrial.model_validate_json(json.dumps(row))


def _same(first: Value, second: Value | None) -> bool:
    return type(first) is type(second) and first == second


def _outside(row: RecordedTrial, space: SearchSpace) -> bool:
    try:
        space.check(row.config)
    except SwarmError:
        return True
    return False

"""The columns that the table of runs can have: what each is called, and the value it sorts by.

Settings of the config are columns, too, by the name `config.` and the setting. How a cell looks is the template's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from node.browse.row import Row

Key = float | str | None
CONFIG = "config."


@dataclass(frozen=True, slots=True)
class Column:
    name: str  # in the address of the page
    label: str
    key: Callable[[Row], Key]
    numeric: bool = False
    descending_first: bool = False  # the first click on its head shows the largest
    hint: str = ""


def _columns(*columns: Column) -> dict[str, Column]:
    return {column.name: column for column in columns}


COLUMNS = _columns(
    Column("run", "Run", lambda row: row.title.lower()),
    Column("val_bpb", "val_bpb", lambda row: row.mean, numeric=True,
           hint="bits per byte, mean of all its author's trials; lower is better"),
    Column("effect", "Change", lambda row: None if row.effect is None else -row.effect, numeric=True,
           hint="against its parent, with the 95 % interval; a minus is an improvement"),
    Column("status", "Status", lambda row: row.status),
    Column("standing", "Standing", lambda row: row.standing.value, hint="what others' own trials of it say"),
    Column("node", "Node", lambda row: row.node_name.lower()),
    Column("number", "#", lambda row: row.number, numeric=True, hint="the node's own run number"),
    Column("arm", "Arm", lambda row: row.arm, hint="who had the idea"),
    Column("when", "When", lambda row: row.at_ms, numeric=True, descending_first=True),
    Column("p_better", "P(better)", lambda row: row.p_better, numeric=True, descending_first=True),
    Column("operator", "Operator", lambda row: row.operator),
    Column("proposer", "Proposer", lambda row: row.proposer),
    Column("class", "Hardware", lambda row: row.track.hardware_class),
    Column("budget", "Budget", lambda row: row.track.budget_seconds, numeric=True),
    Column("trials", "Trials", lambda row: row.trials, numeric=True, descending_first=True),
    Column("seconds", "Time", lambda row: row.seconds, numeric=True, descending_first=True,
           hint="training, all its trials"),
    Column("steps", "Steps", lambda row: row.steps, numeric=True, descending_first=True),
    Column("tokens", "Tokens", lambda row: row.tokens, numeric=True, descending_first=True),
    Column("speed", "Tokens/s", lambda row: row.tokens_per_second, numeric=True, descending_first=True),
    Column("parameters", "Parameters", lambda row: row.parameters, numeric=True, descending_first=True),
    Column("memory", "Memory", lambda row: row.peak_memory_bytes, numeric=True, descending_first=True),
    Column("outcome", "Outcome", lambda row: row.outcome),
    Column("reason", "Reason", lambda row: row.reason.lower(), hint="why it was not measured"),
    Column("id", "Id", lambda row: row.id),
)  # fmt: skip
DEFAULT = ("run", "val_bpb", "effect", "status", "standing", "node", "number", "arm", "when")


def column(name: str, settings: Iterable[str]) -> Column | None:
    """By its name in an address; None if there is no such one."""
    setting = name.removeprefix(CONFIG)
    if name.startswith(CONFIG) and setting in settings:
        return Column(name, setting, lambda row: _setting_key(row, setting), numeric=True)
    return COLUMNS.get(name)


def _setting_key(row: Row, setting: str) -> Key:
    value = row.config.get(setting)
    return float(value) if isinstance(value, bool | int | float) else value


def sort_rows(rows: Iterable[Row], by: Column, *, descending: bool) -> list[Row]:
    """Rows without a value stand last, whichever way; equal ones by time."""
    numbers, words, without = list[tuple[float, Row]](), list[tuple[str, Row]](), list[Row]()
    for row in rows:
        value = by.key(row)
        if value is None or value == "":
            without.append(row)
        elif isinstance(value, str):
            words.append((value, row))
        else:
            numbers.append((value, row))
    numbers.sort(key=lambda pair: pair[0], reverse=descending)
    words.sort(key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in numbers] + [row for _, row in words] + without

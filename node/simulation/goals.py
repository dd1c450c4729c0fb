"""How a benchmark ends: its figures beside their goals, and one JSON object with all that is needed to quote it.

Owns the words and the shape. Printing is for whoever measured.
"""

import datetime
import platform
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from node.trials.hardware import detect

Goals = Mapping[str, tuple[str, float]]
"""Figure -> ("<=" or ">=", bound)."""


def is_met(value: float, goal: tuple[str, float]) -> bool:
    sign, bound = goal
    return value <= bound if sign == "<=" else value >= bound


def figure_lines(figures: Mapping[str, float], goals: Goals) -> list[str]:
    """One a line, with its goal where it has one."""
    lines: list[str] = []
    for name, value in figures.items():
        verdict = ""
        if name in goals:
            sign, bound = goals[name]
            verdict = f"   goal {sign} {bound:g}: {'met' if is_met(value, goals[name]) else 'MISSED'}"
        lines.append(f"{name:<38}{value:>14.4f}{verdict}")
    return lines


def report(
    name: str, figures: Mapping[str, float], goals: Goals, arguments: Sequence[str], *, machine: str = ""
) -> dict[str, Any]:  # Any: JSON
    """A goal whose figure was not measured this time is not met."""
    said = f" ARGS={shlex.quote(shlex.join(arguments))}" if arguments else ""
    return {
        "benchmark": name,
        "command": f"make bench-{name}{said}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine or f"{platform.machine()}, {detect().description}",
        "figures": {figure: round(value, 6) for figure, value in figures.items()},
        "goals": {figure: list(goal) for figure, goal in goals.items()},
        "met": all(figure in figures and is_met(figures[figure], goal) for figure, goal in goals.items()),
    }

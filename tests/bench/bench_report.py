"""How a benchmark ends: its figures beside their goals, and one line of JSON with all that is needed to quote it."""

import datetime
import json
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from node.trials.hardware import detect  # noqa: E402

Goals = Mapping[str, tuple[str, float]]
"""Figure -> ("<=" or ">=", bound)."""


def is_met(value: float, goal: tuple[str, float]) -> bool:
    sign, bound = goal
    return value <= bound if sign == "<=" else value >= bound


def print_figures(figures: Mapping[str, float], goals: Goals) -> None:
    """One a line, with its goal where it has one."""
    for name, value in figures.items():
        verdict = ""
        if name in goals:
            sign, bound = goals[name]
            verdict = f"   goal {sign} {bound:g}: {'met' if is_met(value, goals[name]) else 'MISSED'}"
        print(f"{name:<38}{value:>14.4f}{verdict}")


def print_report(name: str, figures: Mapping[str, float], goals: Goals, *, machine: str = "") -> None:
    """The last line. A goal whose figure was not measured this time is not met."""
    arguments = f" ARGS={shlex.quote(shlex.join(sys.argv[1:]))}" if sys.argv[1:] else ""
    report = {
        "benchmark": name,
        "command": f"make bench-{name}{arguments}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine or f"{platform.machine()}, {detect().description}",
        "figures": {figure: round(value, 6) for figure, value in figures.items()},
        "goals": {figure: list(goal) for figure, goal in goals.items()},
        "met": all(figure in figures and is_met(figures[figure], goal) for figure, goal in goals.items()),
    }
    print(json.dumps(report))

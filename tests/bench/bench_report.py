"""Prints how a benchmark ends: its figures beside their goals, and the line of JSON (node/simulation/goals.py)."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from node.simulation.goals import Goals, figure_lines, is_met, report  # noqa: E402

__all__ = ["Goals", "is_met", "print_figures", "print_report"]


def print_figures(figures: Mapping[str, float], goals: Goals) -> None:
    print("\n".join(figure_lines(figures, goals)))


def print_report(name: str, figures: Mapping[str, float], goals: Goals, *, machine: str = "") -> None:
    """The last line."""
    print(json.dumps(report(name, figures, goals, sys.argv[1:], machine=machine)))

"""Results of a scenario on disk, and what got worse since.

Owns the file and the comparison. A figure got worse when it left what its seeds vary by: two standard errors of the
difference, and a percent.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from node.home import write_atomically
from node.simulation.figures import HIGHER_IS_BETTER, LOWER_IS_BETTER, Figures, Result
from swarm.words import SwarmError

FORMAT = 1
LEAST_SHARE = 0.01  # of the earlier figure, that a change has to be to be worth a line; guess


class StoredResultsError(SwarmError):
    """Stored results cannot be read or written."""


@dataclass(frozen=True)
class Change:
    figure: str
    before: float
    now: float
    worse: bool


def save(folder: Path, scenario: str, results: Sequence[Result]) -> Path:
    """Raises StoredResultsError."""
    path = folder / f"{scenario}.json"
    document = {"format": FORMAT, "scenario": scenario, "runs": [asdict(result) for result in results]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(document, indent=1).encode())
    except OSError as error:
        raise StoredResultsError(f"cannot write {path}: {error.strerror}; choose another folder") from None
    return path


def load(folder: Path, scenario: str) -> list[Figures]:
    """Figures of each stored run. Raises StoredResultsError."""
    path = folder / f"{scenario}.json"
    try:
        document: Any = json.loads(path.read_text())  # Any: whatever the file holds
        if document["format"] != FORMAT:
            raise StoredResultsError(f"{path} has format {document['format']}, this program reads {FORMAT}")
        runs = [{str(name): float(value) for name, value in run["figures"].items()} for run in document["runs"]]
    except OSError as error:
        raise StoredResultsError(
            f"cannot read the baseline {path}: {error.strerror}; make it with --save {folder}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoredResultsError(f"{path} holds no results of a simulation; make it anew with --save") from None
    if not runs:
        raise StoredResultsError(f"{path} holds no runs; make it anew with --save")
    return runs


def changes(before: Sequence[Figures], now: Sequence[Figures]) -> list[Change]:
    """Figures that are clearly other than before, the worse ones first."""
    found: list[Change] = []
    for name in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER):
        earlier, later = ([run[name] for run in runs if name in run] for runs in (before, now))
        if not earlier or not later:
            continue
        was, is_now = fmean(earlier), fmean(later)
        if abs(is_now - was) <= max(2.0 * _error(earlier, later), LEAST_SHARE * abs(was)):
            continue
        found.append(Change(name, was, is_now, worse=(is_now > was) is (name in LOWER_IS_BETTER)))
    return sorted(found, key=lambda change: not change.worse)


def _error(*groups: Sequence[float]) -> float:
    return sum(stdev(group) ** 2 / len(group) for group in groups if len(group) > 1) ** 0.5

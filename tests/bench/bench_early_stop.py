"""What early stop saves, and what it costs, on recorded trials of real training.

    python tests/bench/bench_early_stop.py [--table FILE] [--orders N] [--half report|tune|both]

The table (node/simulation/table.py) has trials that came to their end. Nothing is trained: trials are gone through in
some order as a node would have, and each that the rule (node/trials/early_stop.py) would have stopped is cut at that
second, and is unknown to the rule from then on.

A winner is a trial that was better than everything before it in that order. It is lost if it would have been stopped.
Repeats of a config and baselines are never stopped, as in a node. Orders: each campaign as it was recorded, and many
random ones of all trials from the same start, because one order has few winners. The rule's numbers were chosen by what
became of the half of the configs with an even key; --half report (the default) counts, in the random orders, only what
becomes of the other half. The last line is one JSON object.
"""

import argparse
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from bench_report import print_figures, print_report  # noqa: E402

from node.simulation.table import TableError, read_table  # noqa: E402
from node.trials.early_stop import Past, stop_rule  # noqa: E402
from swarm.space import config_key  # noqa: E402

TABLE = ROOT / "configs" / "trials" / "pysource-cpu.jsonl"
GOALS = {"saved_share": (">=", 0.25), "winners_lost_share": ("<=", 0.01)}
BASELINES = 3  # at the start of each order, as a node has them

Row = dict[str, Any]  # Any: JSON


@dataclass
class Tally:
    """Of one order, or of many together."""

    trials: int = 0
    stopped: int = 0
    given_seconds: float = 0.0
    used_seconds: float = 0.0
    winners: int = 0
    lost: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def saved_share(self) -> float:
        return 1 - self.used_seconds / self.given_seconds if self.given_seconds else 0.0

    @property
    def lost_share(self) -> float:
        return self.lost / self.winners if self.winners else 0.0

    def line(self, name: str) -> str:
        return (
            f"{name:<28}{self.trials:>8}{self.stopped:>9}{self.saved_share:>9.1%}{self.winners:>9}{self.lost:>6}"
            f"{self.lost_share:>8.2%}"
        )


def rows_of(table: Path) -> list[Row]:
    """Raises TableError."""
    found = read_table(table)
    budget = {"budget_seconds": found.conditions.cpu_seconds}
    return [row.model_dump(mode="json") | budget for row in found.rows]


def key_of(row: Row) -> str:
    return config_key(row["config"], "")


def in_half(row: Row, half: str) -> bool:
    return half == "both" or (int(key_of(row), 16) % 2 == 0) is (half == "tune")


def go_through(rows: Iterable[Row], half: str = "both") -> Tally:
    """One order of trials, with early stop. Counted are those of the half."""
    tally, past, seen, best = Tally(), list[Past](), set[str](), float("inf")
    for row in rows:
        key, score, budget = key_of(row), row["val_bpb"], row["budget_seconds"]
        curve = tuple((t, y) for t, y in row["curve"])
        first = key not in seen and row["arm"] != "baseline"
        seen.add(key)
        rule = stop_rule(past, best, budget) if first else None
        cut = next(
            (curve[n - 1][0] for n in range(1, len(curve) + 1) if rule is not None and rule.hopeless(curve[:n])), None
        )
        wins = first and score is not None and score < best
        if in_half(row, half):
            tally += Tally(1, cut is not None, budget, budget if cut is None else cut, wins, wins and cut is not None)
        if cut is None and score is not None:
            past.append(Past(curve, score))
            best = min(best, score)
    return tally


def starts(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by the config that their campaign began with."""
    first: dict[str, str] = {}
    for row in rows:
        if row["arm"] == "baseline":
            first.setdefault(row["campaign"], key_of(row))
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["campaign"] in first:
            groups.setdefault(first[row["campaign"]], []).append(row)
    return groups


def random_orders(rows: Sequence[Row], half: str, orders: int) -> Tally:
    total = Tally()
    for start, group in sorted(starts(rows).items()):
        baselines = [row for row in group if row["arm"] == "baseline"][:BASELINES]
        others = [row for row in group if row["arm"] != "baseline"]
        for seed in range(orders):
            random.Random(f"{start}/{seed}").shuffle(others)
            total += go_through([*baselines, *others], half)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description="What early stop saves, and which winners it loses.")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--half", choices=("report", "tune", "both"), default="report")
    arguments = parser.parse_args()
    try:
        rows = rows_of(arguments.table)
    except TableError as error:
        sys.exit(str(error))
    rows = [row for row in rows if row.get("curve") and row.get("campaign")]
    print(f"{len(rows)} trials of {arguments.table.name}\n")
    print(f"{'order':<28}{'trials':>8}{'stopped':>9}{'saved':>9}{'winners':>9}{'lost':>6}{'share':>8}")
    recorded = Tally()
    for name in sorted({row["campaign"] for row in rows if row["arm"] == "baseline"}):
        tally = go_through([row for row in rows if row["campaign"] == name])
        print(tally.line(f"{name}, as recorded"[:27]))
        recorded += tally
    print(recorded.line("all, as recorded"))
    shuffled = random_orders(rows, arguments.half, arguments.orders)
    print(shuffled.line(f"{arguments.orders} random, half: {arguments.half}"))
    figures = {
        "saved_share": shuffled.saved_share,
        "winners_lost_share": shuffled.lost_share,
        "winners": float(shuffled.winners),
        "saved_share_as_recorded": recorded.saved_share,
        "winners_lost_as_recorded": float(recorded.lost),
        "winners_as_recorded": float(recorded.winners),
        "trials_in_table": float(len(rows)),
    }
    print()
    print_figures(figures, GOALS)
    print_report("early-stop", figures, GOALS)


if __name__ == "__main__":
    main()

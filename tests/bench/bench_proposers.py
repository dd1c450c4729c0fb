"""What each arm finds alone, and what the portfolio of them does, on a surface over the real search space.

    python tests/bench/bench_proposers.py [--seeds N] [--trials N] [--surface N | --table FILE]

Each seed is a node alone that starts from the naive base config. It judges as nodes judge (swarm/comparison.py): what
looks promising is run again, and every run counts as a trial, so that all proposers have the same compute. The
surface is made up (tests/surrogate.py) unless --table names recorded trials. The figure of a campaign is the score,
without noise, of where its branch stands; an interval is twice the standard error over seeds. sigma is the standard
deviation over seeds of the best single arm. The last line is one JSON object.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_report import print_figures, print_report  # noqa: E402
from surrogate import Campaign, MadeUp, RecordedTable, Surface  # noqa: E402

from node.proposers.arms import ARMS  # noqa: E402
from node.proposers.classic import propose_now  # noqa: E402
from node.proposers.credit import earned  # noqa: E402
from node.proposers.port import Request  # noqa: E402
from swarm.finding import Proposal  # noqa: E402
from swarm.words import Outcome  # noqa: E402

PORTFOLIO = "portfolio"
FIRST = 20  # trials after which failures count
GOALS = {
    "portfolio_behind_best_arm_sigma": ("<=", 0.5),
    "portfolio_beats_random_share": (">=", 0.90),
    "infeasible_share_after_20": ("<=", 0.10),
}

Propose = Callable[[Request], Proposal]


def proposers() -> dict[str, Propose]:
    alone: dict[str, Propose] = {arm.name: partial(propose_now, arms=(arm,)) for arm in ARMS}
    return alone | {PORTFOLIO: propose_now}


def table(runs: dict[str, list[Campaign]], trials: int) -> list[str]:
    """Best so far by trials, mean over seeds ± interval; best at the end first."""
    at = sorted({n for n in (10, 20, 40, 60, 80, 100, 150, 200, 300) if n < trials} | {trials})
    lines = [f"{'proposer':<11}" + "".join(f"{f'after {n}':>17}" for n in at)]
    for name, made in sorted(runs.items(), key=lambda one: fmean(c.best[-1] for c in one[1])):
        cells = [[campaign.best[n - 1] for campaign in made] for n in at]
        lines.append(f"{name:<11}" + "".join(f"{fmean(c):>10.4f} ±{interval(c):.3f}" for c in cells))
    return lines


def interval(numbers: Sequence[float]) -> float:
    return 2.0 * stdev(numbers) / len(numbers) ** 0.5


def figures(runs: dict[str, list[Campaign]]) -> dict[str, float]:
    last = {name: [campaign.best[-1] for campaign in made] for name, made in runs.items()}
    best = min((name for name in last if name != PORTFOLIO), key=lambda name: fmean(last[name]))
    ours, sigma = last[PORTFOLIO], stdev(last[best])
    wins = [mine < theirs for mine, theirs in zip(ours, last["random"], strict=True)]
    late = [ending for campaign in runs[PORTFOLIO] for ending in campaign.endings[FIRST:]]
    return {
        "portfolio_behind_best_arm_sigma": (fmean(ours) - fmean(last[best])) / sigma,
        "portfolio_beats_random_share": fmean(wins),
        "infeasible_share_after_20": fmean(ending is not Outcome.MEASURED for ending in late),
        "sigma": sigma,
        **{f"{name}_bpb": fmean(numbers) for name, numbers in last.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What each arm finds alone, and what the portfolio does.")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--surface", type=int, default=0, help="variant of the made-up surface")
    parser.add_argument("--table", type=Path, help="recorded trials in the place of the made-up surface")
    arguments = parser.parse_args()
    surface: Surface = RecordedTable(arguments.table) if arguments.table else MadeUp(arguments.surface)
    began, runs = time.perf_counter(), dict[str, list[Campaign]]()
    for name, propose in proposers().items():
        runs[name] = [Campaign(surface, propose, seed).run(arguments.trials) for seed in range(arguments.seeds)]
    print("\n".join(table(runs, arguments.trials)))
    print("\nwhat each arm earned in the portfolio, all seeds together:")
    entries = [entry for campaign in runs[PORTFOLIO] for entry in campaign.ledger.entries()]
    for name, one in earned(entries).items():
        print(f"{name:<11}{one.trials:>6} trials, {one.kept:>4} kept, {one.per_trial:>7.2f} sd a trial")
    found = figures(runs)
    print()
    print_figures(found, GOALS)
    print(f"{time.perf_counter() - began:.0f} s")
    print_report("proposers", found, GOALS)


if __name__ == "__main__":
    main()

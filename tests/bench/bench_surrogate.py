"""How well the surrogate knows real trials it was not fitted to, and what repeats of the same config differ by.

    python tests/bench/bench_surrogate.py [--table FILE] [--folds N]

Every config of the table is predicted by a surrogate that saw none of its trials. The last line is one JSON object.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_report import print_figures, print_report  # noqa: E402

from node.simulation.campaign import research_space  # noqa: E402
from node.simulation.held_out import held_out  # noqa: E402
from node.simulation.surrogate import by_config, fit_noise  # noqa: E402
from node.simulation.table import read_table  # noqa: E402

GOALS = {"trials": (">=", 300.0), "spearman": (">=", 0.8)}


def main() -> None:
    parser = argparse.ArgumentParser(description="How well the surrogate predicts held-out real trials.")
    parser.add_argument("--table", type=Path, help="recorded trials other than the shipped")
    parser.add_argument("--folds", type=int, default=10)
    arguments = parser.parse_args()
    space, began = research_space(), time.perf_counter()
    rows = read_table(arguments.table, space).rows
    measured = [row for row in rows if row.val_bpb is not None]
    groups = by_config(measured)
    noise = fit_noise(groups)
    print(f"{len(rows)} trials of {len(by_config(rows))} configs; {noise.repeats} repeats say the noise")
    for level in (min(row.val_bpb for row in measured), 2.0, 3.0, 4.0):
        print(f"noise at {level:.2f} bpb: {noise.sd(level):.4f}")
    found = held_out(rows, space, arguments.folds)
    figures = {
        "trials": float(len(rows)),
        "configs": float(len(groups)),
        "failed": float(len(rows) - len(measured)),
        "r2_log_bpb": found.r2,
        "spearman": found.spearman,
        "rmse_bpb": found.rmse,
        "median_miss_bpb": found.median_miss,
        "noise_sd_bpb": found.noise_sd,
        "within_two_sd_share": found.within_two_sd,
        "best_third_spearman": found.good.spearman,
        "best_third_rmse_bpb": found.good.rmse,
        "best_third_median_miss_bpb": found.good.median_miss,
    }
    if (auc := found.fails_auc) is not None:
        figures["failures_auc"] = auc
    print_figures(figures, GOALS)
    print(f"{time.perf_counter() - began:.0f} s")
    print_report("surrogate", figures, GOALS)


if __name__ == "__main__":
    main()

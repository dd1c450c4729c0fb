"""What a node alone grows by with each experiment: resident memory of its process, trial after trial.

    python tests/bench/bench_memory.py [--experiments N] [--budget SECONDS] [--every K]

One `swarm launch` on a topic that is learned in no time, so that hundreds of experiments take an hour. What it takes
for an experiment in the second half, times the experiments of a day with the default budget, is what it would grow by
in a day alone; whatever fills once is over by then. The last line is one JSON object; exit status 0 when it ran,
whether or not the goal is met.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_report import Goals, print_figures, print_report  # noqa: E402
from node_process import NodeProcess, write_topic  # noqa: E402

EXPERIMENTS_A_DAY = 24 * 3600 / 120  # with the default budget on a CPU
GOALS: Goals = {"late_percent_a_day": ("<=", 5.0)}


def measure(folder: Path, experiments: int, budget_seconds: float, every: int) -> list[float]:
    """Megabytes after each experiment."""
    options = ["--topic", str(write_topic(folder / "topic")), "--budget", f"{budget_seconds:g}", "--dashboard", "off"]
    options += ["--proposer", "classic", "--max-experiments", str(experiments)]
    memory_mb = list[float]()
    with NodeProcess("launch", *options, home=folder / "home") as node:
        process = psutil.Process(node.process.pid)
        for done in range(1, experiments + 1):
            node.wait_for("finding_recorded")
            memory_mb.append(process.memory_info().rss / 1e6)
            if done == 1 or done % every == 0:
                print(f"{done:5} experiments: {memory_mb[-1]:.1f} MB, {process.num_fds()} open files", flush=True)
        node.wait()
    return memory_mb


def figures(memory_mb: list[float]) -> dict[str, float]:
    late = memory_mb[len(memory_mb) // 2 :]
    slope = statistics.linear_regression(range(len(late)), late).slope
    return {
        "experiments": float(len(memory_mb)),
        "memory_mb_after_the_first": memory_mb[0],
        "memory_mb_half_way": late[0],
        "memory_mb_at_the_end": memory_mb[-1],
        "late_kb_an_experiment": 1000 * slope,
        "late_percent_a_day": 100 * slope * EXPERIMENTS_A_DAY / statistics.fmean(late),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a node alone grows by with each experiment.")
    parser.add_argument("--experiments", type=int, default=300)
    parser.add_argument("--budget", type=float, default=1.0, help="seconds of a trial")
    parser.add_argument("--every", type=int, default=25, help="experiments from one line to the next")
    arguments = parser.parse_args()
    if arguments.experiments < 4 or arguments.every < 1:
        parser.error("--experiments must be at least 4, --every at least 1")
    with tempfile.TemporaryDirectory() as folder:
        found = figures(measure(Path(folder), arguments.experiments, arguments.budget, arguments.every))
    print_figures(found, GOALS)
    print_report("memory", found, GOALS)


if __name__ == "__main__":
    main()

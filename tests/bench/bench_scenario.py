"""A scenario of configs/sim with real processes: fewer nodes, an hour in a minute, real libp2p, journals and kills.

    python tests/bench/bench_scenario.py [SCENARIO ...] [--nodes N] [--seconds S] [--rate R] [--seed S] [--lines]

Each process is the network side of a node; nobody trains. Who is killed, cut off, late or filled up when is known
before anything starts, and the same for the same seed and size (tests/fault_plan.py). What makes no sense without
training (liars, copycats, Sybils) is left out and named. Partitions and bad lines are made of network namespaces; a
scenario without them runs on loopback, unless `--lines` asks for its latency, too. Every process shares these cores:
that is part of the figures. The last line is one JSON object; exit status 0 when it ran, whether or not the goals are
met.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_report import Goals, print_figures, print_report  # noqa: E402

from node.cli.simulate import located  # noqa: E402
from node.simulation.scenario import ScenarioError, read_scenario  # noqa: E402
from tests.fault_plan import Plan, Size, plan_of  # noqa: E402
from tests.played_scenario import Played, Player, quantile, swarm_for  # noqa: E402
from tests.swarm_of_processes import NoNetwork  # noqa: E402

SETTLE_SECONDS = 10.0  # connections beyond the first, and first heartbeats
STEADY_NEWS, NEWS_SECONDS = "steady_35_news_p99_seconds", 2.0


def goals(figures: Mapping[str, float]) -> Goals:
    made = {name: ("<=", 0.0) for name in figures if name.endswith("_missing")}
    made |= {name: ("<=", 1.0) for name in figures if name.endswith("_ledgers")}
    return made | {name: ("<=", NEWS_SECONDS) for name in figures if name == STEADY_NEWS}


def figures_of(name: str, plan: Plan, played: Played) -> dict[str, float]:
    figures = {
        "nodes": float(plan.nodes),
        "findings": float(len(played.everything)),
        "improvements": float(len(played.improved & played.everything)),
        "missing": float(played.missing),
        "ledgers": float(played.ledgers),
        "news_p50_seconds": quantile(played.news_delays, 0.5),
        "news_p99_seconds": quantile(played.news_delays, 0.99),
        "news_max_seconds": quantile(played.news_delays, 1.0),
        "all_p50_seconds": quantile(played.delays, 0.5),
        "all_p99_seconds": quantile(played.delays, 0.99),
    }
    if plan.small_disks:
        figures["not_kept_on_full_disks"] = float(played.unkept)
    return {f"{name}_{what}": value for what, value in figures.items()}


async def run(plan: Plan, folder: Path, network: bool | None) -> Played:
    async with swarm_for(plan, folder, network=network) as swarm:
        return await Player(swarm, plan, SETTLE_SECONDS).play()


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    figures: dict[str, float] = {}
    for reference in arguments.scenarios:
        scenario = read_scenario(located(reference))
        plan = plan_of(scenario, Size(arguments.nodes, arguments.seconds, arguments.rate), arguments.seed)
        if plan.left_out:
            print(f"{scenario.name}: left out, needs training: {', '.join(plan.left_out)}")
        try:
            played = trio.run(run, plan, folder / scenario.name, True if arguments.lines else None)
        except* NoNetwork as refused:
            print(f"{scenario.name}: not run, needs namespaces: {refused.exceptions[0]}")
        else:
            figures |= figures_of(scenario.name.replace("-", "_"), plan, played)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Scenarios with real processes.")
    parser.add_argument("scenarios", nargs="*", default=["steady-35"], help="files, or names of shipped ones")
    parser.add_argument("--nodes", type=int, default=35)
    parser.add_argument("--seconds", type=float, default=60.0, help="of research, to which the hours are scaled")
    parser.add_argument("--rate", type=float, default=2.0, help="findings a second, of all together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lines", action="store_true", help="namespaces, and the scenario's latency, for each")
    arguments = parser.parse_args()
    if arguments.nodes < 2:
        parser.error("--nodes must be at least 2")
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(arguments, Path(folder))
    except ScenarioError as error:
        parser.error(str(error))
    print_figures(figures, goals(figures))
    print_report("scenario", figures, goals(figures))


if __name__ == "__main__":
    main()

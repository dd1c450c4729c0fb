"""The figures that say whether the swarm holds, all together: each scenario, news among 35, a night of 100, traffic of
1,000, and what sharing brings.

Owns which figures there are and their goals. Each is measured by what it belongs to; here they are put side by side.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from node import shipped
from node.simulation.figures import Figures, together
from node.simulation.large import LargeRun, LargeSwarm
from node.simulation.many import Done, Task, run_tasks
from node.simulation.scenario import Scenario, read_scenario
from node.simulation.sharing import Arm, Campaign, Problem, campaign
from node.simulation.sharing import figures as sharing_figures
from node.simulation.smaller import smaller

Part = Literal["scenarios", "news", "night", "traffic", "sharing"]
PARTS: tuple[Part, ...] = ("scenarios", "news", "night", "traffic", "sharing")
NIGHT = "night-100"
NEWS = "steady-35"
GOALS: Mapping[str, tuple[str, float]] = {
    "missing_findings": ("<=", 0.0),  # after quiet time, the worst of all runs
    "unequal_ledgers": ("<=", 0.0),
    "news_p99_s_35_nodes_libp2p": ("<=", 2.0),
    "night_100_cpu_seconds": ("<=", 60.0),
    "kilobytes_per_second_1000_nodes": ("<=", 20.0),
    "shared_trials_to_isolated_best": ("<=", 0.60),
}
_OF_PART: Mapping[Part, tuple[str, ...]] = {
    "scenarios": ("missing_findings", "unequal_ledgers"),
    "news": ("news_p99_s_35_nodes_libp2p",),
    "night": ("night_100_cpu_seconds",),
    "traffic": ("kilobytes_per_second_1000_nodes",),
    "sharing": ("shared_trials_to_isolated_best",),
}
COLUMNS = ("runs", "findings", "missing", "unequal", "news p50", "news p99", "MB/h", "twice", "adopted")


@dataclass(frozen=True)
class Effort:
    """How much is spent on the figures."""

    seeds: int = 2
    scale: float = 0.25  # of the scenarios' nodes and hours
    jobs: int = 2
    news_hours: float = 0.5
    night_hours: float = 8.0
    sharing_seeds: int = 4


Say = Callable[[str], None]


def goals_of(parts: Iterable[Part]) -> dict[str, tuple[str, float]]:
    return {name: GOALS[name] for part in PARTS if part in parts for name in _OF_PART[part]}


def scenarios() -> list[Scenario]:
    """All that are shipped."""
    return [read_scenario(path) for path in sorted((shipped.configs() / "sim").glob("*.toml"))]


def shipped_scenario(name: str) -> Scenario:
    return read_scenario(shipped.configs() / "sim" / f"{name}.toml")


def measure(part: Part, effort: Effort, say: Say, on_progress: Callable[[float], None]) -> Figures:
    match part:
        case "scenarios":
            return _scenarios(effort, say, on_progress)
        case "news":
            return _news(effort, on_progress)
        case "night":
            return _night(effort, on_progress)
        case "traffic":
            found = LargeRun(LargeSwarm(nodes=1000), 1).run()
            return {"kilobytes_per_second_1000_nodes": found["kilobytes_per_second"]}
        case "sharing":
            return _sharing(effort, on_progress)


def runs_of(part: Part, effort: Effort) -> int:
    """How many steps of progress a part has."""
    steps = {"scenarios": len(scenarios()) * effort.seeds, "news": 1, "night": 1, "traffic": 1}
    return steps.get(part, 2 * effort.sharing_seeds)


def _scenarios(effort: Effort, say: Say, on_progress: Callable[[float], None]) -> Figures:
    chosen = [smaller(one, effort.scale) for one in scenarios()]
    tasks = [Task(scenario, seed) for scenario in chosen for seed in range(1, effort.seeds + 1)]
    say(f"{'scenario':<20}" + "".join(f"{name:>10}" for name in COLUMNS))
    found: list[Done] = []
    for done in run_tasks(tasks, effort.jobs, on_progress):
        found.append(done)
        if len(found) % effort.seeds == 0:
            say(_line(found[-effort.seeds :]))
    figures = [done.result.figures for done in found]
    return {
        "scenario_runs": float(len(found)),
        "scenario_runs_that_hold": float(sum(done.result.holds for done in found)),
        "missing_findings": max(one["missing_findings"] for one in figures),
        "unequal_ledgers": max(one["unequal_ledgers"] for one in figures),
        "scenario_cpu_seconds": sum(done.cpu_seconds for done in found),
    }


def _line(of: Sequence[Done]) -> str:
    f = together([done.result for done in of])
    cells = (
        f"{len(of)}",
        f"{f['findings']:.0f}",
        f"{f['missing_findings']:.0f}",
        f"{f['unequal_ledgers']:.0f}",
        f"{f['news_latency_p50_s']:.2f} s",
        f"{f['news_latency_p99_s']:.2f} s",
        f"{f['kilobytes_per_node_hour'] / 1000:.1f}",
        f"{100 * f['duplicate_share']:.1f} %",
        f"{f['lies_adopted']:.1f}",
    )
    return f"{of[0].result.scenario:<20}" + "".join(f"{cell:>10}" for cell in cells)


def _news(effort: Effort, on_progress: Callable[[float], None]) -> Figures:
    chosen = smaller(shipped_scenario(NEWS), 1.0, effort.news_hours)
    (done,) = run_tasks([Task(chosen, 1, "libp2p")], 1, on_progress)
    figures = done.result.figures
    return {
        "news_p50_s_35_nodes_libp2p": figures["news_latency_p50_s"],
        "news_p99_s_35_nodes_libp2p": figures["news_latency_p99_s"],
        "missing_findings_35_nodes_libp2p": figures["missing_findings"],
        "news_cpu_seconds": done.cpu_seconds,
    }


def _night(effort: Effort, on_progress: Callable[[float], None]) -> Figures:
    chosen = smaller(shipped_scenario(NIGHT), 1.0, effort.night_hours)
    (done,) = run_tasks([Task(chosen, 1)], 1, on_progress)
    figures = done.result.figures
    return {
        "night_100_cpu_seconds": done.cpu_seconds * 8.0 / effort.night_hours,
        "night_100_hours": effort.night_hours,
        "night_100_findings": figures["findings"],
        "night_100_arrivals": figures["findings"] * (figures["nodes"] - 1),
        "night_100_missing_findings": figures["missing_findings"],
    }


def _sharing(effort: Effort, on_progress: Callable[[float], None]) -> Figures:
    problem = Problem(nodes=8, trials=40)
    runs: dict[Arm, list[Campaign]] = {"isolated": [], "shared": []}
    for number in range(effort.sharing_seeds):
        for turn, (arm, made) in enumerate(runs.items()):
            made.append(campaign(problem, arm, number + 1))
            on_progress(2 * number + turn + 1.0)
    found = sharing_figures(runs)
    names = ("isolated_bpb", "shared_bpb", "shared_trials_to_isolated_best", "shared_trials_to_isolated_best_interval")
    gains = [a.best[-1] - b.best[-1] for a, b in zip(runs["isolated"], runs["shared"], strict=True)]
    return {name: found[name] for name in names} | {"shared_gain_bpb": fmean(gains)}

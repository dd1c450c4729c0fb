"""How far more nodes help: trials and time until a swarm of each size has come as far as one node alone does.

Owns the target, the plan and the figures; arms and campaigns are sharing.py's. Time is counted in budgets: trials that
follow each other on one node. Efficiency is what one node spent, by what all nodes together did.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import fmean

from node.simulation.sharing import Arm, Problem, campaign, interval

SPARE = 3.0  # times what one node needs, shared among all, before a swarm is taken not to get there
START_TRIALS = 5  # a node's baseline with its repeats, and an idea or two, however many nodes there are
SWARM: Arm = "shared"
CENTRAL: Arm = "central"
SIZES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Point:
    """One size of one arm. `trials`: of all nodes until the target, by seed; all there were where it was not."""

    arm: Arm
    nodes: int
    trials: tuple[int, ...]
    reached: int  # seeds

    @property
    def budgets(self) -> list[float]:
        """Time: trials of each node, one after another."""
        return [ceil(one / self.nodes) for one in self.trials]


def target(problem: Problem, seeds: Sequence[int]) -> float:
    """Bits per byte that one node alone comes to in `problem.trials`, on average."""
    return fmean(campaign(replace(problem, nodes=1), "isolated", seed).best[-1] for seed in seeds)


def points(
    problem: Problem, sizes: Sequence[int], seeds: Sequence[int], goal: float, arms: Sequence[Arm] = (SWARM, CENTRAL)
) -> Iterator[Point]:
    """As they are done."""
    for nodes in sizes:
        each = ceil(SPARE * problem.trials / nodes) + START_TRIALS
        for arm in arms:
            made = [campaign(replace(problem, nodes=nodes, trials=each), arm, seed) for seed in seeds]
            spent = tuple(one.trials_to(goal) or len(one.best) for one in made)
            yield Point(arm, nodes, spent, sum(one.trials_to(goal) is not None for one in made))


def efficiency(point: Point, single: Point) -> float:
    return fmean(single.trials) / fmean(point.trials)


def table(found: Sequence[Point]) -> list[str]:
    lines = [f"{'arm':<9}{'nodes':>6}{'trials of all':>20}{'time, in budgets':>20}{'efficiency':>12}{'reached':>9}"]
    for point in found:
        single = next(one for one in found if one.arm == point.arm)
        cells = [f"{fmean(numbers):>13.1f} ±{interval(numbers):<5.1f}" for numbers in (point.trials, point.budgets)]
        share = efficiency(point, single)
        lines.append(
            f"{point.arm:<9}{point.nodes:>6}{''.join(cells)}{share:>12.2f}{point.reached:>6}/{len(point.trials)}"
        )
    return lines


def figures(found: Sequence[Point]) -> dict[str, float]:
    """By arm and size."""
    said: dict[str, float] = {}
    for point in found:
        single = next(one for one in found if one.arm == point.arm)
        name = f"{point.arm}_{point.nodes}"
        said[f"{name}_budgets"] = fmean(point.budgets)
        said[f"{name}_efficiency"] = efficiency(point, single)
    return said

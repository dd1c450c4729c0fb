"""What each arm finds alone, and what the portfolio of them does, with the same number of trials each.

Owns the runs of the benchmark, its figures and their goals. Each run is a campaign (campaign.py) of one seed: a node
alone from the naive base, in which every repeat counts as a trial. The figure of a campaign is the score, without
noise, of where its branch stands; an interval is twice the standard error over seeds. sigma is the standard deviation
over seeds of the best single arm.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

from node.proposers.arms import ARMS
from node.proposers.classic import propose_now
from node.proposers.credit import Earned, earned
from node.proposers.port import Request
from node.simulation.campaign import Campaign, Surface
from swarm.finding import Proposal
from swarm.words import Outcome

PORTFOLIO = "portfolio"
FIRST = 20  # experiments after which failures count
STOPS = (10, 20, 40, 60, 80, 100, 150, 200, 300, 500)
BARS = "▁▂▃▄▅▆▇█"
SPARKS = 40  # characters of a curve
GOALS = {
    "portfolio_behind_best_arm_sigma": ("<=", 0.5),
    "portfolio_beats_random_share": (">=", 0.90),
    "infeasible_share_after_20": ("<=", 0.10),
}

Propose = Callable[[Request], Proposal]


@dataclass(frozen=True)
class Run:
    """What is kept of a campaign."""

    proposer: str
    seed: int
    best: tuple[float, ...]  # after each trial
    endings: tuple[Outcome, ...]  # of each experiment
    earned: Mapping[str, Earned]


Runs = Mapping[str, Sequence[Run]]


def proposers() -> dict[str, Propose]:
    alone: dict[str, Propose] = {arm.name: partial(propose_now, arms=(arm,)) for arm in ARMS}
    return alone | {PORTFOLIO: propose_now}


def search(surface: Surface, name: str, seed: int, trials: int) -> Run:
    """One campaign of one proposer."""
    made = Campaign(surface, proposers()[name], seed).run(trials)
    return Run(name, seed, tuple(made.best), tuple(made.endings), earned(made.ledger.entries()))


def run_all(surface: Surface, names: Sequence[str], seeds: int, trials: int, processes: int) -> Iterator[Run]:
    """Every proposer with every seed, as they are done."""
    plan = [(name, seed) for seed in range(seeds) for name in names]
    if processes == 1:
        yield from (search(surface, name, seed, trials) for name, seed in plan)
        return
    with ProcessPoolExecutor(processes) as pool:
        waiting: list[Future[Run]] = [pool.submit(search, surface, name, seed, trials) for name, seed in plan]
        for done in as_completed(waiting):
            yield done.result()


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """By proposer, in the order of seeds; the best at the end first."""
    names = {run.proposer for run in runs}
    found = {name: sorted((r for r in runs if r.proposer == name), key=lambda run: run.seed) for name in names}
    return dict(sorted(found.items(), key=lambda one: (fmean(run.best[-1] for run in one[1]), one[0])))


def table(runs: Runs, trials: int) -> list[str]:
    """Best so far by trials: mean over seeds ± interval, and the curve of the means."""
    stops = sorted({stop for stop in STOPS if stop < trials} | {trials})
    lines = [f"{'proposer':<11}" + "".join(f"{f'after {stop}':>17}" for stop in stops)]
    for name, made in runs.items():
        cells = [[run.best[stop - 1] for run in made] for stop in stops]
        lines.append(f"{name:<11}" + "".join(f"{fmean(cell):>10.4f} ±{interval(cell):.3f}" for cell in cells))
    return lines


def curves(runs: Runs, trials: int) -> list[str]:
    """The mean of best so far, from the start (full) to the best of all (empty), a sparkline each."""
    means = {name: [fmean(run.best[at] for run in made) for at in range(trials)] for name, made in runs.items()}
    high, low = max(mean[0] for mean in means.values()), min(mean[-1] for mean in means.values())
    return [f"{name:<11}{sparkline(mean, low, high)} {mean[-1]:.4f}" for name, mean in means.items()]


def sparkline(numbers: Sequence[float], low: float, high: float) -> str:
    width = min(SPARKS, len(numbers))
    chosen = [numbers[round(at * (len(numbers) - 1) / max(1, width - 1))] for at in range(width)]
    shares = [(number - low) / (high - low) if high > low else 0.0 for number in chosen]
    return "".join(BARS[min(len(BARS) - 1, max(0, int(share * len(BARS))))] for share in shares)


def credit_lines(runs: Runs) -> list[str]:
    """What each arm earned inside the portfolio, all seeds together."""
    sums: dict[str, Earned] = {}
    for run in runs[PORTFOLIO]:
        for arm, one in run.earned.items():
            so_far = sums.get(arm, Earned())
            sums[arm] = Earned(
                so_far.experiments + one.experiments,
                so_far.trials + one.trials,
                so_far.kept + one.kept,
                so_far.improvement + one.improvement,
                so_far.budgets + one.budgets,
            )
    ordered = sorted(sums.items(), key=lambda one: (-one[1].per_trial, one[0]))
    return [
        f"{arm:<11}{one.trials:>6} trials, {one.kept:>4} kept, {one.per_trial:>7.2f} sd a trial" for arm, one in ordered
    ]


def interval(numbers: Sequence[float]) -> float:
    return 2.0 * stdev(numbers) / len(numbers) ** 0.5 if len(numbers) > 1 else 0.0


def figures(runs: Runs) -> dict[str, float]:
    """Of runs that have the portfolio, random and some arm; at least two seeds."""
    last = {name: [run.best[-1] for run in made] for name, made in runs.items()}
    best = min((name for name in last if name != PORTFOLIO), key=lambda name: fmean(last[name]))
    ours, sigma = last[PORTFOLIO], stdev(last[best])
    wins = [mine < theirs for mine, theirs in zip(ours, last["random"], strict=True)]
    late = [ending for run in runs[PORTFOLIO] for ending in run.endings[FIRST:]]
    return {
        "portfolio_behind_best_arm_sigma": (fmean(ours) - fmean(last[best])) / sigma if sigma else 0.0,
        "portfolio_behind_best_arm_bpb": fmean(ours) - fmean(last[best]),
        "portfolio_behind_best_arm_interval": interval([a - b for a, b in zip(ours, last[best], strict=True)]),
        "portfolio_beats_random_share": fmean(wins),
        "infeasible_share_after_20": fmean(ending is not Outcome.MEASURED for ending in late) if late else 0.0,
        "sigma": sigma,
        **{f"{name}_bpb": fmean(numbers) for name, numbers in last.items()},
    }

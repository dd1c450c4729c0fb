"""Does sharing help? The same total of trials spent by lonely nodes, by a swarm, at random, and by one optimiser that
sees every result at once.

Owns the arms, how far each had come after so many trials, and the figures. The first three run the real loop at real
nodes in virtual time, and differ only in who hears whom and who has the ideas. How far an arm has come is what the
finding is really worth that has the best measured score of all that were kept: what a person would take from it. Every
trial counts, the repeats that a verdict needs too; the central optimiser repeats nothing.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import Any, Literal

from node.proposers.port import Proposer
from node.simulation.ideas import Anywhere
from node.simulation.landscape import Landscape, landscape
from node.simulation.landscape import Name as LandscapeName
from node.simulation.observation import Made
from node.simulation.scenario import Scenario
from node.simulation.world import Run, simulate, simulated_brief
from swarm.space import ChoiceParameter, FloatParameter, IntParameter, SearchSpace
from swarm.words import Config, Outcome

Arm = Literal["isolated", "shared", "pooled-random", "central"]
ARMS: tuple[Arm, ...] = ("isolated", "shared", "pooled-random", "central")
BUDGET_SECONDS = 120.0
_ROOM = 1.3  # of the time that so many trials take: the count of trials ends an arm, not its time
_FAILED = 64.0  # bits per byte, what an optimiser is told of a trial without a number
QUARTERS = (0.25, 0.5, 0.75, 1.0)
GOALS: Mapping[str, tuple[str, float]] = {"shared_trials_to_isolated_best": ("<=", 0.60)}  # share of all trials


@dataclass(frozen=True)
class Problem:
    """What every arm is given."""

    nodes: int
    trials: int  # of each node
    proposer: Literal["light", "portfolio"] = "portfolio"
    ground: LandscapeName = "recorded"

    @property
    def total(self) -> int:
        return self.nodes * self.trials


@dataclass(frozen=True)
class Campaign:
    """How far an arm had come with one seed: bits per byte without noise, after each trial of anybody."""

    arm: Arm
    seed: int
    best: tuple[float, ...]

    def trials_to(self, target: float) -> int | None:
        return next((number for number, bpb in enumerate(self.best, 1) if bpb <= target), None)


def campaign(problem: Problem, arm: Arm, seed: int) -> Campaign:
    ground = landscape(problem.ground)
    if arm == "central":
        return Campaign(arm, seed, _central(problem, ground, seed))
    make: partial[Proposer] | None = partial(Anywhere) if arm == "pooled-random" else None
    alone = arm != "shared"
    run = simulate(_scenario(problem), seed, on_landscape=ground, proposer=make, connected=not alone)
    return Campaign(arm, seed, _course(run, problem.total, ground))


def _scenario(problem: Problem) -> Scenario:
    hours = _ROOM * problem.trials * BUDGET_SECONDS / 3600
    return Scenario(
        name="sharing",
        hours=hours,
        quiet_minutes=0.1,
        nodes=problem.nodes,
        bootstraps=min(2, problem.nodes),
        start_within_seconds=5.0,
        proposer=problem.proposer,
        landscape=problem.ground,
    )


def _course(run: Run, total: int, ground: Landscape) -> tuple[float, ...]:
    start = ground.mean(simulated_brief().base_config)
    best: list[float] = []
    leader: Made | None = None
    for made in sorted(run.observation.made.values(), key=lambda m: m.at):
        standing = start if leader is None or leader.truth is None else leader.truth
        best += [standing] * (made.trials - 1)
        if made.kept and made.said is not None and (leader is None or leader.said is None or made.said < leader.said):
            leader = made
        best.append(start if leader is None or leader.truth is None else leader.truth)
    return tuple((best + best[-1:] * max(0, total - len(best)))[:total])


def _central(problem: Problem, ground: Landscape, seed: int) -> tuple[float, ...]:
    """One study for all nodes: each asks when its trial has ended, and everything that has ended is known."""
    import optuna  # half a second

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    brief = simulated_brief()
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=10, constant_liar=True)
    study: Any = optuna.create_study(direction="minimize", sampler=sampler)  # Any: Optuna's own types are partial
    study.enqueue_trial(_positions(brief.space, brief.base_config))
    rng, best, leader = random.Random(seed), list[float](), (_FAILED, 0.0)
    running: list[tuple[Any, Config]] = []  # the settings are drawn when a worker asks, before the others have ended
    standing = ground.mean(brief.base_config)
    while len(best) < problem.total:
        while len(running) < problem.nodes:
            trial = study.ask()
            running.append((trial, _config_of(brief.space, trial)))
        trial, config = running.pop(0)
        outcome, bpb = ground.draw(config, rng.getrandbits(31))
        said = bpb if outcome is Outcome.MEASURED and bpb is not None else _FAILED
        study.tell(trial, said)
        if said < leader[0]:
            leader = (said, ground.mean(config))
            standing = leader[1]
        best.append(standing)
    return tuple(best)


def _config_of(space: SearchSpace, trial: Any) -> Config:  # Any: Optuna's
    config: Config = {}
    for name, parameter in space.parameters.items():
        match parameter:
            case ChoiceParameter():
                config[name] = parameter.options[trial.suggest_categorical(name, range(len(parameter.options)))]
            case IntParameter():
                config[name] = trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log)
            case FloatParameter():
                config[name] = trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
    return space.normalise(config)


def _positions(space: SearchSpace, config: Config) -> dict[str, Any]:  # Any: as Optuna wants them
    return {
        name: parameter.options.index(config[name]) if isinstance(parameter, ChoiceParameter) else config[name]
        for name, parameter in space.parameters.items()
    }


# --- what came of it --------------------------------------------------------------------------------------------------


def interval(numbers: Sequence[float]) -> float:
    """Half width of the 95 % interval of the mean, two standard errors."""
    return 2.0 * stdev(numbers) / len(numbers) ** 0.5 if len(numbers) > 1 else float("nan")


def shares_to(campaigns: Sequence[Campaign], target: float) -> list[float]:
    """Of all trials, until the target was reached; 1 where it never was."""
    return [(one.trials_to(target) or len(one.best)) / len(one.best) for one in campaigns]


def table(runs: Mapping[Arm, Sequence[Campaign]]) -> list[str]:
    """Best after a quarter, a half, three quarters and all trials; then trials until the lonely nodes' final best."""
    total = len(next(iter(runs.values()))[0].best)
    at = [max(1, round(share * total)) for share in QUARTERS]
    lines = [f"{'arm':<15}" + "".join(f"{f'after {n}':>17}" for n in at)]
    for arm, campaigns in runs.items():
        cells = [[one.best[n - 1] for one in campaigns] for n in at]
        lines.append(f"{arm:<15}" + "".join(f"{fmean(c):>10.4f} ±{interval(c):.4f}" for c in cells))
    if "isolated" in runs:
        target = _target(runs)
        lines += ["", f"trials until {target:.4f}, where the lonely nodes end on average:"]
        for arm, campaigns in runs.items():
            shares, reached = shares_to(campaigns, target), sum(one.trials_to(target) is not None for one in campaigns)
            spread = f"{100 * fmean(shares):>6.1f} % ±{100 * interval(shares):.1f}"
            lines.append(f"{arm:<15}{spread} of {total}; {reached} of {len(campaigns)} seeds got there")
    return lines


def figures(runs: Mapping[Arm, Sequence[Campaign]]) -> dict[str, float]:
    found = {f"{arm}_bpb": fmean(one.best[-1] for one in campaigns) for arm, campaigns in runs.items()}
    found |= {f"{arm}_bpb_interval": interval([one.best[-1] for one in made]) for arm, made in runs.items()}
    if "isolated" in runs:
        target = _target(runs)
        found["target_bpb"] = target
        for arm, campaigns in runs.items():
            name = arm.replace("-", "_")
            shares = shares_to(campaigns, target)
            found[f"{name}_trials_to_isolated_best"] = fmean(shares)
            found[f"{name}_trials_to_isolated_best_interval"] = interval(shares)
            found[f"{name}_reached_isolated_best"] = fmean(one.trials_to(target) is not None for one in campaigns)
    return found


def answer(runs: Mapping[Arm, Sequence[Campaign]]) -> str:
    """Does sharing help, in one sentence."""
    if not {"isolated", "shared"} <= set(runs):
        return "to say whether sharing helps, the arms isolated and shared are needed"
    gains = [a.best[-1] - b.best[-1] for a, b in zip(runs["isolated"], runs["shared"], strict=True)]
    spent, sure = fmean(shares_to(runs["shared"], _target(runs))), interval(gains)
    size = f"{abs(fmean(gains)):.4f} ±{sure:.4f} bits per byte"
    if fmean(gains) > sure:
        return f"sharing helps: {size} better at the end, and there with {100 * spent:.0f} % of the trials"
    if fmean(gains) < -sure:
        return f"sharing does not help: at the end it is {size} worse than lonely nodes"
    return f"sharing does not help beyond chance: {size} between both at the end, with these seeds"


def _target(runs: Mapping[Arm, Sequence[Campaign]]) -> float:
    return fmean(one.best[-1] for one in runs["isolated"])

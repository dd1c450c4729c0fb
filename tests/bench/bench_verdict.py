"""What the acceptance rule decides, simulated with the noise of real trials. Nothing is trained.

    python tests/bench/bench_verdict.py [--campaigns N] [--seed N] [--scores FILE]

The rule is the one nodes use (swarm/verdict.py), called as a node calls it: baseline with its repeats, candidates one
after another, each run again as the rule asks, noise estimated from what was run. Only the scores are made up: a true
value plus the noise of a real trial, drawn from repeats measured on a real machine (tests/bench/repeats.json, or
--scores FILE). Effects are planted in standard deviations of one trial. The last line is one JSON object.
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench_report import print_figures, print_report  # noqa: E402

from swarm.brief import Acceptance  # noqa: E402
from swarm.trial import Track, Trial  # noqa: E402
from swarm.verdict import Noise, Side, judge, next_trial, pooled_noise, prior_noise, rerun_interval  # noqa: E402
from swarm.words import Decision, Outcome  # noqa: E402

TRACK = Track(hardware_class="simulated", budget_seconds=1.0)
START = 30.0  # bits per byte of the baseline: far from zero, where a long campaign of large gains never comes
NO_OPS = 200
# What a night's proposals are like, in standard deviations of a trial: what 35 proposals of the classic proposer did
# to the score on pysource in trials of 15 s (docs/log.md, 2026-11-21), in units of 0.02 bits per byte.
NIGHT = (
    -23.5, 15.4, -39.4, -71, -1.3, 10.1, 5.6, -1.9, -14.7, 2.4, -12.3, -13, -9.2, -45, -3.1, -0.8, -0.6, -0.4,
    -4.8, -2.9, -0.1, -0.3, -1.8, -9.4, -11.5, -0.1, -2, 4.3, -1.2, -3.4, -8.9, 5.5, -6.4, -3.3, 17.4,
)  # fmt: skip
NIGHT_LENGTH = 60
GOALS = {
    "no_ops_kept_share": ("<=", 0.05),
    "kept_share_1_sd": (">=", 0.30),
    "kept_share_2_sd": (">=", 0.80),
    "kept_share_4_sd": (">=", 0.99),
    "rerun_within_interval_share": (">=", 0.90),
    "mean_runs_per_decision": ("<=", 2.0),
}


@dataclass
class Campaign:
    """One node's nights: a branch, what its trials showed, and the truth that only we know."""

    draw: Callable[[], float]  # noise of one trial, bits per byte
    rule: Acceptance
    truth: float = START
    groups: list[list[float]] = field(default_factory=list[list[float]])  # repeats of one thing each
    head: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        made, _ = self._compare(self.truth, None)
        self.head = [trial.val_bpb or 0.0 for trial in made]
        self.groups.append(self.head)

    def decide(self, effect: float) -> tuple[Decision, int]:
        """A proposal that is truly better by `effect` bits per byte. Returns the decision and the runs it took."""
        candidate, again = self._compare(self.truth - effect, self.head)
        scores = [trial.val_bpb or 0.0 for trial in candidate]
        self.head += [trial.val_bpb or 0.0 for trial in again]
        decision = judge(candidate, self.head, self._noise, self.rule).decision
        self.groups.append(scores)
        if decision is Decision.KEEP:
            self.head, self.truth = scores, self.truth - effect
        return decision, len(candidate) + len(again)

    def rerun_is_within(self) -> bool:
        """Whether the mean of five fresh runs of the head lies in the interval stated for it."""
        fresh = fmean(self.truth + self.draw() for _ in range(5))
        return abs(fresh - fmean(self.head)) <= rerun_interval(len(self.head), self.noise())

    def noise(self) -> Noise:
        return pooled_noise(self.groups, prior_noise(self.rule))

    def _compare(self, truth: float, parent: list[float] | None) -> tuple[list[Trial], list[Trial]]:
        self._noise = self.noise()
        candidate: list[Trial] = []
        again: list[Trial] = []
        while True:
            known = None if parent is None else [*parent, *(trial.val_bpb or 0.0 for trial in again)]
            side = next_trial(candidate, known, again, self._noise, self.rule)
            if side is None:
                return candidate, again
            made = candidate if side is Side.CANDIDATE else again
            made.append(self._trial(truth if side is Side.CANDIDATE else self.truth))

    def _trial(self, truth: float) -> Trial:
        return Trial(outcome=Outcome.MEASURED, track=TRACK, seed=0, seconds=1.0, val_bpb=truth + self.draw())


def residuals(groups: Sequence[Sequence[float]]) -> list[float]:
    """Distances of repeats to their own mean, made as wide as single trials are spread."""
    out: list[float] = []
    for group in groups:
        mean, wider = fmean(group), math.sqrt(len(group) / (len(group) - 1))
        out += [(score - mean) * wider for score in group]
    return out


def simulate(noise: list[float], campaigns: int, rng: random.Random) -> dict[str, float]:
    sd = math.sqrt(fmean(one * one for one in noise))
    figures = {"noise_sd": sd, "repeats": float(len(noise))}

    def campaign() -> Campaign:
        return Campaign(lambda: rng.choice(noise), Acceptance())

    greedy = kept = runs = 0
    for _ in range(campaigns):
        one = campaign()
        first = one.draw()
        greedy += one.draw() < first
        decisions = [one.decide(0.0) for _ in range(NO_OPS)]
        kept += sum(decision is Decision.KEEP for decision, _ in decisions)
        runs += sum(count for _, count in decisions)
    figures["no_ops_kept_share"] = kept / (campaigns * NO_OPS)
    figures["no_ops_kept_share_greedy_first_step"] = greedy / campaigns
    figures["no_ops_runs_per_decision"] = runs / (campaigns * NO_OPS)

    for effect in (1, 2, 4):
        asked = kept = runs = 0
        for _ in range(4 * campaigns):
            one = campaign()
            for _ in range(3):
                for dud in (0, -2, 0, -5):  # what it is found among
                    one.decide(dud * sd)
                decision, count = one.decide(effect * sd)
                asked, kept, runs = asked + 1, kept + (decision is Decision.KEEP), runs + count
        figures[f"kept_share_{effect}_sd"] = kept / asked
        figures[f"runs_per_decision_{effect}_sd"] = runs / asked

    within = runs = 0
    for _ in range(10 * campaigns):
        one = campaign()
        runs += sum(one.decide(rng.choice(NIGHT) * sd)[1] for _ in range(NIGHT_LENGTH))
        within += one.rerun_is_within()
    figures["rerun_within_interval_share"] = within / (10 * campaigns)
    figures["mean_runs_per_decision"] = runs / (10 * campaigns * NIGHT_LENGTH)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="What the acceptance rule decides, with the noise of real trials.")
    parser.add_argument("--campaigns", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scores", type=Path, default=Path(__file__).with_name("repeats.json"))
    arguments = parser.parse_args()
    measured = json.loads(arguments.scores.read_text())
    noise = residuals([group["val_bpb"] for group in measured["groups"]])
    figures = simulate(noise, arguments.campaigns, random.Random(arguments.seed))
    print(f"noise of {len(noise)} real trials in {len(measured['groups'])} groups: {measured['where']}")
    print_figures(figures, GOALS)
    print_report("verdict", figures, GOALS)


if __name__ == "__main__":
    main()

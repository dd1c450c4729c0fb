"""Credit: which arm had an idea, and what it brought.

Owns the arm's name inside `Proposal.proposer` and what an improvement is worth. Everything is computed from findings
alone, and the order in which they came here plays no part: a restart, and every reader of the same ledger, gets the
same.

The worth of a finding is its effect in standard deviations of a trial, from its verdict: all of it when it was kept
(at least one: a simplification at equal score is a win), half of it times how sure it is when it stayed inconclusive,
nothing when it was discarded or failed. What it cost is every trial that was run for it, its parent's repeats too: a
whole budget each, but of one that was stopped early the share it used. A failure costs a whole one however soon it
came: else an arm that only ever crashes would look as if it had not been tried.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from node.proposers.port import Request
from swarm.finding import Finding
from swarm.ledger import Entry
from swarm.trial import Trial
from swarm.words import Decision, Outcome, PeerId

LLM_ARMS = ("llm:config", "llm:code")  # one model, two ways to be asked, and each earns its own turns
SIMPLER_WORTH = 1.0  # standard deviations; the handicap that the acceptance rule gives a simpler candidate
HALF_GAIN = (
    4.0  # standard deviations that earn half a point: one lucky leap does not decide for a hundred trials; guess
)
HALF_LIFE = 30.0  # own experiments after which evidence counts half: what worked on a naive start stops working; guess
PEERS_TRIALS = 4.0  # of an arm's evidence from peers, together at most: theirs is a hint, and may be a lie; guess


@dataclass(frozen=True, slots=True)
class Earned:
    """What an arm brought, for people."""

    experiments: int = 0
    trials: int = 0
    kept: int = 0
    improvement: float = 0.0  # standard deviations of a trial, summed
    budgets: float = 0.0  # what the trials cost: fewer than they are, where some were stopped early

    @property
    def per_trial(self) -> float:
        return self.improvement / self.budgets if self.budgets else 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """The same for a bandit: points between 0 and 1 for each trial, older ones counting less."""

    points: float = 0.0
    trials: float = 0.0  # whole budgets


def arm_of(proposer: str) -> str | None:
    """'classic/tpe' → 'tpe', 'llm:code/some-model' → 'llm:code'; None: baseline.

    Older ones: 'llm:some-model' → 'llm', 'classic' → 'classic'.
    """
    if proposer == "baseline":
        return None
    kind, _, arm = proposer.partition("/")
    if kind in LLM_ARMS and arm:
        return kind
    return arm if kind == "classic" and arm else proposer.partition(":")[0]


def improvement(finding: Finding, least_noise_sd: float = 0.0) -> float:
    """Standard deviations of a trial. `least_noise_sd`: a stranger's claim of less noise makes nothing larger."""
    verdict = finding.verdict
    if finding.outcome is not Outcome.MEASURED or finding.proposal.parent is None:
        return 0.0
    gain = min(max(0.0, verdict.effect or 0.0), 64.0) / max(verdict.noise_sd, least_noise_sd, 1e-9)
    if verdict.decision is Decision.KEEP:
        return max(gain, SIMPLER_WORTH)
    if verdict.decision is Decision.INCONCLUSIVE and verdict.p_better is not None:
        return 0.5 * max(0.0, 2.0 * verdict.p_better - 1.0) * gain
    return 0.0


def trials_of(finding: Finding) -> int:
    return len(finding.trials) + len(finding.parent_trials)


def budgets_of(finding: Finding) -> float:
    """What its trials cost, in whole ones."""
    return math.fsum(_budgets(trial) for trial in (*finding.trials, *finding.parent_trials))


def _budgets(trial: Trial) -> float:
    return min(1.0, trial.seconds / trial.track.budget_seconds) if trial.outcome is Outcome.CENSORED else 1.0


def earned(entries: Iterable[Entry], least_noise_sd: float = 0.0) -> dict[str, Earned]:
    """What each arm brought, by name; the best improvement per trial first."""
    found: dict[str, Earned] = {}
    for entry in sorted(entries, key=lambda e: e.id):  # sums of floats depend on their order
        finding = entry.finding
        arm = arm_of(finding.proposal.proposer)
        if arm is None or finding.outcome is Outcome.CANCELLED:
            continue
        so_far = found.get(arm, Earned())
        found[arm] = Earned(
            so_far.experiments + 1,
            so_far.trials + trials_of(finding),
            so_far.kept + (finding.verdict.decision is Decision.KEEP),
            so_far.improvement + improvement(finding, least_noise_sd),
            so_far.budgets + budgets_of(finding),
        )
    return dict(sorted(found.items(), key=lambda one: (-one[1].per_trial, one[0])))


def evidence(request: Request) -> dict[str, Evidence]:
    """What own findings of the track, and with less weight peers', say about each arm."""
    own = _evidence([e for e in request.on_track if e.author == request.me], 0.0)
    theirs = _evidence([e for e in request.on_track if e.author != request.me], request.noise_sd)
    return {arm: _together(own.get(arm, Evidence()), theirs.get(arm, Evidence())) for arm in sorted({*own, *theirs})}


def _together(own: Evidence, theirs: Evidence) -> Evidence:
    share = min(1.0, PEERS_TRIALS / theirs.trials) if theirs.trials else 0.0
    return Evidence(own.points + share * theirs.points, own.trials + share * theirs.trials)


def _evidence(entries: list[Entry], least_noise_sd: float) -> dict[str, Evidence]:
    """Age is counted in its author's later findings, so that neither clocks nor arrival matter."""
    latest = _latest(entries)
    found: dict[str, Evidence] = {}
    for entry in sorted(entries, key=lambda e: e.id):
        arm = arm_of(entry.finding.proposal.proposer)
        if arm is None:
            continue
        weight = 0.5 ** ((latest[entry.author] - entry.seq) / HALF_LIFE)
        gain, so_far = improvement(entry.finding, least_noise_sd), found.get(arm, Evidence())
        found[arm] = Evidence(
            so_far.points + weight * gain / (gain + HALF_GAIN),
            so_far.trials + weight * budgets_of(entry.finding),
        )
    return found


def _latest(entries: list[Entry]) -> Mapping[PeerId, int]:
    latest: dict[PeerId, int] = {}
    for entry in entries:
        latest[entry.author] = max(entry.seq, latest.get(entry.author, 0))
    return latest

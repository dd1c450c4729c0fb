"""A finding as the JSON that scripts read: the same keys in `result.json` and in `swarm log --json`.

Owns the key names. They are promised in docs/cli.md: keys may be added, never renamed.
"""

from node.proposers.spending import Usage
from node.text import clean
from swarm.ledger import Entry
from swarm.trial import Trial
from swarm.words import BriefId, Standing


def finding_json(
    entry: Entry,
    standing: Standing,
    commit: str | None,
    topic: str,
    brief_id: BriefId,
    model_usage: Usage | None = None,
) -> dict[str, object]:
    """`commit` is None inside the commit itself: nothing can contain its own hash."""
    finding, proposal, trial = entry.finding, entry.finding.proposal, entry.finding.trials[0]
    return {
        "id": entry.id,
        "peer": entry.author,
        "node_name": clean(finding.node_name, 40),
        "number": finding.number,
        "outcome": finding.outcome.value,
        "verdict": finding.verdict.decision.value,
        "standing": standing.value,
        "val_bpb": finding.val_bpb,
        "effect": finding.verdict.effect,
        "interval": finding.verdict.interval,
        "p_better": finding.verdict.p_better,
        "simpler": finding.verdict.simpler,
        "noise_sd": finding.verdict.noise_sd,
        "noise_dof": finding.verdict.noise_dof,
        "parent_scores": list(finding.verdict.parent_scores),
        "trials": [_trial(one) for one in finding.trials],
        "parent_trials": [_trial(one) for one in finding.parent_trials],
        "parent": proposal.parent,
        "inspirations": list(proposal.inspirations),
        "operator": proposal.operator.value,
        "proposer": proposal.proposer,
        "title": clean(proposal.title, 120),
        "rationale": clean(proposal.rationale, 1000),
        "config": dict(proposal.config),
        "source_sha256": proposal.source_sha256,
        "hardware_class": finding.track.hardware_class,
        "budget_seconds": finding.track.budget_seconds,
        "commit": commit,
        "started_at": finding.started_at,
        "seconds": sum(one.seconds for one in (*finding.trials, *finding.parent_trials)),
        "seed": trial.seed,
        "steps": trial.steps,
        "tokens": trial.tokens,
        "parameters": trial.parameters,
        "peak_memory_bytes": trial.peak_memory_bytes,
        "reason": clean(finding.reason, 400),
        "model_usage": None if model_usage is None else model_usage.as_json(),
        "topic": topic,
        "brief_id": brief_id,
    }


def _trial(trial: Trial) -> dict[str, object]:
    return {
        "outcome": trial.outcome.value,
        "val_bpb": trial.val_bpb,
        "seed": trial.seed,
        "seconds": trial.seconds,
        "tokens": trial.tokens,
        "condition": trial.condition.value,
        "foreign_cores": trial.foreign_cores,
        "reason": clean(trial.reason, 400),
    }

"""A replay as the JSON that scripts read. Owns the key names; docs/cli.md promises them."""

from dataclasses import asdict

from node.replays.agreement import agreement
from node.text import clean
from swarm.brief import Brief
from swarm.ledger import Entry, Ledger, ReplayEntry


def replay_json(ledger: Ledger, brief: Brief, entry: Entry, one: ReplayEntry) -> dict[str, object]:
    """What was run and how it ended, and how that compares with the finding: null where nothing does."""
    replay, trial = one.replay, one.replay.trial
    found = asdict(agreement(ledger, brief.acceptance, entry, one))
    del found["replayed"]
    return {
        "id": one.id,
        "peer": one.author,
        "node_name": clean(replay.node_name, 40),
        "started_at": replay.started_at,
        "steps": replay.steps,
        "outcome": trial.outcome.value,
        "reason": clean(trial.reason, 400),
        "val_bpb": trial.val_bpb,
        "seed": trial.seed,
        "seconds": trial.seconds,
        "condition": trial.condition.value,
        "hardware_class": trial.track.hardware_class,
        "budget_seconds": trial.track.budget_seconds,
        **found,
    }


def replays_of(ledger: Ledger, brief: Brief, entry: Entry) -> list[dict[str, object]]:
    """Of one finding, oldest first; without those that ran something else."""
    key = entry.key
    return [replay_json(ledger, brief, entry, one) for one in ledger.replays(entry.id) if one.replay.key == key]

"""What each arm of the proposers earned, as JSON values: for `swarm status` and `swarm leaderboard`."""

from typing import Any

from node.proposers.credit import earned
from node.text import clean
from swarm.ledger import Ledger
from swarm.trial import Track
from swarm.words import PeerId


def arms_json(ledger: Ledger, track: Track, me: PeerId, *, everybody: bool = False) -> list[dict[str, Any]]:
    """On one track, the best improvement per trial first. Nobody's own claim of less noise counts for others."""
    least_noise_sd = ledger.noise(track, me).sd if everybody else 0.0
    found = earned(ledger.entries(None if everybody else me, track), least_noise_sd)
    return [
        {
            "arm": clean(arm, 64),
            "experiments": one.experiments,
            "trials": one.trials,
            "kept": one.kept,
            "improvement_per_trial": one.per_trial,
        }
        for arm, one in found.items()
    ]

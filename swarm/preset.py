"""The preset: bytes that most records of a brief have in common, for whoever compresses one record by itself.

Made from the brief alone, so that all who work on it have the same; docs/protocol.md has every byte. What is compressed
with it, and how, is not known here. A record that is like nothing in it is as sound as any other, only larger.
"""

import msgpack

from swarm.brief import Brief
from swarm.space import FloatParameter, IntParameter
from swarm.words import BriefId, Config, Value

_HASH = "0" * 64
_AT_MS = 1_790_000_000_000  # its first bytes are those of years

_TRIAL: dict[str, object] = {
    "outcome": "measured",
    "track": {"hardware_class": "cpu-x86_64-", "budget_seconds": 120.0},
    "seed": 0,
    "seconds": 0.0,
    "val_bpb": 0.0,
    "steps": 0,
    "tokens": 0,
    "parameters": 0,
    "peak_memory_bytes": 0,
    "curve": [{"step": 0, "seconds": 0.0, "train_loss": 0.0, "progress": 0.0}],
    "reason": "",
    "condition": "steady",
    "foreign_cores": None,
}
_VERDICT: dict[str, object] = {
    "decision": "keep",
    "effect": 0.0,
    "interval": 0.0,
    "p_better": 0.0,
    "noise_sd": 0.0,
    "noise_dof": 0.0,
    "parent_scores": [],
    "simpler": False,
}


def preset_of(brief: Brief, id: BriefId) -> bytes:
    """A record's body as most are, with its payload as a map inside."""
    payload: dict[str, object] = {
        "kind": "finding",
        "number": 1,
        "node_name": "",
        "started_at": "2026-01-01T00:00:00Z",
        "proposal": _proposal(brief),
        "trials": [_TRIAL],
        "parent_trials": [],
        "verdict": _VERDICT,
    }
    body: dict[str, object] = {"v": 1, "kind": "finding", "brief": id, "author": "12D3KooW", "seq": 1, "prev": _HASH}
    return msgpack.packb(body | {"at": _AT_MS, "payload": payload})


def _proposal(brief: Brief) -> dict[str, object]:
    return {
        "operator": "improve",
        "proposer": "classic/local",
        "config": _config(brief),
        "source_sha256": brief.source_sha256,
        "source": None,
        "parent": _HASH,
        "inspirations": [],
        "title": "",
        "rationale": "",
    }


def _config(brief: Brief) -> Config:
    """The base config, by code points of the names. A choice's number is 0, for few readers of JSON tell 1 from 1.0;
    so is one that msgpack cannot hold.
    """

    def plain(name: str, value: Value) -> Value:
        if isinstance(value, (bool, str)):
            return value
        parameter = brief.space.parameters[name]
        if isinstance(parameter, FloatParameter):
            return float(value)
        return value if isinstance(parameter, IntParameter) and abs(value) < 2**53 else 0

    return {name: plain(name, brief.base_config[name]) for name in sorted(brief.base_config)}

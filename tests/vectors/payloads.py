"""Vectors of what records carry: briefs, findings, replays, keys; and payloads that say nothing, each for one reason.

Packed from plain maps, not from the models, so that a model cannot change them.
"""

import copy
from collections.abc import Callable
from typing import Any

import msgpack

from swarm.brief import brief_id
from swarm.space import config_key
from tests.vectors.records import records

Map = dict[str, Any]  # any shape: half of these are wrong on purpose

SOURCE = "print('train')\n"
SOURCE_SHA256 = "c7d9b938f2689ecd5aa95521611eaa67d8ea599095dac2d55c9e29b37d4def34"
BRIEF_TEXT = (
    '{"base_config":{"norm":"layernorm","width":64},"corpus":{"documents":3,'
    '"sealed":{"raw_bytes":1000,"sha256":"' + "0" * 64 + '","tokens":1000},'
    '"train":{"raw_bytes":1000,"sha256":"' + "1" * 64 + '","tokens":1000},'
    '"validation":{"raw_bytes":1000,"sha256":"' + "2" * 64 + '","tokens":1000}},'
    '"editable":{"train.py":"print(\'train\')\\n"},"goal":"Lower is better.","name":"small",'
    '"space":{"parameters":{"norm":{"kind":"choice","options":["layernorm","rmsnorm"]},'
    '"width":{"high":256,"kind":"int","log":true,"low":32}}}}'
)
TRACK = {"hardware_class": "cpu-x86_64-2", "budget_seconds": 120.0}


def trial(val_bpb: float | None = 2.5, **more: object) -> Map:
    outcome = "measured" if val_bpb is not None else "crashed"
    return {"outcome": outcome, "track": TRACK, "seed": 1, "seconds": 118.5, "val_bpb": val_bpb, **more}


def least() -> Map:
    """A finding with nothing that may be left out."""
    return {
        "number": 1,
        "started_at": "2026-01-01T00:00:00Z",
        "proposal": {
            "operator": "draft",
            "proposer": "baseline",
            "config": {"norm": "layernorm", "width": 64},
            "source_sha256": SOURCE_SHA256,
            "title": "the start",
        },
        "trials": [trial()],
        "verdict": {"decision": "keep", "noise_sd": 0.01},
    }


def full() -> Map:
    made = least()
    curve = [
        {"step": 1, "seconds": 0.5, "train_loss": 5.5, "progress": 0.0},
        {"step": 9, "seconds": 9, "train_loss": -1},
    ]
    made |= {
        "kind": "finding",
        "number": 7,
        "node_name": "Ada’s laptop",
        "started_at": "2026-01-01T00:00:00.123456789Z",
        "trials": [
            trial(2.4, steps=100, tokens=2**53 - 1, parameters=5, peak_memory_bytes=1, curve=curve),
            trial(2.41),
        ],
        "parent_trials": [trial(2.5, condition="contended", foreign_cores=1.5, reason="")],
        "later": {"a key of the future": [1, None]},
    }
    made["proposal"] |= {"operator": "tune", "proposer": "llm:small/one", "source": None, "parent": records()[0].id}
    made["proposal"] |= {"inspirations": [records()[1].id, records()[2].id], "rationale": "wider\nis better"}
    made["verdict"] |= {"effect": 0.095, "interval": 0.02, "p_better": 0.999, "noise_dof": 6, "simpler": True}
    made["verdict"] |= {"parent_scores": [2.5, 2.51]}
    return made


def crashed() -> Map:
    made = least()
    return made | {
        "trials": [trial(None, reason="RuntimeError: no such layer")],
        "verdict": {"decision": "discard", "noise_sd": 1},
    }


def replay(**more: object) -> Map:
    made = {"of": records()[0].id, "key": "ab" * 32, "started_at": "2026-01-01T00:00:00Z", "trial": trial()}
    return made | more


def finding_vectors() -> list[Map]:
    table = {"only what must be there": least(), "everything": full(), "a crash": crashed()}
    return [{"what": what, "fields": made, "payload": msgpack.packb(made).hex()} for what, made in table.items()]


def refused_verdict_vectors() -> list[Map]:
    changes: dict[str, tuple[str, object]] = {
        "noise 64": ("verdict.noise_sd", 64.0),
        "noise 1e-300": ("verdict.noise_sd", 1e-300),
        "worth a thousandth of a repeat": ("verdict.noise_dof", 1e-3),
        "worth 1e300 repeats": ("verdict.noise_dof", 1e300),
        "a score of the parent of 64": ("verdict.parent_scores", [64.0]),
        "a score of the parent of 0": ("verdict.parent_scores", [0.0]),
        "an effect of 1e308": ("verdict.effect", 1e308),
    }

    def whole() -> Map:
        made = least()
        made["verdict"] |= {"effect": 0.095, "interval": 0.02, "p_better": 0.999}
        return made

    return [{"what": what, "kind": "finding", "payload": _with(whole, *how).hex()} for what, how in changes.items()]


def replay_vectors() -> list[Map]:
    by_steps = replay(kind="replay", node_name="b", steps=50, curve_deviation=0.004, later=1)
    table = {
        "of the whole budget": replay(),
        "by steps": by_steps,
        "with nil": replay(steps=None, curve_deviation=None),
    }
    return [{"what": what, "fields": made, "payload": msgpack.packb(made).hex()} for what, made in table.items()]


def _with(make: Callable[[], Map], path: str, value: object) -> bytes:
    made = copy.deepcopy(make())
    at: Any = made
    *way, last = path.split(".")
    for name in way:
        at = at[int(name)] if name.isdigit() else at[name]
    at[last] = value
    return msgpack.packb(made)


def refused_payload_vectors() -> list[Map]:
    changes: dict[str, tuple[str, object]] = {
        "kind of another payload": ("kind", "replay"),
        "number 0": ("number", 0),
        "number 1.0": ("number", 1.0),
        "number true": ("number", True),
        "number as text": ("number", "1"),
        "node name of 41 characters": ("node_name", "n" * 41),
        "a date without a zone": ("started_at", "2026-01-01T00:00:00"),
        "a date in other digits": ("started_at", "٢٠٢٦-01-01T00:00:00Z"),
        "a date with a newline": ("started_at", "2026-01-01T00:00:00Z\n"),
        "no trial": ("trials", []),
        "33 trials": ("trials", [trial()] * 33),
        "trials on two tracks": ("trials", [trial(), trial(track=TRACK | {"budget_seconds": 60.0})]),
        "a curve of 41 points": ("trials.0.curve", [{"step": 1, "seconds": 1.0, "train_loss": 1.0}] * 41),
        "a train loss that is no number": ("trials.0.curve", [{"step": 1, "seconds": 1.0, "train_loss": float("nan")}]),
        "val_bpb infinite": ("trials.0.val_bpb", float("inf")),
        "val_bpb 0": ("trials.0.val_bpb", 0.0),
        "val_bpb 64": ("trials.0.val_bpb", 64.0),
        "measured without a number": ("trials.0.val_bpb", None),
        "crashed with a number": ("trials.0.outcome", "crashed"),
        "an outcome nobody knows": ("trials.0.outcome", "exploded"),
        "a condition nobody knows": ("trials.0.condition", "sunny"),
        "seed 2^53": ("trials.0.seed", 2**53),
        "steps -1": ("trials.0.steps", -1),
        "steps 2^53": ("trials.0.steps", 2**53),
        "budget 0": ("trials.0.track.budget_seconds", 0),
        "hardware class with a space": ("trials.0.track.hardware_class", "cpu 2"),
        "an operator nobody knows": ("proposal.operator", "guess"),
        "parent that is no id": ("proposal.parent", "the one before"),
        "17 inspirations": ("proposal.inspirations", [records()[0].id] * 17),
        "an inspiration that is no id": ("proposal.inspirations", ["\x1b[2J"]),
        "title of 121 characters": ("proposal.title", "t" * 121),
        "a setting that is an array": ("proposal.config", {"width": [64]}),
        "257 settings": ("proposal.config", {f"s{n}": n for n in range(257)}),
        "source of another hash": ("proposal.source", SOURCE + "#"),
        "bin instead of text": ("proposal.title", b"title"),
        "noise 0": ("verdict.noise_sd", 0.0),
        "an effect without its chance": ("verdict.effect", 0.1),
        "65 scores of the parent": ("verdict.parent_scores", [2.5] * 65),
        "a decision nobody knows": ("verdict.decision", "maybe"),
    }
    found = [{"what": what, "kind": "finding", "payload": _with(least, *how).hex()} for what, how in changes.items()]
    of_replays: dict[str, tuple[str, object]] = {
        "of what is no id": ("of", "7"),
        "key in capitals": ("key", "AB" * 32),
        "steps 0": ("steps", 0),
        "curve deviation below 0": ("curve_deviation", -0.1),
        "trial missing": ("trial", None),
    }
    found += [
        {"what": what, "kind": "replay", "payload": _with(replay, *how).hex()} for what, how in of_replays.items()
    ]
    raw = {
        "nothing": b"",
        "not msgpack": b"\xc1",
        "an array": b"\x90",
        "a byte after the map": msgpack.packb(least()) + b"\0",
        "cut short": msgpack.packb(least())[:-1],
        "1000 levels": b"\x91" * 1000 + b"\0",
        "an array that says it has 2^32 - 1 entries": b"\x81\xa1k\xdd\xff\xff\xff\xff",
    }
    found += [
        {"what": what, "kind": kind, "payload": data.hex()}
        for kind in ("finding", "replay")
        for what, data in raw.items()
    ]
    return [one | {"reason": "content"} for one in found]


def censored(**more: object) -> Map:
    """A finding whose only trial was stopped early."""
    made = least()
    stopped = trial(None) | {"outcome": "censored", "seconds": 41.5, "reason": "stopped early"} | more
    return made | {"trials": [stopped], "verdict": {"decision": "inconclusive", "noise_sd": 0.01}}


def censored_vectors() -> list[Map]:
    beside = censored(condition="contended")
    beside["trials"].append(trial(2.4))
    readable = {
        "stopped early: no number, and no failure": (censored(), "censored"),
        "stopped early beside other work, then measured": (beside, "measured"),
        "stopped early after a number": (least() | {"trials": [trial(2.4), censored()["trials"][0]]}, "censored"),
    }
    found: list[Map] = [
        {"what": what, "fields": made, "payload": msgpack.packb(made).hex(), "outcome": outcome, "reason": None}
        for what, (made, outcome) in readable.items()
    ]
    numbered = msgpack.packb(censored(val_bpb=2.5)).hex()
    return [*found, {"what": "stopped early with a number", "payload": numbered, "reason": "content"}]


def key_vectors() -> list[Map]:
    configs: list[Map] = [
        {},
        {"width": 64},
        {"width": 64.0},
        {"b": True, "a": False, "C": "text"},
        {"x": 0.0, "y": -0.0, "z": -2.5},
        {"a": 1e-4, "b": 9.9e-5, "c": 1e15, "d": 1e16, "e": 1.5e300, "f": 5e-324, "g": 0.1, "h": 123456.789},
        {"ä": "ü€😀", "quote": '"\\/', "control": "\n\t\x7f\x01"},
        {"\uffff": 1, "😀": 2},
        {"n": -5, "large": 2**53 - 1},
    ]
    return [
        {
            "config": msgpack.packb(config).hex(),
            "source_sha256": SOURCE_SHA256,
            "key": config_key(config, SOURCE_SHA256),
        }
        for config in configs
    ]


def brief_vectors() -> Map:
    return {"bytes": BRIEF_TEXT.encode().hex(), "id": brief_id(BRIEF_TEXT.encode()), "name": "small"}


VECTORS = {
    "brief.json": brief_vectors,
    "findings.json": finding_vectors,
    "replays.json": replay_vectors,
    "refused_payloads.json": refused_payload_vectors,
    "refused_verdicts.json": refused_verdict_vectors,
    "keys.json": key_vectors,
    "censored.json": censored_vectors,
}

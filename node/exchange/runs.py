"""A finding as any tracker of experiments sees one: a run with parameters, a curve and a few numbers.

Owns the common shape. Text from peers is cleaned here, once, for every tool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from node.report.run_words import run_folder, status
from node.text import clean
from swarm.finding import CurvePoint
from swarm.ledger import Entry, Ledger
from swarm.words import Outcome, SwarmError, Value, short


class ToolMissing(SwarmError):
    """The other tool's own library is not installed."""


@dataclass(frozen=True, slots=True)
class Run:
    name: str  # fit for a folder: author, number, title
    parameters: Mapping[str, Value]
    numbers: Mapping[str, float]  # of the whole run
    tags: Mapping[str, str]
    curve: Sequence[CurvePoint]
    steps: int
    started_at: float  # unix seconds, by its author's clock
    seconds: float
    measured: bool


def as_run(entry: Entry, ledger: Ledger, topic: str) -> Run:
    finding, proposal = entry.finding, entry.finding.proposal
    trial, parent = finding.trials[0], proposal.parent
    numbers = {"steps": trial.steps, "tokens": trial.tokens, "parameters": trial.parameters}
    numbers |= {"peak_memory_bytes": trial.peak_memory_bytes, "train_seconds": trial.seconds}
    measured = {"val_bpb": entry.val_bpb, "effect": finding.verdict.effect}
    tags = {
        "topic": topic,
        "finding": entry.id,
        "peer": entry.author,
        "node": clean(finding.node_name, 40),
        "number": str(finding.number),
        "title": clean(proposal.title, 120),
        "rationale": clean(proposal.rationale, 1000),
        "status": status(finding),
        "outcome": finding.outcome.value,
        "standing": ledger.standing(entry).value,
        "proposer": clean(proposal.proposer, 64),
        "parent": parent or "",
        "hardware_class": finding.track.hardware_class,
        "budget_seconds": f"{finding.track.budget_seconds:g}",
        "source_sha256": proposal.source_sha256,
    }
    return Run(
        name=f"{short(entry.author)}-{run_folder(finding).removeprefix('runs/')}",
        parameters={clean(key, 64): _plain(value) for key, value in proposal.config.items()},
        numbers={key: float(value) for key, value in (numbers | measured).items() if value is not None},
        tags={key: value for key, value in tags.items() if value},
        curve=trial.curve,
        steps=trial.steps,
        started_at=_started(finding.started_at, entry.at_ms / 1000),
        seconds=trial.seconds,
        measured=finding.outcome is Outcome.MEASURED,
    )


def _plain(value: Value) -> Value:
    return clean(value, 250) if isinstance(value, str) else value


def _started(text: str, otherwise: float) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return otherwise

"""What a node says while it works: one typed event per thing that happens. Screens and `--json` are made from these.

Owns the event types and the list of listeners. How an event looks is the screen's business.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from node.clock import rfc3339, wall_clock
from swarm.words import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    at: str = field(default_factory=lambda: rfc3339(wall_clock()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """One sentence a person should read once."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing(Event):
    """Set-up that takes a while: `done` of `total` units of `what`."""

    what: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Event):
    name: str
    peer_id: str
    topic: str
    brief_id: str
    hardware_class: str
    hardware: str
    sandbox: str  # what holds candidate code, in one line
    budget_s: float
    proposer: str
    home: str
    results_repository: str
    branch: str
    findings: int  # own findings from earlier starts
    dashboard: str | None = None  # where the page to browse is; without the token it may ask for


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening(Event):
    addresses: tuple[str, ...]
    ticket: str  # not in JSON if private: lines of JSON end in log files
    port: int | None
    private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStarted(Event):
    number: int
    title: str
    operator: str
    proposer: str
    parent: str | None
    inspirations: tuple[str, ...]
    budget_s: float
    side: str = "candidate"  # or "parent": the parent is run again, to compare with
    turn: int = 1  # which trial of this run


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialProgress(Event):
    number: int
    step: int
    seconds: float
    budget_s: float
    tokens: int
    train_loss: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluating(Event):
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRecorded(Event):
    """One of ours, committed and in the journal."""

    id: str
    number: int
    title: str
    outcome: str
    verdict: str
    val_bpb: float | None
    effect: float | None
    best_val_bpb: float | None
    is_best: bool
    seconds: float
    commit: str
    reason: str
    interval: float | None = None  # half width of the effect's 95 % interval
    trials: int = 1  # of the run and of its parent


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingReceived(Event):
    """A peer's, checked and in the journal."""

    id: str
    peer: str
    name: str
    number: int
    title: str
    outcome: str
    val_bpb: float | None
    hardware_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRefused(Event):
    """An idea that costs no trial. `sent_back`: who had it is told why, once."""

    stage: str  # smoke, command, merge or moved: where it failed
    proposer: str
    title: str
    reason: str
    sent_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersChanged(Event):
    peers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAsked(Event):
    """A language model was asked for an experiment, or a direction."""

    by: str  # "llm:config", "llm:code", "director"; "check": whether it answers at all
    outcome: str  # "answered", or why there is no answer: "unreachable", "refused" ...
    calls: int  # questions that were answered for it, a repair round too
    tokens_in: int
    tokens_out: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    reason: str
    experiments: int
    best_val_bpb: float | None
    training_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Steered(Event):
    """The node's owner has changed program.md or what is pinned and banned; it counts from the next proposal on."""

    pin: dict[str, Value]
    ban: tuple[str, ...]
    ban_values: dict[str, list[Value]]
    program_edited: bool  # it is not the brief's goal any more
    words: str  # 'pinned depth = 4; banned rope'


Listener = Callable[[Event], None]


def event_json(event: Event) -> dict[str, Any]:
    """{"event": "trial_started", "at": ..., ...}: what `--json` prints, one object per line."""
    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(event).__name__).lstrip("_")
    fields = dataclasses.asdict(event)
    if isinstance(event, Listening) and event.private:
        fields["ticket"] = None
    return {"event": name, **fields}


class Events:
    """Where events go. Listeners are called in order, at once; they must be quick and must not raise."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener, *, first: bool = False) -> None:
        """`first`: before all others, for who must have written something down before anybody hears of it."""
        self._listeners.insert(0 if first else len(self._listeners), listener)

    def emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def notice(self, text: str, *, warning: bool = False) -> None:
        self.emit(Notice(text=text, warning=warning))

"""What a running node says of itself on disk, so that `swarm status` needs no connection to it.

Owns the state file and the share of wall time spent training. Facts come in as events.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import trio

from node.clock import rfc3339, wall_clock
from node.events import (
    Evaluating,
    Event,
    FindingRecorded,
    Listening,
    ModelAsked,
    NodeStarted,
    Notice,
    PeersChanged,
    ProposalRefused,
    Stopped,
    TrialProgress,
    TrialStarted,
)
from node.home import Home

OUTLIVE = ("port", "dashboard", "brief_id", "name", "topic")
NOTICES = 30  # the latest sentences that stay in the file
CURVE_POINTS = 240  # of the trial under way; about the pixels a small picture has across
WRITE_SECONDS = 1.0  # at most this often; a status that is a second old is fresh enough


class TrainingShare:
    """Share of wall time in which a trial was training, from the first hand-over on: set-up does not count."""

    def __init__(self, now: Callable[[], float] = trio.current_time) -> None:
        self._now = now
        self._first: float | None = None
        self._last = 0.0
        self._training_s = 0.0
        self._running_since: float | None = None

    def trial_begins(self) -> None:
        self._running_since = self._now()
        if self._first is None:
            self._first = self._running_since

    def trial_trained(self) -> None:
        """Training is over; evaluation and recording follow and do not count."""
        if self._running_since is not None:
            self._last = self._now()
            self._training_s += self._last - self._running_since
            self._running_since = None

    def trial_ends(self) -> None:
        self.trial_trained()
        self._last = self._now()

    def value(self) -> float | None:
        """Between 0 and 1; None before the first trial."""
        if self._first is None:
            return None
        training, until = self._training_s, self._last
        if self._running_since is not None:
            until = self._now()
            training += until - self._running_since
        return round(training / (until - self._first), 4) if until > self._first else None


class StateFile:
    """Keeps the state file true while the node runs."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._share = TrainingShare()
        # Any: JSON. These outlive a start that never came to listen: tickets and bookmarks that people hold name them,
        # and files of the home are those of the topic that was last begun.
        self._state: dict[str, Any] = {k: v for k, v in home.read_state().items() if k in OUTLIVE}
        self._dirty = trio.Event()

    @property
    def training_share(self) -> float | None:
        return self._share.value()

    def begin(self, brief_id: str) -> None:
        """The home's files are those of this brief from here on, whatever becomes of the start."""
        self._state["brief_id"] = brief_id
        self.write()

    def facts(self) -> dict[str, Any]:
        """What is written, as of now."""
        return self._state | {"training_share": self._share.value()}

    def hear(self, event: Event) -> None:
        match event:
            case NodeStarted():
                self._state |= {
                    "name": event.name,
                    "peer_id": event.peer_id,
                    "topic": event.topic,
                    "brief_id": event.brief_id,
                    "hardware_class": event.hardware_class,
                    "sandbox": event.sandbox,
                    "budget_s": event.budget_s,
                    "proposer": event.proposer,
                    "started_at": event.at,
                    "dashboard": event.dashboard or self._state.get("dashboard"),
                    "peers": [],
                    "refused_proposals": {},
                    "current": None,
                    "notices": [],
                    "model_questions": {},
                }
            case Listening():
                self._state |= {"addresses": list(event.addresses), "ticket": event.ticket, "port": event.port}
            case PeersChanged():
                self._state["peers"] = list(event.peers)
            case ProposalRefused():
                counted: dict[str, int] = self._state.get("refused_proposals", {})
                self._state["refused_proposals"] = counted | {event.stage: counted.get(event.stage, 0) + 1}
            case TrialStarted():
                self._share.trial_begins()
                self._state["current"] = {
                    "number": event.number,
                    "title": event.title,
                    "started_at": event.at,
                    "budget_s": event.budget_s,
                    "side": event.side,
                    "turn": event.turn,
                    "evaluating": False,
                    "curve": [],
                }
            case TrialProgress():
                current: dict[str, Any] = self._state.get("current") or {}
                self._state["current"] = current | {
                    "seconds": round(event.seconds, 1),
                    "train_loss": event.train_loss,
                    "tokens_per_second": event.tokens_per_second,
                    "curve": _thinned([*current.get("curve", ()), [round(event.seconds, 2), event.train_loss]]),
                }
                self._dirty.set()  # comes often: written within a second
                return
            case ModelAsked():
                counts: dict[str, int] = self._state.get("model_questions") or {}
                self._state["model_questions"] = counts | {event.outcome: counts.get(event.outcome, 0) + 1}
            case Evaluating():
                self._share.trial_trained()
                self._state["current"] = (self._state.get("current") or {}) | {"evaluating": True}
            case Notice():
                said: list[dict[str, Any]] = [*self._state.get("notices", ())]
                said.append({"at": event.at, "text": event.text, "warning": event.warning})
                self._state["notices"] = said[-NOTICES:]
                self._dirty.set()
                return
            case FindingRecorded():
                self._share.trial_ends()
                self._state["current"] = None
            case Stopped():
                self._state["current"] = None
            case _:
                return
        self.write()

    def write(self) -> None:
        """A full disk makes the status old, nothing worse."""
        self._state |= {"training_share": self._share.value(), "updated_at": rfc3339(wall_clock())}
        with contextlib.suppress(OSError):
            self._home.write_state(self._state)

    async def run(self) -> None:
        """Write what comes too often to be written each time."""
        while True:
            await self._dirty.wait()
            self._dirty = trio.Event()
            self.write()
            await trio.sleep(WRITE_SECONDS)


def _thinned(curve: list[list[float]]) -> list[list[float]]:
    """Every second point, once there are too many."""
    return curve if len(curve) <= CURVE_POINTS else [*curve[::2], *curve[-1:]]

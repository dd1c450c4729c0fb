"""Trials that are not run: they take their virtual time and come to what the landscape says. And recording without git.

Owns the stand-ins for a real node's trainer and results repository; everything around them is the real thing.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import cast

import trio

from gossip.envelope import Record
from node.events import Events
from node.notebook import Notebook
from node.proposers.spending import Usage
from node.recording import Recorder
from node.research import SHARED_POINTS
from node.results.repository import Results
from node.room import Room
from node.simulation.landscape import Landscape
from node.trials.trainer import Job, TrialReport, Watcher
from swarm.ledger import Entry
from swarm.trial import CurvePoint, Trial
from swarm.words import Config, Outcome

MEASURE_SECONDS = 3.0  # after training; docs/log.md has 2 to 6
COMMIT_SECONDS = 0.5
_BEGINS_AT = math.log(256)  # nats per token, of a model that knows nothing
_SHARE_USED = {Outcome.MEASURED: 1.0, Outcome.TIMED_OUT: 1.05, Outcome.DIVERGED: 0.3, Outcome.OUT_OF_MEMORY: 0.05}

Say = Callable[[Config, float], float]
"""What a node says a trial came to, given what it came to."""


def honestly(_config: Config, bpb: float) -> float:
    return bpb


class SimulatedTrainer:
    """`speed`: of the machine, see Landscape. `say`: honest, or not."""

    def __init__(self, landscape: Landscape, speed: float, say: Say = honestly) -> None:
        self._landscape, self._speed, self._say = landscape, speed, say

    async def run(self) -> None:
        await trio.sleep_forever()

    async def smoke(self, job: Job) -> str:  # noqa: ARG002 - no landscape knows of code
        await trio.lowlevel.checkpoint()
        return ""

    async def train(self, job: Job, watcher: Watcher) -> TrialReport:
        outcome, bpb = self._landscape.draw(job.config, job.seed, self._speed)
        seconds = job.track.budget_seconds * _SHARE_USED.get(outcome, 0.5)
        watcher.training()
        await trio.sleep(seconds)
        watcher.trained()
        if bpb is not None:
            await trio.sleep(MEASURE_SECONDS)
            bpb = self._say(job.config, bpb)
        trial = Trial(
            outcome=outcome,
            track=job.track,
            seed=job.seed,
            seconds=seconds,
            val_bpb=bpb,
            steps=int(10 * seconds),
            tokens=int(20_000 * seconds),
            curve=() if bpb is None else _curve(bpb, seconds),
            reason="" if bpb is not None else f"simulated: {outcome.value}",
        )
        return TrialReport(trial, trial.curve, "", seconds)


def _curve(bpb: float, seconds: float) -> tuple[CurvePoint, ...]:
    """So many points as a record has; of no real run."""
    ends_at = bpb * math.log(2)
    return tuple(
        CurvePoint(
            step=int(10 * seconds * at),
            seconds=round(seconds * at, 3),
            train_loss=ends_at + (_BEGINS_AT - ends_at) * math.exp(-5.0 * at),
            progress=at,
        )
        for at in ((n + 1) / SHARED_POINTS for n in range(SHARED_POINTS))
    )


class SimulatedRecorder(Recorder):
    """The real recorder, whose commits are made nowhere."""

    def __init__(self, notebook: Notebook, room: Room, events: Events) -> None:
        super().__init__(notebook, cast("Results", None), room, events)  # nothing below asks it anything

    async def _commit(self, sealed: Record, reports: Sequence[TrialReport], usage: Usage | None) -> str:  # noqa: ARG002 - nothing is drawn
        await trio.sleep(COMMIT_SECONDS)
        return hashlib.sha1(sealed.frame, usedforsecurity=False).hexdigest()

    async def _keep_tidy(self, entry: Entry) -> None:  # noqa: ARG002 - nothing to tidy
        await trio.lowlevel.checkpoint()

"""Runs findings again and records what came of it, alone or between the experiments of a running node.

Owns the way from a request to a replay in the journal. What is run is plan's, where it runs is the trainer's, and what
replays say about a finding is the ledger's.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from node.clock import rfc3339, wall_clock
from node.events import Events
from node.journal import JournalError
from node.notebook import Notebook
from node.proposers.peer_code import carries_peer_code
from node.replays.agreement import agreement, bounded, sentence
from node.replays.plan import Bench, called, plan
from node.replays.request import ReplayRefused, ReplayRequest, ReplayRequests
from node.room import Room
from node.sandbox.confinement import Confinement
from node.sandbox.policy import Author, may_run
from node.text import clean
from node.trials.output import coarse
from node.trials.trainer import Job, Progress, Trainer, TrialReport, Watcher
from swarm.ledger import Entry, ReplayEntry
from swarm.replay import Replay, curve_deviation
from swarm.trial import CurvePoint, Trial
from swarm.words import Outcome, PeerId


@dataclass
class Unwatched:
    """A watcher that tells nobody."""

    def training(self) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def trained(self) -> None: ...


class Replayer:
    """One node's replays. `run_one` is one of them; `do_waiting` does those that were asked for while the node runs."""

    def __init__(
        self,
        name: str,
        notebook: Notebook,
        hardware_class: str,
        confinement: Confinement,
        requests: ReplayRequests,
        room: Room,
        events: Events,
        rng: random.Random | None = None,
    ) -> None:
        self._name, self._notebook, self._requests, self._room, self._events = name, notebook, requests, room, events
        self._bench = Bench(notebook.me, notebook.brief, hardware_class, confinement)
        self._rng = rng or random.SystemRandom()

    async def do_waiting(self, trainer: Trainer) -> None:
        """All requests that wait, oldest first, between two experiments. What cannot be done is refused, with why."""
        while (taken := self.take()) is not None:
            path, request = taken
            try:
                await self.run_one(request, trainer)
            except ReplayRefused as refused:
                self._events.notice(f"a replay was asked for and refused: {refused}", warning=True)
                self._requests.refuse(path, request, str(refused))
            except BaseException:  # stopped: the next start, or who asked, does it
                self._requests.put_back(path)
                raise
            else:
                self._requests.done(path)

    def take(self) -> tuple[Path, ReplayRequest] | None:
        return self._requests.take()

    def plan(self, request: ReplayRequest) -> tuple[Entry, Job]:
        """Raises ReplayRefused."""
        entry = self._notebook.ledger.get(request.finding)
        if request.brief != self._notebook.journal.brief or entry is None:
            raise ReplayRefused(f"finding {request.finding[:12]} is not of the topic this node works on")
        self._check_author(entry)
        return entry, plan(self._bench, entry, request.steps, self._rng)

    def _check_author(self, entry: Entry) -> None:
        """A finding of ours may have a peer's code in it; --unsafe opens no door to that. Raises ReplayRefused."""
        confinement, notebook = self._bench.confinement, self._notebook
        if may_run(Author.PEER, confinement.backend, unsafe=confinement.unsafe):
            return
        if carries_peer_code(entry.finding.proposal, notebook.brief.source_sha256, notebook.ledger.get):
            raise ReplayRefused(
                f"{called(notebook.me, entry)} has a peer's code in it, and no sandbox works here that could hold it; "
                "`swarm doctor` says what to do"
            )

    async def run_one(self, request: ReplayRequest, trainer: Trainer, watcher: Watcher | None = None) -> ReplayEntry:
        """Run it and record it. Cancelled before its end it records nothing. Raises ReplayRefused."""
        entry, job = self.plan(request)
        name = _named(self._notebook.me, entry)
        self._events.notice(f"replaying {name}, {_extent(job)}")
        started_at = rfc3339(wall_clock())
        report = await self._train(trainer, job, watcher or Unwatched())
        replay = Replay(
            of=entry.id,
            key=entry.key,
            node_name=self._name,
            started_at=started_at,
            trial=_kept(report, job),
            steps=job.max_steps,
            curve_deviation=_deviation(entry, report, job),
        )
        made = await self._record(replay)
        ledger, brief = self._notebook.ledger, self._notebook.brief
        found = agreement(ledger, brief.acceptance, entry, made)
        said = sentence(entry, made, found, ledger.standing(entry))
        self._events.notice(f"replayed {name}: {said}")
        return made

    async def _train(self, trainer: Trainer, job: Job, watcher: Watcher) -> TrialReport:
        """A bad ending on a full disk says nothing about the finding: it is run again, with room."""
        while True:
            await self._room.wait()
            report = await trainer.train(job, watcher)
            if report.trial.outcome is Outcome.MEASURED or self._room.lacking() is None:
                return report

    async def _record(self, replay: Replay) -> ReplayEntry:
        async with self._notebook.log_turn:
            while True:
                try:
                    return self._notebook.append_replay(replay)
                except JournalError:
                    if self._room.lacking() is None:
                        raise
                await self._room.wait()


def _named(me: PeerId, entry: Entry) -> str:
    title = clean(entry.finding.proposal.title, 120)
    return f"{called(me, entry)}: {title}" if title else called(me, entry)


def _extent(job: Job) -> str:
    return f"{job.track.budget_seconds:g} s" if job.max_steps is None else f"its first {job.max_steps} steps"


def _compared(curve: tuple[CurvePoint, ...], job: Job) -> tuple[CurvePoint, ...]:
    """Of a replay by steps: the points at which the first run reported, and which were asked for."""
    wanted = {step for step, _ in job.pace if job.max_steps is not None and 0 < step <= job.max_steps}
    found = {point.step: point for point in curve if point.step in wanted}
    return coarse(tuple(found[step] for step in sorted(found)))


def _kept(report: TrialReport, job: Job) -> Trial:
    """What the record says of the trial: by steps, the points that any reader can compare."""
    if job.max_steps is None:
        return report.trial.model_copy(update={"curve": coarse(report.trial.curve)})
    return report.trial.model_copy(update={"curve": _compared(report.curve, job)})


def _deviation(entry: Entry, report: TrialReport, job: Job) -> float | None:
    """Of a replay by steps; the other kind's pace is the machine's own."""
    if job.max_steps is None:
        return None
    apart = curve_deviation(coarse(entry.finding.trials[0].curve), _compared(report.curve, job))
    return None if apart is None else bounded(apart)

"""The loop: baseline → drain inspirations → hypothesize → train → record → share → repeat.

Owns the order of the steps and when to stop. Each step is somebody else's: `Hypotheses` drains and hypothesizes while a
trial trains, a trainer trains, results and notebook record, and gossip shares what the notebook announces.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from node.clock import rfc3339, wall_clock
from node.early_stopping import rule_for
from node.events import Evaluating, Events, FindingRecorded, TrialProgress, TrialStarted
from node.hypothesis import Hypotheses, trial_seed
from node.journal import JournalError
from node.notebook import Notebook
from node.recording import Recorder
from node.replays.replayer import Replayer
from node.room import Room
from node.sealed import sealed_score
from node.trials.early_stop import StopRule
from node.trials.output import coarse, thin
from node.trials.trainer import Job, Progress, Trainer, TrialReport
from swarm.comparison import Comparison
from swarm.finding import Finding, Proposal
from swarm.ledger import Entry
from swarm.trial import Track, Trial
from swarm.verdict import Side
from swarm.words import BriefId, Decision, Outcome, SwarmError

LAST_WORDS_SECONDS = 5.0  # to record an experiment that is stopped between its trials; a guess
SHARED_POINTS = 16  # of a trial's curve; half as many of a repeat's. 40 made half of a large swarm's traffic (measured)
MAX_FAILED_BASELINES = 3  # a brief whose own start does not run here is not worth a night


class BaselineFailed(SwarmError):
    """The brief's own start could not be measured on this machine."""


@dataclass
class Lab:
    """What the loop works with."""

    name: str
    track: Track
    notebook: Notebook
    hypotheses: Hypotheses
    recorder: Recorder
    room: Room
    events: Events
    replays: Replayer
    reason_to_stop: Callable[[int], str | None]  # experiments done so far -> why to stop, or None
    experiments: int = 0
    failed_baselines: int = 0
    stops_early: bool = False  # trials whose curve is hopeless
    in_flight: set[int] = field(default_factory=set[int])


async def research(lab: Lab, trainer: Trainer) -> str:
    """Work until there is a reason to stop, and return it. One call is one worker; several may share a lab."""
    async with trio.open_nursery() as nursery:
        while (reason := lab.reason_to_stop(lab.experiments)) is None:
            await lab.replays.do_waiting(trainer)  # that a person has asked for
            proposal = await lab.hypotheses.take(partial(smoke, lab, trainer))  # the baseline first
            nursery.start_soon(lab.hypotheses.prepare)  # drain and hypothesize, while this one trains
            check_baseline(lab, await experiment(lab, trainer, proposal))
        nursery.cancel_scope.cancel()  # a hypothesis nobody will test
    return reason


def allocate_number(lab: Lab) -> int:
    number = lab.notebook.next_number()
    while number in lab.in_flight:
        number += 1
    lab.in_flight.add(number)
    return number


async def experiment(lab: Lab, trainer: Trainer, proposal: Proposal) -> Entry:
    """Trials until there is a verdict, and the finding recorded. Who stops it in between loses the last trial only."""
    number, started_at = allocate_number(lab), rfc3339(wall_clock())
    comparison = Comparison(proposal, lab.notebook.brief, lab.notebook.ledger, lab.notebook.me, lab.track)
    reports: list[TrialReport] = []
    try:
        try:
            while (side := comparison.next_side()) is not None:
                lab.hypotheses.claims.begin(proposal)  # again, if this trial lasts longer than what was claimed
                report = await train(lab, trainer, Run(proposal, comparison.parent, number, side, len(reports) + 1))
                comparison.add(side, report.trial)
                reports.append(report)
        except trio.Cancelled:
            with trio.move_on_after(LAST_WORDS_SECONDS, shield=True):
                if reports:
                    await record(lab, proposal, comparison, reports, number, started_at)
            raise
        return await record(lab, proposal, comparison, reports, number, started_at)
    finally:
        lab.in_flight.discard(number)
        lab.hypotheses.claims.leave(proposal)


@dataclass(frozen=True)
class Run:
    """One trial of an experiment: of the proposal itself, or of its parent again."""

    proposal: Proposal
    parent: Proposal | None
    number: int
    side: Side
    turn: int  # from 1; several seeds of both sides may be needed

    @property
    def what(self) -> Proposal:
        return self.proposal if self.side is Side.CANDIDATE or self.parent is None else self.parent


async def train(lab: Lab, trainer: Trainer, run: Run) -> TrialReport:
    """One trial, watched. A bad ending on a full disk says nothing about the idea: it is run again, with room."""
    job = Job(
        source=run.what.source if run.what.source is not None else lab.notebook.brief.source,
        config=dict(run.what.config),
        seed=trial_seed(lab.notebook.me, run.number, run.turn),
        track=lab.track,
        milestone_below=milestone_below(lab) if run.side is Side.CANDIDATE else None,
        early_stop=early_stop(lab, run),
    )
    while True:
        await lab.room.wait()
        report = await trainer.train(job, Watch(lab, run))
        if report.trial.outcome in (Outcome.MEASURED, Outcome.CENSORED) or lab.room.lacking() is None:
            return report


def early_stop(lab: Lab, run: Run) -> StopRule | None:
    """By which curves a trial may be given up: only the first of a proposal, never one that is repeated."""
    if not lab.stops_early or run.side is not Side.CANDIDATE or run.turn > 1:
        return None
    return rule_for(lab.notebook.ledger, lab.notebook.me, lab.track, run.proposal)


async def smoke(lab: Lab, trainer: Trainer, proposal: Proposal) -> str:
    """Why a proposal is not worth a trial, as far as seconds can tell; empty when nothing speaks against it."""
    job = Job(
        source=proposal.source if proposal.source is not None else lab.notebook.brief.source,
        config=dict(proposal.config),
        seed=0,
        track=lab.track,
    )
    while True:  # as with a trial: a full disk is nobody's idea
        await lab.room.wait()
        told = await trainer.smoke(job)
        if not told or lab.room.lacking() is None:
            return told


def milestone_below(lab: Lab) -> float:
    """What a trial has to beat to be scored on the sealed shard, too: where the branch stands."""
    best = lab.notebook.ledger.branch_best(lab.notebook.me, lab.track)
    return math.inf if best is None or best.val_bpb is None else best.val_bpb


@dataclass
class Watch:
    """Tells what happens to one trial."""

    lab: Lab
    run: Run

    def training(self) -> None:
        run, proposal = self.run, self.run.proposal
        self.lab.events.emit(
            TrialStarted(
                number=run.number,
                side=run.side,
                turn=run.turn,
                title=proposal.title,
                operator=proposal.operator,
                proposer=proposal.proposer,
                parent=proposal.parent,
                inspirations=proposal.inspirations,
                budget_s=self.lab.track.budget_seconds,
            )
        )

    def progress(self, progress: Progress) -> None:
        self.lab.events.emit(
            TrialProgress(
                number=self.run.number,
                step=progress.step,
                seconds=progress.seconds,
                budget_s=progress.budget_seconds,
                tokens=progress.tokens,
                train_loss=progress.train_loss,
                tokens_per_second=progress.tokens_per_second,
            )
        )

    def trained(self) -> None:
        self.lab.events.emit(Evaluating(number=self.run.number))


async def record(
    lab: Lab, proposal: Proposal, comparison: Comparison, reports: list[TrialReport], number: int, started_at: str
) -> Entry:
    """Verdict, commit, journal; the journal tells gossip, which shares. Nothing is lost if the node dies in between."""
    finding = Finding(
        number=number,
        node_name=lab.name,
        started_at=started_at,
        proposal=proposal,
        trials=for_everybody(comparison.trials),
        parent_trials=for_everybody(comparison.parent_trials),
        verdict=comparison.verdict(),
    )
    entry, commit = await lab.recorder.record(finding, reports)
    lab.experiments += 1
    remember_sealed(lab, entry, reports)
    lab.hypotheses.gradients.note(entry.id, reports[0].gradients)
    best = lab.notebook.ledger.branch_best(lab.notebook.me, lab.track)
    lab.events.emit(
        FindingRecorded(
            id=entry.id,
            number=number,
            title=proposal.title,
            outcome=finding.outcome,
            verdict=finding.verdict.decision,
            val_bpb=entry.val_bpb,
            effect=finding.verdict.effect,
            interval=finding.verdict.interval,
            trials=len(reports),
            best_val_bpb=best.val_bpb if best else None,
            is_best=best is not None and best.id == entry.id,
            seconds=sum(report.trial.seconds for report in reports),
            commit=commit,
            reason=finding.reason,
        )
    )
    return entry


def for_everybody(trials: tuple[Trial, ...]) -> tuple[Trial, ...]:
    """Trials as a record has them: every node carries it, and curves are most of it. The run folder has all points."""
    points = (SHARED_POINTS, *(SHARED_POINTS // 2 for _ in trials[1:]))
    return tuple(t.model_copy(update={"curve": coarse(thin(t.curve, n))}) for t, n in zip(trials, points, strict=False))


def remember_sealed(lab: Lab, entry: Entry, reports: list[TrialReport]) -> None:
    """What a milestone scored on the sealed shard stays in this home. It decides nothing."""
    if entry.finding.verdict.decision is not Decision.KEEP:
        return
    pairs = [
        (r.trial.val_bpb, r.sealed_bpb) for r in reports if r.trial.val_bpb is not None and r.sealed_bpb is not None
    ]
    score = sealed_score(entry.id, BriefId(lab.notebook.journal.brief), lab.track, pairs, wall_clock())
    if score is None:
        return
    try:
        lab.notebook.journal.journal.remember_sealed(score)
    except JournalError as error:
        lab.events.notice(f"a milestone's sealed score is not kept: {error}", warning=True)


def check_baseline(lab: Lab, entry: Entry) -> None:
    """Give up in one sentence when the brief's own start does not run here, again and again."""
    if entry.finding.proposal.parent is not None or entry.outcome is Outcome.MEASURED:
        return
    lab.failed_baselines += 1
    if lab.failed_baselines >= MAX_FAILED_BASELINES:
        finding, topic = entry.finding, lab.notebook.brief.name
        raise BaselineFailed(
            f"the baseline of topic {topic} ended {finding.outcome} {lab.failed_baselines} times "
            f"({finding.reason or 'no reason given'}); give it a longer --budget or mend its train.py"
        )

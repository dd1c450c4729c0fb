"""`swarm replay`: run anybody's finding again and say whether it comes to the same."""

import os
import signal
import sys
from functools import partial
from typing import Any, TextIO, cast

import click
import trio

from node.cli.look import bpb, print_json
from node.cli.options import home_option, json_option
from node.cli.paper import print_fact
from node.events import Event, Events, Notice, Preparing
from node.home import Home
from node.replays import asking
from node.replays.alone import expected_failure
from node.text import clean
from node.trials.trainer import Job, Progress
from node.views import Json
from swarm.replay import MAX_CURVE_DEVIATION
from swarm.words import Outcome


@click.command()
@click.argument("finding")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="K",
    help="Only the first K steps, with the seed and at the pace of the first run: compares the loss curve.",
)
@home_option
@click.option(
    "--topic",
    metavar="REF",
    default=None,
    help="Another topic of this home than the one last worked on; or its topic file, if its text is gone.",
)
@json_option
def replay(home: Home, topic: str | None, finding: str, steps: int | None, as_json: bool) -> None:
    """Run a FINDING again, one's own (by run number) or anybody's (by the beginning of its id), and record the result.

    Source, config and budget come from its record; the seed is a fresh one. A running node does it after its
    current experiment.
    """
    asked = asking.ask(home, topic, finding, steps)
    line = ProgressLine(sys.stderr, asked.name, shown=not as_json and sys.stderr.isatty())
    try:
        stopped = trio.run(_replay_until_stopped, asked, line, not as_json)
    finally:
        line.clear()
    if stopped:
        click.echo(stopped, err=True)
        raise click.Abort
    facts = asking.outcome(asked)
    if as_json:
        print_json(facts)
    else:
        print_replay(asked, facts)


async def _replay_until_stopped(asked: asking.Asked, line: "ProgressLine", talkative: bool) -> str:
    """Empty when it was done; else what became of it. Raises SwarmError or GossipError."""
    try:
        return await _replay(asked, line, talkative)
    except BaseExceptionGroup as group:
        raise expected_failure(group) from None


async def _replay(asked: asking.Asked, line: "ProgressLine", talkative: bool) -> str:
    queued = False

    def wait(state: Json) -> None:
        nonlocal queued
        queued = True
        if talkative:
            click.echo(waiting_words(asked, state))

    events = Events()
    events.listen(partial(_show, line))
    async with trio.open_nursery() as nursery:
        work = trio.CancelScope()
        nursery.start_soon(_stop_on_signal, work)
        with work:
            here, job = await asking.look(asked)
            if talkative:
                click.echo(f"replaying {asked.name}: {titled(asked)}, {extent(job)}")
            line.job = job
            await asking.replay(asked, here, events, line, wait)
        nursery.cancel_scope.cancel()
    if not work.cancelled_caught:
        return ""
    if queued:
        return "stopped waiting; the request stays, and the node does it after its current experiment"
    return "stopped; nothing was recorded"


async def _stop_on_signal(work: trio.CancelScope) -> None:
    """The first signal stops cleanly, a second one at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if work.cancel_called:
                os._exit(130)
            work.cancel()


def _show(line: "ProgressLine", event: Event) -> None:
    match event:
        case Preparing():
            line.write(f"{event.what} ...")
        case Notice() if event.warning:
            line.clear()
            click.echo(f"warning: {event.text}", err=True)
        case _:
            pass


class ProgressLine:
    """Where a replay stands, on one line of a terminal that is written over. Also the trainer's watcher."""

    def __init__(self, out: TextIO, name: str, *, shown: bool) -> None:
        self._out, self._name, self._shown = out, name, shown
        self._written = False
        self.job: Job | None = None  # once it is known

    def training(self) -> None:
        self.write("starting")

    def progress(self, progress: Progress) -> None:
        step, loss = progress.step, f"loss {progress.train_loss:.3f}"
        if self.job is not None and self.job.max_steps is not None:
            self.write(f"step {step} of {self.job.max_steps}, {loss}")
        else:
            self.write(f"{max(0.0, progress.budget_seconds - progress.seconds):.0f} s left, step {step}, {loss}")

    def trained(self) -> None:
        self.write("evaluating")

    def write(self, text: str) -> None:
        if self._shown:
            self._written = True
            click.echo(f"\r\x1b[2K{self._name}   {clean(text, 100)}", file=self._out, nl=False)

    def clear(self) -> None:
        if self._written:
            self._written = False
            click.echo("\r\x1b[2K", file=self._out, nl=False)


def waiting_words(asked: asking.Asked, state: dict[str, Any]) -> str:
    current = cast("dict[str, Any]", state.get("current") or {})  # Any: JSON of the node's own making
    doing = f", #{current['number']} {clean(str(current.get('title')), 80)}" if "number" in current else ""
    return (
        f"the node that runs in {asked.home.path} does it after its current experiment{doing}; waiting for its record "
        "(Ctrl-C leaves the request queued)"
    )


def titled(asked: asking.Asked) -> str:
    return clean(asked.entry.finding.proposal.title, 120)


def extent(job: Job) -> str:
    if job.max_steps is not None:
        return f"its first {job.max_steps} steps with its own seed"
    return f"{job.track.budget_seconds:g} s with a fresh seed"


def print_replay(asked: asking.Asked, facts: Json) -> None:
    one = facts["replay"]
    print_fact("replayed", f"{asked.name}: {titled(asked)}")
    if one["steps"] is None:
        print_fact("score", score_words(one))
    print_fact("loss curve", curve_words(one))
    if one["hardware_class"] != asked.entry.track.hardware_class:
        print_fact("classes", f"{one['hardware_class']} here, {asked.entry.track.hardware_class} there: only "
                   "the curves compare")  # fmt: skip
    if one["condition"] != "steady":
        print_fact("machine", f"{one['condition']} meanwhile: the score does not count as evidence")
    before, after, score = facts["standing_before"], facts["standing"], facts["score"]
    print_fact("standing", after if before == after else f"{before} → {after}")
    if score and asked.me == asked.entry.author and one["steps"] is None:
        print_fact("mean", f"{bpb(score['mean'])} ±{score['interval']:.4f} over {score['trials']} trials of this node")
    print_fact("record", one["id"])


def score_words(one: Json) -> str:
    if one["agrees"] is not None:
        word = "agrees" if one["agrees"] else "does not agree"
        trials = "1 trial" if one["claimed_trials"] == 1 else f"{one['claimed_trials']} trials"
        return (
            f"{word}: {bpb(one['val_bpb'])} against {bpb(one['claimed'])} claimed ({trials}), "
            f"{one['difference']:+.4f} apart, ±{one['allowed']:.4f} allowed"
        )
    reason = f" ({one['reason']})" if one["reason"] else ""
    number = f" {bpb(one['val_bpb'])}" if one["val_bpb"] is not None else ""
    ended = f"{one['outcome']}{number}{reason}"
    if one["outcome_agrees"] is None:
        return ended
    claim = f"measured {bpb(one['claimed'])}" if one["claimed"] is not None else "no number"
    return f"agrees: {ended}, as claimed" if one["outcome_agrees"] else f"does not agree: {ended}; claimed: {claim}"


def curve_words(one: Json) -> str:
    apart = one["curve_deviation"]
    if one["steps"] is None:
        return (
            "nothing to compare" if apart is None else f"at most {apart:.2g} nats apart at equal shares of the budget"
        )
    if apart is None:
        ended = "" if one["outcome"] == Outcome.MEASURED else f"; it ended {one['outcome']}: {one['reason']}"
        return f"nothing to compare: it came to no step that the first run reported{ended}"
    word = "agrees" if one["curve_agrees"] else "does not agree"
    return f"{word}: at most {apart:.2g} nats apart at equal steps, {MAX_CURVE_DEVIATION:g} allowed"

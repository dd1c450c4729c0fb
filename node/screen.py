"""What a person sees while a node works: a live view on a terminal, plain lines elsewhere, or JSON lines.

Owns presentation only; every fact comes in as an event. Foreign text is cleaned before it becomes an event.
"""

import json
import sys
from datetime import datetime
from typing import Literal, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from node.events import (
    Evaluating,
    Event,
    FindingReceived,
    FindingRecorded,
    Listening,
    NodeStarted,
    Notice,
    PeersChanged,
    Preparing,
    ProposalRefused,
    Steered,
    Stopped,
    TrialProgress,
    TrialStarted,
    event_json,
)
from swarm.words import short

PLAIN_PROGRESS_SECONDS = 30.0  # between two plain lines of one trial
BAR_COLUMNS = 30
VERDICT_STYLES = {"keep": "bold green", "inconclusive": "yellow", "discard": "dim", "censored": "dim"}


class Screen(Protocol):
    def show(self, event: Event) -> None: ...
    def close(self) -> None: ...


def make_screen(kind: Literal["auto", "json", "plain"], out: TextIO = sys.stdout) -> Screen:
    if kind == "json":
        return JsonLines(out)
    if kind == "plain" or not out.isatty():
        return PlainLines(out)
    return LiveScreen(Console(file=out))


class JsonLines:
    """One JSON object per event, for programs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, event: Event) -> None:
        _write(self._out, json.dumps(event_json(event), ensure_ascii=False))

    def close(self) -> None:
        pass


class PlainLines:
    """One line per happening, for pipes, logs and service managers."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._next_progress_s = 0.0
        self._peers: frozenset[str] = frozenset()

    def show(self, event: Event) -> None:
        line = self._line(event)
        if line is not None:
            stamp = clock_time(event)
            for part in line.split("\n"):
                _write(self._out, f"{stamp}  {part}")

    def close(self) -> None:
        pass

    def _line(self, event: Event) -> str | None:
        match event:
            case TrialStarted():
                self._next_progress_s = min(PLAIN_PROGRESS_SECONDS, event.budget_s / 2)
            case TrialProgress():
                if event.seconds < self._next_progress_s:
                    return None
                self._next_progress_s = event.seconds + PLAIN_PROGRESS_SECONDS
            case PeersChanged():
                before, self._peers = self._peers, frozenset(event.peers)
                return describe_peers(before, self._peers)
            case _:
                pass
        return describe(event)


def describe(event: Event) -> str | None:
    """An event as a line of text; None for what only a live view shows."""
    match event:
        case NodeStarted():
            return "\n".join(f"{label:<9} {value}" for label, value in header_rows(event))
        case Listening():
            return f"listening {', '.join(event.addresses)}\nticket    {ticket_words(event)}"
        case Preparing():
            done = event.total is not None and event.done >= event.total
            return f"{event.what}: done" if done else f"{event.what} ..." if event.done == 0 else None
        case Notice():
            return f"{'warning: ' if event.warning else ''}{event.text}"
        case TrialStarted():
            if event.turn > 1:
                return f"#{event.number}   {again_words(event)}, {event.budget_s:g} s"
            told = f", inspired by {len(event.inspirations)} of peers" if event.inspirations else ""
            return f"#{event.number} {event.title} ({event.operator} by {event.proposer}{told}), {event.budget_s:g} s"
        case TrialProgress():
            left = max(0.0, event.budget_s - event.seconds)
            return (
                f"#{event.number}   {left:.0f} s left, step {event.step}, loss {event.train_loss:.3f}, "
                f"{event.tokens_per_second:,.0f} tokens/s"
            )
        case FindingRecorded():
            return f"#{event.number} {finding_result(event)}; best {_bpb(event.best_val_bpb)}"
        case ProposalRefused():
            back = "; it goes back once" if event.sent_back else ""
            title = f": {event.title}" if event.title else ""
            return f"not tried ({event.stage}, {event.proposer}{title}): {event.reason}{back}"
        case FindingReceived():
            return f"peer {event.name or short(event.peer)} #{event.number} {event.title}: {_bpb(event.val_bpb)}"
        case Steered():
            return steered_line(event)
        case Stopped():
            return stopped_line(event)
        case _:
            return None


def ticket_words(event: Listening) -> str:
    """A ticket that holds a key is shown only to who asks for it: what a node prints may be kept in logs."""
    return (
        "private swarm: only who has its ticket can connect; show it with swarm ticket"
        if event.private
        else event.ticket
    )


def again_words(event: TrialStarted) -> str:
    """Why an experiment goes on after its first trial."""
    if event.parent is None:
        return f"trial {event.turn}: again, to know the noise"
    what = "its parent again, to compare with" if event.side == "parent" else "again with another seed"
    return f"trial {event.turn}: {what}"


def header_rows(event: NodeStarted) -> list[tuple[str, str]]:
    """Who this node is and what it will do."""
    earlier = f", {event.findings} findings so far" if event.findings else ""
    return [
        ("node", f"{event.name}  {event.peer_id}"),
        ("topic", f"{event.topic}  (brief {short(event.brief_id)}{earlier})"),
        ("hardware", f"{event.hardware_class}  {event.hardware}"),
        ("sandbox", event.sandbox),
        ("budget", f"{event.budget_s:g} s a trial"),
        ("proposer", event.proposer),
        ("results", f"{event.results_repository}  branch {event.branch}"),
        *([("page", event.dashboard)] if event.dashboard else []),
    ]


def describe_peers(before: frozenset[str], now: frozenset[str]) -> str | None:
    parts = [f"peer {short(peer)} connected" for peer in sorted(now - before)]
    parts += [f"peer {short(peer)} gone" for peer in sorted(before - now)]
    return f"{', '.join(parts)}; {len(now)} connected" if parts else None


def finding_result(event: FindingRecorded) -> str:
    if event.val_bpb is None:
        return f"{event.outcome}: {event.reason}" if event.reason else event.outcome
    effect = "" if event.effect is None else f" ({effect_words(event)})"
    return f"{event.verdict} {event.val_bpb:.4f}{effect}{' new best' if event.is_best else ''}"


def effect_words(event: FindingRecorded) -> str:
    """'−0.0312 ±0.0090': the change of val_bpb, with its 95 % interval; a minus is an improvement."""
    assert event.effect is not None
    around = "" if event.interval is None else f" ±{event.interval:.4f}"
    return f"{change_words(event.effect)}{around}"


def change_words(effect: float) -> str:
    """'−0.0312': the change of val_bpb; a minus is an improvement."""
    return f"{'−' if effect > 0 else '+'}{abs(effect):.4f}"


def verdict_style(word: str) -> str:
    """Of a verdict; of what came to no number: how its trial ended."""
    return VERDICT_STYLES.get(word, "red")


def steered_line(event: Steered) -> str:
    program = "program.md edited" if event.program_edited else "program.md is the brief's goal"
    return f"steered from the next proposal on: {event.words or 'nothing pinned or banned'}; {program}"


def stopped_line(event: Stopped) -> str:
    share = f", {event.training_share:.1%} of the time training" if event.training_share is not None else ""
    best = f", best {_bpb(event.best_val_bpb)}" if event.best_val_bpb is not None else ""
    return f"stopped: {event.reason}; {event.experiments} experiments{best}{share}"


def _bpb(value: float | None) -> str:
    return "no number" if value is None else f"{value:.4f} val_bpb"


def _write(out: TextIO, line: str) -> None:
    """A closed pipe (`swarm launch | head`) or a full disk ends the output, not the research."""
    try:
        out.write(line + "\n")
        out.flush()
    except (OSError, ValueError):
        pass


class LiveScreen:
    """The view to leave open overnight: what happened scrolls by and stays, the current run is at the bottom."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._trial: TrialStarted | None = None
        self._progress: TrialProgress | None = None
        self._evaluating = False
        self._preparing: Preparing | None = None
        self._best: float | None = None
        self._peers: tuple[str, ...] = ()
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=True)
        self._live.start()

    def show(self, event: Event) -> None:
        match event:
            case Preparing():
                self._preparing = event
            case TrialStarted():
                self._preparing, self._trial, self._progress, self._evaluating = None, event, None, False
            case TrialProgress():
                self._progress = event
            case Evaluating():
                self._evaluating = True
            case PeersChanged():
                before, self._peers = frozenset(self._peers), event.peers
                if line := describe_peers(before, frozenset(event.peers)):
                    self._print(stamped(event, Text(line, style="cyan")))
            case FindingRecorded():
                self._best, self._trial = event.best_val_bpb, None
                self._print(stamped(event, finding_line(event)))
            case FindingReceived() | ProposalRefused():
                self._print(stamped(event, Text(describe(event) or "", style="cyan")))
            case Notice():
                self._print(stamped(event, Text(event.text, style="yellow" if event.warning else "dim")))
            case Steered():
                self._print(stamped(event, Text(steered_line(event), style="cyan")))
            case NodeStarted():
                self._preparing = None
                for label, value in header_rows(event):
                    self._print(Text().append(f"{label:<9} ", style="dim").append(value))
            case Listening():
                self._print(Text().append(f"{'ticket':<9} ", style="dim").append(ticket_words(event), style="cyan"))
                self._print(Text("          others join with: swarm join TICKET", style="dim"))
            case Stopped():
                self._trial = None
                self._print(stamped(event, Text(stopped_line(event), style="bold")))
            case _:
                pass

    def close(self) -> None:
        self._live.stop()

    def _print(self, line: Text) -> None:
        """One line however long, so that what is copied from the terminal is whole."""
        self._console.print(line, soft_wrap=True)

    def render(self) -> RenderableType:
        """What stands at the bottom: the current run, best so far, peers."""
        if self._preparing is not None:
            total = f" of {self._preparing.total:,}" if self._preparing.total else ""
            return Text(f"{self._preparing.what}: {self._preparing.done:,}{total}")
        if self._trial is None:
            return Text("")
        peers = ", ".join(short(peer) for peer in self._peers[:6])
        best = "none" if self._best is None else _bpb(self._best)
        standing = Text("best so far ", style="dim", no_wrap=True, overflow="ellipsis").append(best, style="green")
        standing.append(f"   peers {len(self._peers)}: {peers}" if self._peers else "   no peers yet", style="dim")
        return Group(Text(""), trial_title(self._trial), self._bar(self._trial), standing)

    def _bar(self, trial: TrialStarted) -> RenderableType:
        progress = self._progress
        if progress is None:
            return trial_bar(trial.budget_s, 0.0, evaluating=self._evaluating)
        speed = progress.tokens_per_second
        return trial_bar(trial.budget_s, progress.seconds, progress.train_loss, speed, evaluating=self._evaluating)


def trial_bar(
    budget_s: float,
    seconds: float,
    train_loss: float | None = None,
    tokens_per_second: float | None = None,
    *,
    evaluating: bool,
) -> RenderableType:
    """How far a trial is."""
    seconds = min(seconds, budget_s)
    line = Table.grid(padding=(0, 2))
    line.add_column(max_width=BAR_COLUMNS)  # gives way on a narrow terminal, words and numbers do not
    for _ in range(3):
        line.add_column(no_wrap=True)
    line.add_row(
        ProgressBar(total=budget_s, completed=budget_s if evaluating else seconds),
        Text("evaluating" if evaluating else f"{budget_s - seconds:.0f} s left", style="bold"),
        Text("starting" if train_loss is None else f"loss {train_loss:.3f}"),
        Text("" if tokens_per_second is None else f"{tokens_per_second:,.0f} tokens/s"),
    )
    return line


def stamped(event: Event, text: Text) -> Text:
    return Text().append(f"{clock_time(event)}  ", style="dim").append_text(text)


def clock_time(event: Event) -> str:
    """When it happened, by the clock of whoever looks."""
    return datetime.fromisoformat(event.at).astimezone().strftime("%H:%M:%S")


def trial_title(trial: TrialStarted) -> Text:
    told = f", inspired by {len(trial.inspirations)} of peers" if trial.inspirations else ""
    what = f"{trial.operator} by {trial.proposer}{told}" if trial.turn == 1 else again_words(trial)
    return Text(f"#{trial.number} {trial.title}  ", style="bold", no_wrap=True, overflow="ellipsis").append(
        what, style="dim"
    )


def finding_line(event: FindingRecorded) -> Text:
    effect = "" if event.effect is None else effect_words(event)
    verdict = event.verdict if event.val_bpb is not None else event.outcome
    line = result_line(f"#{event.number}", verdict, event.val_bpb, effect, event.title, event.reason)
    return line.append("  new best", style="bold green") if event.is_best else line


def result_line(name: str, verdict: str, val_bpb: float | None, effect: str, title: str, reason: str) -> Text:
    """Aligned, so that a night of them reads as a table."""
    number = "" if val_bpb is None else f"{val_bpb:.4f}"
    line = Text(f"{name:<5} ").append(f"{verdict:<13}", style=verdict_style(verdict))
    line.append(f"{number:>8}  {effect:>16}  ").append(title)
    return line.append(f"  {reason}" if reason else "", style="dim")

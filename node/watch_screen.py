"""What `swarm watch` shows: one screen of a home, drawn anew at each look. Every text in it is plain text."""

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from node.screen import change_words, result_line, trial_bar
from node.sparkline import block_rows, sparkline
from node.text import clean
from node.watching import Seen
from swarm.ledger import Entry
from swarm.words import PeerId, short

Json = dict[str, Any]  # Any: a JSON document
CURVE_ROWS = 5
CURVE_COLUMNS = 72
COURSE_COLUMNS = 40
PEERS = 6
KEYS = "q or Ctrl-C leaves"


def draw(seen: Seen, height: int) -> RenderableType:
    """At most `height` lines: the latest findings take what the rest leaves."""
    above = [_title(seen), *_best(seen), _peers(seen), Text(""), *_trial(seen), Text("")]
    below = [*_notice(seen), Text(KEYS, style="dim")]
    room = max(1, height - sum(_lines(part) for part in (*above, *below)))
    findings = [_finding(entry, seen.me) for entry in reversed(seen.latest[-room:])]
    return Group(*above, *(findings or [Text("no findings yet", style="dim")]), *below)


def _lines(part: RenderableType) -> int:
    return part.plain.count("\n") + 1 if isinstance(part, Text) else 1


def _line(*parts: tuple[str, str]) -> Text:
    """Of texts that are clean, each in its style."""
    line = Text(no_wrap=True, overflow="ellipsis")
    for text, style in parts:
        line.append(text, style=style)
    return line


def _title(seen: Seen) -> Text:
    name = clean(str(seen.state.get("name") or ""), 40)
    running = ("  running", "green") if seen.running else ("  not running", "yellow")
    counts = f"   {seen.findings} findings, {seen.own} own"
    behind = f", {seen.behind} more to read" if seen.behind else ""
    line = _line((f"{name or short(seen.me)}", "bold"), (f" on {seen.topic}", "default"))
    return line.append(*running).append(f"{counts}{behind}", style="dim")


def _best(seen: Seen) -> list[Text]:
    if seen.best is None:
        return [_line(("best  ", "dim"), ("none yet", "default"))]
    entry, score = seen.best
    words = f"{score.mean:.4f} ±{score.interval:.4f} val_bpb"
    whose = f"  #{entry.finding.number} of {_who(entry, seen.me)}, {entry.track.hardware_class}"
    line = _line(("best  ", "dim"), (words, "green"), (whose, "dim"))
    if len(seen.course) < 2:
        return [line]
    course = sparkline(seen.course, COURSE_COLUMNS)
    return [line, Text("      ").append(course, style="green").append(f"  from {seen.course[0]:.4f}", style="dim")]


def _peers(seen: Seen) -> Text:
    peers: list[str] = [str(peer) for peer in seen.state.get("peers") or ()] if seen.running else []
    if not peers:
        return _line(("peers ", "dim"), ("none connected", "dim"))
    named = ", ".join(clean(seen.names.get(peer, ""), 40) or short(peer) for peer in peers[:PEERS])
    more = f" and {len(peers) - PEERS} more" if len(peers) > PEERS else ""
    return _line(("peers ", "dim"), (f"{len(peers)}: {named}{more}", "cyan"))


def _trial(seen: Seen) -> list[RenderableType]:
    current: Json = (seen.state.get("current") or {}) if seen.running else {}
    if not current:
        return [Text("no trial runs now", style="dim")]
    turn, side = current.get("turn", 1), current.get("side")
    again = "" if turn == 1 else f"  trial {turn}: {'its parent again' if side == 'parent' else 'another seed'}"
    title = _line((clean(f"#{current.get('number')} {current.get('title', '')}", 200), "bold"), (again, "dim"))
    bar = trial_bar(
        float(current.get("budget_s") or 1.0),
        float(current.get("seconds") or 0.0),
        current.get("train_loss"),
        current.get("tokens_per_second"),
        evaluating=bool(current.get("evaluating")),
    )
    losses = [float(point[1]) for point in current.get("curve") or ()]
    return [title, bar, *(Text(row, style="cyan", no_wrap=True) for row in _curve(losses))]


def _curve(losses: list[float]) -> Iterable[str]:
    return block_rows(losses, CURVE_COLUMNS, CURVE_ROWS)


def _finding(entry: Entry, me: PeerId) -> Text:
    finding = entry.finding
    verdict = finding.verdict.decision.value if entry.val_bpb is not None else finding.outcome.value
    effect = "" if finding.verdict.effect is None else change_words(finding.verdict.effect)
    title = clean(finding.proposal.title, 120)
    line = result_line(f"#{finding.number}", verdict, entry.val_bpb, effect, title, clean(finding.reason, 100))
    line.no_wrap, line.overflow = True, "ellipsis"
    return line if entry.author == me else line.append(f"  {_who(entry, me)}", style="cyan")


def _who(entry: Entry, me: PeerId) -> str:
    return "this node" if entry.author == me else clean(entry.finding.node_name, 40) or short(entry.author)


def _notice(seen: Seen) -> list[Text]:
    said: list[Json] = seen.state.get("notices") or []
    if not said or not seen.running:
        return []
    last = said[-1]
    return [_line((clean(str(last.get("text", "")), 300), "yellow" if last.get("warning") else "dim"))]

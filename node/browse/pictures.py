"""Pictures as geometry: what stands where, in pixels. The templates turn them into SVG; nothing here is markup.

The progress picture has a dot for every run, however many: dots of one kind are one path. Those that made the best
better have links of their own, and every picture has its numbers as a table for who cannot see it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from node.browse.row import Row
from node.browse.scale import Scale, scale, tick_words, ticks, upper_edge

WIDTH, HEIGHT = 880, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 22, 34
KINDS = ("discard", "cancelled", "censored", "inconclusive", "crash", "keep")  # later ones are drawn over earlier ones
MAX_SERIES = 8
MAX_STEPS = 300  # of the staircase that have a link and an error bar
Intervals = Callable[[Row], float | None]  # how sure the mean of a run is


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Frame:
    """The axes."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Step:
    """A run that was better than all before it."""

    x: float
    y: float
    low: float  # ends of its error bar, in pixels
    high: float
    row: Row
    interval: float | None


@dataclass(frozen=True)
class Progress:
    frame: Frame
    dots: Mapping[str, str]  # kind -> path data: a point each
    counts: Mapping[str, int]
    beyond: int  # runs that stand at the upper edge
    stairs: str  # path data
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Series:
    name: str
    number: int  # its colour, from 1
    path: str
    points: tuple[tuple[float, float], ...]  # as measured
    last: tuple[float, float] | None = None  # in pixels


@dataclass(frozen=True)
class Curves:
    frame: Frame
    series: tuple[Series, ...] = field(default=())
    end: float | None = None  # where the budget ends, in pixels


def progress(rows: Sequence[Row], intervals: Intervals, width: int = WIDTH, height: int = HEIGHT) -> Progress | None:
    """Every run of one track, oldest first. None: there is nothing to draw."""
    if not rows:
        return None
    scores = [row.mean for row in rows if row.mean is not None]
    top = upper_edge(scores)
    y = scale([min(score, top) for score in scores] or [0.0, 1.0], height - BOTTOM, TOP, room=0.08)
    x = Scale(0.0, max(len(rows), 4) + 0.5, LEFT, width - RIGHT)
    dots: dict[str, list[str]] = {kind: [] for kind in KINDS}
    beyond = 0
    for number, row in enumerate(rows, start=1):
        outside = row.mean is None or row.mean > top
        beyond += outside
        at = y.end if row.mean is None or outside else y(row.mean)
        dots.setdefault(row.status, []).append(f"M{x(number):g} {at:g}{'v6' if row.mean is None else 'h0'}")
    steps = tuple(_steps(rows, x, y, intervals))
    return Progress(
        frame=_frame(width, height, x, y, "runs, oldest first", "val_bpb"),
        dots={kind: "".join(points) for kind, points in dots.items() if points},
        counts={kind: len(points) for kind, points in dots.items() if points},
        beyond=beyond,
        stairs=_stairs(steps, x.end),
        steps=steps[-MAX_STEPS:],
    )


def _steps(rows: Sequence[Row], x: Scale, y: Scale, intervals: Intervals) -> Iterable[Step]:
    best: float | None = None
    for number, row in enumerate(rows, start=1):
        if row.kept and row.mean is not None and (best is None or row.mean < best):
            best = row.mean
            around = intervals(row) or 0.0
            yield Step(x(number), y(best), y(best - around), y(best + around), row, around or None)


def _stairs(steps: Sequence[Step], end: float) -> str:
    if not steps:
        return ""
    parts = [f"M{steps[0].x:g} {steps[0].y:g}", *(f"H{step.x:g}V{step.y:g}" for step in steps[1:]), f"H{end:g}"]
    return "".join(parts)


def curves(
    found: Iterable[tuple[str, Sequence[Sequence[float]]]], budget_seconds: float | None, width: int, height: int
) -> Curves | None:
    """Loss against seconds, each with a name. None: nobody printed any progress."""
    given = [(name, [(p[0], p[1]) for p in points]) for name, points in found][:MAX_SERIES]
    drawn = [(number, name, points) for number, (name, points) in enumerate(given, start=1) if points]
    if not drawn:
        return None
    seconds = [p[0] for _, _, points in drawn for p in points]
    losses = [p[1] for _, _, points in drawn for p in points]
    x = Scale(0.0, max(*seconds, budget_seconds or 0.0, 1e-6) * 1.01, LEFT, width - RIGHT)
    y = scale(_without_the_start(losses), height - BOTTOM, TOP)
    end = x(budget_seconds) if budget_seconds and budget_seconds < x.high else None
    made = tuple(_series(number, name, points, x, y) for number, name, points in drawn)
    return Curves(_frame(width, height, x, y, "seconds of training", "train loss, nats per token"), made, end)


def _series(number: int, name: str, points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> Series:
    pixels = [(x(seconds), y(loss)) for seconds, loss in points]
    path = "M" + "L".join(f"{a:g} {b:g}" for a, b in pixels)
    return Series(name, number, path, tuple(points), pixels[-1])


def _without_the_start(losses: Sequence[float]) -> list[float]:
    """The first steep steps and single spikes may leave the picture above."""
    ordered = sorted(losses)
    return ordered[: max(2, len(ordered) * 97 // 100)] if len(ordered) > 30 else ordered


def _frame(width: int, height: int, x: Scale, y: Scale, x_label: str, y_label: str) -> Frame:
    across, up = ticks(x.low, x.high, width // 120), ticks(y.low, y.high, height // 60)
    return Frame(
        width, height, LEFT, width - RIGHT, TOP, height - BOTTOM,
        tuple(Tick(x(value), text) for value, text in zip(across, tick_words(across), strict=True)),
        tuple(Tick(y(value), text) for value, text in zip(up, tick_words(up), strict=True)),
        x_label, y_label,
    )  # fmt: skip


def spark(values: Sequence[float], width: int = 96, height: int = 22) -> str:
    """A curve the height of a line, as path data."""
    if len(values) < 2:
        return ""
    y = scale(_without_the_start(values), height - 2, 2, room=0.02)
    x = Scale(0.0, float(len(values) - 1), 1, width - 1)
    return "M" + "L".join(f"{x(i):g} {y(value):g}" for i, value in enumerate(values))

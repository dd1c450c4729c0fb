"""Pictures of a run and of a branch, as PNG bytes: the loss curve, and how far the search has come.

Owns how they look. matplotlib is imported on first use (about a second) and only its object interface is used, so
that a thread can draw. Equal input gives equal bytes: no dates, no settings of the person's own. A picture that is
drawn leaves nothing in memory.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from node.short_lived import short_lived
from swarm.finding import CurvePoint

Axes = Any  # matplotlib's own types leave every keyword argument unknown
Figure = Any

_INCHES = (7.2, 4.0)
_DOTS_PER_INCH = 110
_MAX_TITLE = 90  # characters that fit on the line
_MOST = 1e12  # of what is drawn: a script may print the largest float there is, and an axis needs room beyond it
_MAX_POINTS = 600  # about the pixels that the picture has across

# Okabe and Ito's colours, told apart by the colour-blind too; every kind also has its own shape.
_INK, _FAINT, _GRID = "#2b2b2b", "#6f6f6f", "#e6e6e6"
_BLUE, _GREEN, _ORANGE, _RED = "#0072b2", "#009e73", "#e69f00", "#d55e00"
_KINDS = {  # kind: (marker, edge, face, area)
    "keep": ("o", _GREEN, _GREEN, 58),
    "inconclusive": ("D", _ORANGE, "none", 30),
    "discard": ("s", "#9a9a9a", "none", 26),
    "crash": ("x", _RED, _RED, 42),
    "censored": ("v", "#9a9a9a", "none", 30),
}
_BEYOND = 1.5  # runs worse than this many times the interesting range are drawn at the upper edge


@dataclass(frozen=True, slots=True)
class RunPoint:
    """One run in the progress picture."""

    number: int
    kind: str  # keep, discard, inconclusive, crash or censored, as in results.tsv
    val_bpb: float | None


@short_lived()
def curve_png(curve: Sequence[CurvePoint], title: str, val_bpb: float | None, budget_seconds: float) -> bytes:
    """Train loss against seconds of training, with the measured result."""
    figure, axes = _blank(title)
    points = _thinned(curve)
    if points:
        seconds, losses = [_bounded(p.seconds) for p in points], [_bounded(p.train_loss) for p in points]
        noisy = len(points) > 60
        axes.plot(seconds, losses, color=_BLUE, linewidth=1.0 if noisy else 1.8, alpha=0.35 if noisy else 1)
        if noisy:
            axes.plot(seconds, _smoothed(losses), color=_BLUE, linewidth=2)
        _limit(axes, losses)
        axes.set_xlim(0, max(budget_seconds, seconds[-1]) * 1.01)
    else:
        axes.text(0.5, 0.5, "no progress was printed", transform=axes.transAxes, ha="center", color=_FAINT)
        axes.set_xlim(0, budget_seconds)
        axes.set_yticks([])
    result = "not measured" if val_bpb is None else f"val_bpb {val_bpb:.4f}"
    axes.text(0.985, 0.95, result, transform=axes.transAxes, ha="right", va="top", fontsize=13, color=_INK)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("train loss, nats per token")
    return _png(figure)


@short_lived()
def progress_png(runs: Sequence[RunPoint], title: str) -> bytes:
    """val_bpb of every run, with the best so far as a step line."""
    figure, axes = _blank(title)
    top = _upper_edge([run.val_bpb for run in runs if run.val_bpb is not None])
    for kind, (marker, edge, face, area) in _KINDS.items():
        at = [(run.number, top if run.val_bpb is None else min(run.val_bpb, top)) for run in runs if run.kind == kind]
        if at:
            colours = {"c": edge} if marker == "x" else {"edgecolors": edge, "facecolors": face}
            axes.scatter(*zip(*at, strict=True), marker=marker, s=area, linewidths=1.4, label=kind, zorder=3, **colours)
    if all(run.val_bpb is None for run in runs):
        axes.set_yticks([])
    _best_line(axes, runs)
    if runs:
        numbers = [run.number for run in runs]
        room = max(1.0, (max(numbers) - min(numbers)) * 0.04)
        axes.set_xlim(min(numbers) - room, max(numbers) + room)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=5, frameon=False, handletextpad=0.3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("run")
    axes.set_ylabel("val_bpb, lower is better")
    return _png(figure)


def _best_line(axes: Axes, runs: Sequence[RunPoint]) -> None:
    best: list[tuple[int, float]] = []
    for run in runs:
        if run.kind == "keep" and run.val_bpb is not None and (not best or run.val_bpb < best[-1][1]):
            best.append((run.number, run.val_bpb))
    if not best:
        return
    steps = [*best, (max(run.number for run in runs), best[-1][1])]
    axes.step(*zip(*steps, strict=True), where="post", color=_GREEN, linewidth=1.8, label="best so far", zorder=2)
    number, value = best[-1]
    side = "right" if len(runs) > 3 and number == runs[-1].number else "center"  # stay inside the picture
    axes.annotate(f"{value:.4f}", (number, value), (0, -9), textcoords="offset points", ha=side, va="top", color=_INK)
    low, high = axes.get_ylim()
    axes.set_ylim(low - (high - low) * 0.08, high)  # room for the label below the lowest point


def _upper_edge(values: Sequence[float]) -> float:
    """Where the picture ends above, so that one diverged run does not flatten all the others."""
    if not values:
        return 1.0
    ordered = sorted(values)
    interesting = ordered[(len(ordered) - 1) * 3 // 4] - ordered[0]
    return min(ordered[-1], ordered[0] + (_BEYOND + 1) * interesting) if interesting else ordered[-1]


def _bounded(value: float) -> float:
    return max(-_MOST, min(value, _MOST))


def _limit(axes: Axes, losses: Sequence[float]) -> None:
    """Show all but the first steep steps and single spikes."""
    ordered = sorted(losses)
    low, high = ordered[0], ordered[(len(ordered) - 1) * 97 // 100 if len(ordered) > 60 else -1]
    room = max((high - low) * 0.06, 1e-3)
    axes.set_ylim(low - room, high + room)


def _smoothed(values: Sequence[float]) -> list[float]:
    """Exponential mean over about an eightieth of the curve, without the usual bias at the start."""
    weight = 1 - min(1.0, 80 / len(values))
    mean, total, out = 0.0, 0.0, list[float]()
    for value in values:
        mean = weight * mean + value
        total = weight * total + 1
        out.append(mean / total)
    return out


def _thinned(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    stride = -(-len(curve) // _MAX_POINTS) if curve else 1
    return [*curve[::stride], *curve[-1:]] if stride > 1 else list(curve)


def _blank(title: str) -> tuple[Figure, Axes]:
    figure = _figure()
    axes = figure.add_subplot()
    # Foreign text: no formulas in it, and only characters that the font has.
    axes.set_title(_drawable(title[:_MAX_TITLE]), loc="left", fontsize=11, color=_INK, parse_math=False, pad=10)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bdbdbd")
    axes.tick_params(colors=_FAINT, labelsize=9, length=3)
    axes.xaxis.label.set_color(_FAINT)
    axes.yaxis.label.set_color(_FAINT)
    return figure, axes


def _drawable(text: str) -> str:
    return "".join(c if c.isascii() or c in "→²−≤≥–—×·…±µ" or (c.isalpha() and ord(c) < 0x250) else "?" for c in text)


def _figure() -> Figure:
    _use_defaults()
    from matplotlib import figure

    return figure.Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained", facecolor="white")


@cache
def _use_defaults() -> None:
    """Forget a person's matplotlibrc: it could ask for LaTeX, and pictures would differ between machines."""
    import matplotlib

    matplotlib.rcdefaults()


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    out = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(out, metadata={"Software": None})
    return out.getvalue()

"""How the last runs went, in a few lines each: not only the number at the end.

Owns what is shown of a trial: its loss curve, thinned, at equal shares of the time, its gradients, speed, size, memory.
All of it is what the script said of itself or the node measured, as typed numbers.
"""

from collections.abc import Iterable, Sequence

from node.proposers.port import Request
from node.trials.gradients import CLIP_SETTING, GradientNorms
from swarm.ledger import Entry
from swarm.trial import CurvePoint, Trial

LAST_RUNS = 4
CURVE_POINTS = 6


def diagnostics(request: Request) -> list[str]:
    """The current best first, then the newest own runs, newest first."""
    own = [entry for entry in request.on_track if entry.author == request.me]
    best, *last = shown(request.parent, own)
    named = [("current best", best), *((f"#{entry.finding.number}", entry) for entry in last)]
    lines = (_line(name, entry, request.gradients.get(entry.id)) for name, entry in named)
    return [line for line in lines if line]


def shown(best: Entry, own: Iterable[Entry]) -> list[Entry]:
    """The runs whose course is told of: the best, then the newest others."""
    newest_first = sorted(own, key=lambda entry: entry.seq, reverse=True)
    return [best, *[entry for entry in newest_first if entry.id != best.id][:LAST_RUNS]]


def _line(name: str, entry: Entry, gradients: GradientNorms | None) -> str:
    trial = entry.finding.trials[0]
    parts = [*_numbers(trial), *_curve(trial.curve, trial.seconds), *([_norms(gradients)] if gradients else [])]
    if not parts:
        return ""
    came_to = trial.outcome.value.replace("_", " ") if entry.val_bpb is None else f"val_bpb {entry.val_bpb:.4f}"
    return f"{name}: {came_to}; " + ", ".join(parts)


def _numbers(trial: Trial) -> list[str]:
    parts: list[str] = []
    if trial.steps:
        parts.append(f"{trial.steps} steps")
    if trial.tokens and trial.seconds > 0:
        parts.append(f"{trial.tokens / trial.seconds:,.0f} tokens/s")
    if trial.parameters:
        parts.append(f"{trial.parameters / 1e6:.2f} M parameters")
    if trial.peak_memory_bytes:
        parts.append(f"peak memory {trial.peak_memory_bytes / 2**30:.2f} GiB")
    return parts


def _curve(curve: Sequence[CurvePoint], seconds: float) -> list[str]:
    if len(curve) < 2 or seconds <= 0:
        return []
    wanted = [curve[round(n * (len(curve) - 1) / (CURVE_POINTS - 1))] for n in range(CURVE_POINTS)]
    points = list(dict.fromkeys((round(100 * p.seconds / seconds), f"{p.train_loss:.3g}") for p in wanted))
    return ["train loss " + " ".join(f"{loss}@{share}%" for share, loss in points)]


def _norms(norms: GradientNorms) -> str:
    """'gradient norm 5.1 at first, 0.4 median, 5.1 largest, 0.31 last, above gradient_clip in 12% of reports'."""
    said = f"gradient norm {norms.first:.3g} at first, {norms.median:.3g} median, {norms.largest:.3g} largest"
    said += f"{', with a spike' if norms.spiked else ''}, {norms.last:.3g} last"
    if norms.clipped_share is not None:
        said += f", above {CLIP_SETTING} in {norms.clipped_share:.0%} of reports"
    return said

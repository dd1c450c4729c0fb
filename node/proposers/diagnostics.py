"""How the last runs went, in a few lines each: not only the number at the end.

Owns what is shown of a trial: its loss curve, thinned, at equal shares of the time, speed, size, memory. All of it is
what the script said of itself or the node measured, as typed numbers.
"""

from collections.abc import Sequence

from node.proposers.port import Request
from swarm.ledger import Entry
from swarm.trial import CurvePoint, Trial

LAST_RUNS = 4
CURVE_POINTS = 6


def diagnostics(request: Request) -> list[str]:
    """The current best first, then the newest own runs, newest first."""
    own = sorted((e for e in request.on_track if e.author == request.me), key=lambda e: e.seq, reverse=True)
    last = [entry for entry in own if entry.id != request.parent.id][:LAST_RUNS]
    lines = [_line("current best", request.parent), *(_line(f"#{e.finding.number}", e) for e in last)]
    return [line for line in lines if line]


def _line(name: str, entry: Entry) -> str:
    trial = entry.finding.trials[0]
    parts = [*_numbers(trial), *_curve(trial.curve, trial.seconds)]
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

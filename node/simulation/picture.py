"""The picture of a simulated swarm: how far its best had come at which hour, a line for each seed."""

import io
from collections.abc import Sequence
from typing import Any, cast

from node.simulation.figures import Result

_INCHES, _DOTS_PER_INCH = (7.2, 4.0), 110
_BLUE, _GRID = "#0072b2", "#e6e6e6"


def progress_png(results: Sequence[Result], hours: float) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # about a second to import
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")  # Any: keyword types are unknown
    axes = figure.add_subplot()
    for result in results:
        if result.curve:
            at, bpb = [point[0] for point in result.curve], [point[1] for point in result.curve]
            axes.step([*at, hours], [*bpb, bpb[-1]], where="post", color=_BLUE, linewidth=1.6, alpha=0.7)
    axes.set_xlim(0, hours)
    axes.set_xlabel("hours")
    axes.set_ylabel("best of the swarm, bits per byte, without noise")
    seeds = "1 seed" if len(results) == 1 else f"{len(results)} seeds"
    axes.set_title(f"{results[0].scenario}, simulated, {seeds}", loc="left", fontsize=11)
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
    out, canvas = io.BytesIO(), cast("Any", FigureCanvasAgg(figure))
    canvas.print_png(out, metadata={"Software": None})
    return out.getvalue()

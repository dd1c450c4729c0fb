"""Runs as TensorBoard event files, a folder each, by tensorboard's own writer. The only importer of tensorboard."""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from node.exchange.runs import Run, ToolMissing

Module = Any  # generated from protobuf files: no types
_INSTALL = "TensorBoard's library is not installed: pip install 'research-swarm[tensorboard]'"


def write_event_files(runs: Iterable[Run], folder: Path) -> int:
    """How many folders were written. Raises ToolMissing, OSError."""
    try:
        event: Module = import_module("tensorboard.compat.proto.event_pb2").Event
        writer_of: Module = import_module("tensorboard.summary.writer.event_file_writer").EventFileWriter
        import_module("tensorboard.plugins.hparams.summary_v2")
    except ImportError:
        raise ToolMissing(_INSTALL) from None
    count = 0
    for run in runs:
        if any((folder / run.name).glob("events.*")):  # an earlier export; a second file would double every point
            continue
        writer = writer_of(str(folder / run.name))
        for one in _events(run, event):
            writer.add_event(one)
        writer.close()
        count += 1
    return count


def _events(run: Run, event: Module) -> Iterable[Module]:
    values: Module = import_module("tensorboard.compat.proto.summary_pb2").Summary
    parameters = import_module("tensorboard.plugins.hparams.summary_v2").hparams_pb
    told = parameters(dict(run.parameters), trial_id=run.tags["finding"], start_time_secs=run.started_at)
    yield event(wall_time=run.started_at, summary=values.FromString(told.SerializeToString()))

    def scalar(name: str, value: float, step: int, at: float) -> Module:
        return event(wall_time=at, step=step, summary=values(value=[values.Value(tag=name, simple_value=value)]))

    for point in run.curve:
        yield scalar("train_loss", point.train_loss, point.step, run.started_at + point.seconds)
    for name, value in run.numbers.items():
        yield scalar(name, value, run.steps, run.started_at + run.seconds)

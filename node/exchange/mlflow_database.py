"""Runs as an MLflow tracking database, by mlflow's own client. The only importer of mlflow."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from node.exchange.runs import Run, ToolMissing

_INSTALL = "MLflow's library is not installed: pip install 'research-swarm[mlflow]'"
_MOST_METRICS, _MOST_PARAMETERS = 1000, 100  # of one call, says MLflow
T = TypeVar("T")


def write_database(runs: Iterable[Run], folder: Path, topic: str) -> tuple[int, str]:
    """How many runs were written, and where, for `mlflow ui --backend-store-uri`. Raises ToolMissing, OSError."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise ToolMissing(_INSTALL) from None
    folder.mkdir(parents=True, exist_ok=True)
    where = f"sqlite:///{(folder / 'mlflow.db').absolute()}"
    client: Any = MlflowClient(tracking_uri=where)  # Any: its types are partly unknown
    known = client.get_experiment_by_name(topic)
    experiment = client.create_experiment(topic, (folder / "artifacts").absolute().as_uri()) if known is None else known
    experiment_id = experiment if known is None else known.experiment_id
    there = {one.data.tags.get("finding") for one in client.search_runs([experiment_id], max_results=50_000)}
    count = 0
    for run in runs:
        if run.tags["finding"] in there:
            continue
        made = client.create_run(experiment_id, start_time=int(run.started_at * 1000), run_name=run.name)
        for some in _some([Param(key, str(value)) for key, value in run.parameters.items()], _MOST_PARAMETERS):
            client.log_batch(made.info.run_id, params=some)
        tags = [RunTag(key, value) for key, value in run.tags.items()]
        client.log_batch(made.info.run_id, tags=tags)
        for some in _some(_metrics(run, Metric), _MOST_METRICS):
            client.log_batch(made.info.run_id, metrics=some)
        ended = int((run.started_at + run.seconds) * 1000)
        client.set_terminated(made.info.run_id, "FINISHED" if run.measured else "FAILED", ended)
        count += 1
    return count, where


def _metrics(run: Run, metric: Any) -> list[Any]:  # Any: mlflow's class, imported where it is there
    curve = [
        metric("train_loss", point.train_loss, int((run.started_at + point.seconds) * 1000), point.step)
        for point in run.curve
    ]
    ended = int((run.started_at + run.seconds) * 1000)
    return [*curve, *(metric(name, value, ended, run.steps) for name, value in run.numbers.items())]


def _some(items: list[T], most: int) -> Iterator[list[T]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]

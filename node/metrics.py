"""What a running node counts as Prometheus metrics: names, units and labels, made from what it writes on disk.

The only module that imports prometheus_client. Labels are bounded: reasons, kinds and names of our own; peers only as
numbers, because strangers choose peer ids and every new one would be a new series for ever. docs/cli.md has the names.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
Json = Mapping[str, Any]  # Any: a JSON document of our own making, perhaps of another version
_MAX_LABELS = 200  # different values of one label; there are fewer unless something is wrong
# Prefixes of the service's counters -> name of the metric, its one label, and what it counts.
_COUNTERS = {
    "admission": ("swarm_admission", "reason", "Records that came, by what became of them."),
    "catchup": ("swarm_catchup", "event", "What happened while records were fetched from peers."),
    "door": ("swarm_door", "event", "Strikes, bans and whoever was kept out."),
    "bus": ("swarm_bus", "event", "What happened to connections and streams."),
}


def exposition(state: Json, network: Json, *, running: bool) -> bytes:
    """The text format. `state` is the node's state file, `network` its network file; both may be empty."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(state, network, running=running))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, state: Json, network: Json, *, running: bool) -> None:
        self._state, self._network, self._running = state, network, running

    def collect(self) -> Iterator[Metric]:
        state, network = self._state, self._network
        yield GaugeMetricFamily("swarm_node_up", "1 while the node runs.", float(self._running))
        name, track = str(state.get("topic", "")), str(state.get("hardware_class", ""))
        node = GaugeMetricFamily("swarm_node_info", "What the node works on.", labels=["topic", "hardware_class"])
        node.add_metric([name, track], 1.0)
        yield node
        yield from _gauge("swarm_node_started_timestamp_seconds", "When it started.", _unix(state.get("started_at")))
        yield from _gauge("swarm_training_ratio", "Share of time in which a trial trains.", state.get("training_share"))
        yield from _gauge("swarm_trial_train_loss_nats", "Of the trial under way.", _of(state, "current", "train_loss"))
        yield from _gauge("swarm_trial_elapsed_seconds", "Of the trial under way.", _of(state, "current", "seconds"))
        yield from _gauge("swarm_peers", "Connected peers of the topic.", _count(network.get("peers")))
        yield from _gauge("swarm_connections", "Connected peers, of the topic or not.", network.get("connections"))
        yield from _gauge("swarm_refused_remembered", "Refused records that can be explained.",
                          _count(network.get("refused")))  # fmt: skip
        yield from _gauge("swarm_network_written_timestamp_seconds", "When the network's counters were written.",
                          _unix(network.get("written_at")))  # fmt: skip
        yield from _questions(state.get("model_questions"))
        yield from _traffic(_of(network, "traffic", "totals"))
        yield from _refused(state.get("refused_proposals"))
        yield from _events(network.get("counters"))


def _questions(counts: object) -> Iterator[Metric]:
    metric = CounterMetricFamily("swarm_model_questions", "Ideas asked of a language model.", labels=["outcome"])
    for outcome, value in _items(counts):
        if (number := _number(value)) is not None:
            metric.add_metric([outcome], number)
    yield metric


def _traffic(totals: object) -> Iterator[Metric]:
    for unit, plain in (("bytes", "Bytes"), ("messages", "Messages")):
        metric = CounterMetricFamily(
            f"swarm_traffic_{unit}", f"{plain} exchanged with peers.", labels=["kind", "direction"]
        )
        for kind, flow in _items(totals):
            for direction in ("in", "out"):
                number = _number(_of({"flow": flow}, "flow", f"{unit}_{direction}"))
                if number is not None:
                    metric.add_metric([kind, direction], number)
        yield metric


def _refused(stages: object) -> Iterator[Metric]:
    metric = CounterMetricFamily(
        "swarm_proposals_refused", "Ideas that cost no trial, by where they failed.", labels=["stage"]
    )
    for stage, value in _items(stages):
        if (number := _number(value)) is not None:
            metric.add_metric([stage], number)
    yield metric


def _events(counters: object) -> Iterator[Metric]:
    listed = list(_items(counters))
    for prefix, (name, label, what) in _COUNTERS.items():
        metric = CounterMetricFamily(name, what, labels=[label])
        for key, value in listed:
            group, _, event = key.partition(".")
            if group == prefix and (number := _number(value)) is not None:
                metric.add_metric([event], number)
        yield metric


def _gauge(name: str, what: str, value: object) -> Iterable[Metric]:
    number = _number(value)
    return () if number is None else (GaugeMetricFamily(name, what, number),)


def _items(table: object) -> Iterable[tuple[str, object]]:
    return list(cast("dict[str, object]", table).items())[:_MAX_LABELS] if isinstance(table, dict) else ()


def _of(table: Json, *path: str) -> object:
    value: object = table
    for name in path:
        value = cast("dict[str, object]", value).get(name) if isinstance(value, dict) else None
    return value


def _count(table: object) -> int | None:
    return len(cast("list[object]", table)) if isinstance(table, dict | list) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unix(moment: object) -> float | None:
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return None

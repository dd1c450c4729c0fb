"""What the processes of a soak use, looked at every few seconds: by node, by life and by kind of process.

Owns the samples, their file, and the words for what grew. Refuses to know who is killed when, and why.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil

from tests.growth import Growth, Sample, growth, late_growth

WARM_UP_SECONDS = 120.0  # of each life: imports, first connections, first trials


class Kind(StrEnum):
    TRAINING = "training"  # a node that trains
    IDLE = "idle"  # one that keeps records and passes them on
    WARM = "warm"  # the process of a training node that its trials are forked from


@dataclass
class Samples:
    began_at: float
    _of: dict[tuple[int, Kind], list[Sample]] = field(default_factory=lambda: defaultdict(list))

    def look(self, now: float, node: int, life: int, pid: int, *, trains: bool) -> None:
        """At one node's processes, as far as they are there."""
        try:
            process = psutil.Process(pid)
            self._of[node, Kind.TRAINING if trains else Kind.IDLE].append(_sample(now, life, process))
            if trains and (warm := _warm_process(process)) is not None:
                self._of[node, Kind.WARM].append(_sample(now, life, warm))
        except psutil.NoSuchProcess:
            return

    def of_node(self, node: int) -> Growth:
        return growth([one for kind in (Kind.TRAINING, Kind.IDLE) for one in self._of[node, kind]], WARM_UP_SECONDS)

    def figures(self) -> dict[str, float]:
        late = {kind: late_growth(self._of_kind(kind), WARM_UP_SECONDS) for kind in Kind}
        return {
            f"late_memory_percent_per_hour_{kind.value}": one.memory_percent_per_hour
            for kind, one in late.items()
            if one.watched_seconds
        }

    def lines(self) -> Iterator[str]:
        """For people: each node, then each kind of process over all its lives."""
        for (node, kind), samples in sorted(self._of.items()):
            if kind is not Kind.WARM and samples:
                yield f"node {node}, {kind}: {words(growth(samples, WARM_UP_SECONDS))}; {_end(samples[-1])}"
        for kind in Kind:
            samples = self._of_kind(kind)
            whole, late = growth(samples, WARM_UP_SECONDS), late_growth(samples, WARM_UP_SECONDS)
            if whole.watched_seconds:
                yield f"all {kind}, lives without their first {WARM_UP_SECONDS:.0f} s: {words(whole)}"
                yield f"all {kind}, the second half of that of each: {words(late)}"

    def _of_kind(self, kind: Kind) -> list[Sample]:
        return [one for (_, its_kind), samples in self._of.items() if its_kind is kind for one in samples]

    def save(self, path: Path) -> None:
        """What grew when is seen from these alone."""
        rows = [
            f"{node},{kind},{one.life},{one.at - self.began_at:.0f},{one.memory_mb:.1f},{one.files}\n"
            for (node, kind), samples in sorted(self._of.items())
            for one in samples
        ]
        path.write_text("node,kind,life,seconds,memory_mb,files\n" + "".join(rows))


def words(one: Growth) -> str:
    """How fast something grew."""
    return (
        f"{one.memory_mb_per_hour:+.1f} MB/hour ({one.memory_percent_per_hour:+.1f} %/hour of {one.memory_mb:.0f} MB), "
        f"{one.files_per_hour:+.1f} open files/hour, over {one.watched_seconds / 60:.0f} min"
    )


def _end(last: Sample) -> str:
    return f"{last.memory_mb:.0f} MB, {last.files} files at the end"


def _sample(now: float, life: int, process: psutil.Process) -> Sample:
    return Sample(now, life, process.memory_info().rss / 1e6, process.num_fds())


def _warm_process(node: psutil.Process) -> psutil.Process | None:
    """A trial has the command line of the process it was forked from: the topmost is meant, below any launcher."""
    level = node.children()
    while level:
        for process in level:
            if any(part.endswith("warm.py") for part in process.cmdline()) and "python" in process.name():
                return process
        level = [child for process in level for child in process.children()]
    return None

"""Under which conditions a trial ran: whether its number says something about the idea, or about the machine.

Owns the samples of this machine's counters, what is usual here, and the judgement. Refuses to know scores, verdicts and
what is done about a disturbed trial. Not covered: other work on a GPU, and neighbours that the host of a virtual
machine does not report as stolen time; both show in the speed alone.

A mark gives a trial another chance. So nothing that a changed script can bring about by itself may earn one: what a
script says of its own speed counts for the shipped script only. How much other work ran is the kernel's word.
"""

import os
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import trio

from node.trials.hardware import Hardware
from swarm.finding import CurvePoint
from swarm.words import Condition

# All guesses, set against 84 curves of real trials of 5 to 120 s: undisturbed thirds differ by 12 % at most.
CONTENDED_SHARE = 0.15  # of a trial's cores, taken by more other work than usual
CONTENDED_CORES = 0.2  # and never less: what a system does by itself now and then
SLOW_SHARE = 0.2  # speed lost, between the thirds of a trial or against the same trial before
SAME_SHARE = 0.05  # whatever else ran, a trial this near to its usual speed was not disturbed
EXPLAINED_SHARE = 1 / 3  # of lost speed that other work has to account for: two threads wait for the slower one
GPU_TRIAL_CORES = 2  # what a trial on a GPU needs of the CPU: its own loop and the data
MIN_SECONDS = 5.0  # a shorter trial is over before a mean load says anything
MIN_STEPS = 15  # of a curve: with fewer, one step more or less is a sixth of a third and more
WARM_UP_SHARE = 0.1  # of a curve: pages come in, clocks and caches settle

RECENT_TRIALS = 100  # three hours and more at 120 s: an owner's hour at the machine does not become the usual
MIN_TRIALS = 3  # before them nothing is usual
USUAL_QUANTILE = 4  # the usual load is the lowest quarter's upper end: quick to fall, slow to rise
RECENT_MARKS, MIN_MARKS = 8, 4
KEYS, SPEEDS = 512, 9  # keys remembered, and speeds of each


@dataclass(frozen=True)
class Counters:
    """CPU seconds since the machine's start, on the cores that this process may use."""

    cores: int
    total: float  # of every kind, idle ones too: an honest counter runs with the clock
    work: float
    stolen: float  # by the host of a virtual machine
    own: float  # the node and all that it started; ended ones too, once they are waited for


@dataclass(frozen=True)
class Sample:
    seconds: float  # the node's clock
    counters: Counters | None  # None: this machine does not say


@dataclass(frozen=True)
class Seen:
    """A trial as machine and clock saw it. None: not known, or nobody's word to take."""

    foreign_cores: float | None  # cores' worth of work that was not the node's, on average
    drift: float | None  # share by which its slowest third was slower than its fastest
    tokens_per_second: float | None


@dataclass(frozen=True)
class Usual:
    """What this node knows of itself."""

    cores: float  # that a trial uses
    spare_cores: float  # that a trial leaves to others
    foreign_cores: float = 0.0
    tokens_per_second: float | None = None  # of steady trials of the same source and config


@dataclass(frozen=True)
class Conditioned:
    condition: Condition
    reason: str  # one sentence for people, empty when steady
    foreign_cores: float | None


class Conditions:
    """Says of each trial how the machine was. Lives as long as the node, so that it learns what is usual here."""

    def __init__(self, hardware: Hardware, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._cores = hardware.threads if hardware.device == "cpu" else min(GPU_TRIAL_CORES, hardware.threads)
        self._loads: deque[float] = deque(maxlen=RECENT_TRIALS)
        self._marks: deque[bool] = deque(maxlen=RECENT_MARKS)
        self._speeds: OrderedDict[str, deque[float]] = OrderedDict()  # of steady trials, by key

    def begin(self) -> Sample:
        """Just before the hand-over."""
        return Sample(trio.current_time(), read_counters(os.getpid(), self._proc))

    def end(self, began: Sample, curve: Sequence[CurvePoint], key: str, tokens: int, *, shipped: bool) -> Conditioned:
        """Just after the end of a training that used its budget up; one that ended early says nothing about speed.

        `key`: equal for trials that run the same source and config. `tokens`: as the script says.
        """
        ended = self.begin()
        seconds = ended.seconds - began.seconds
        speed = tokens / seconds if shipped and tokens > 0 and seconds >= MIN_SECONDS else None
        seen = Seen(foreign_cores(began, ended), drift(curve) if shipped else None, speed)
        verdict, reason = condition(seen, self._usual(began, key))
        self._learn(seen, key, steady=verdict is Condition.STEADY)
        return Conditioned(verdict, reason, seen.foreign_cores)

    def repeat_pays(self) -> bool:
        """Most of the latest trials were steady, so another attempt will most likely be."""
        return 2 * sum(self._marks) <= max(len(self._marks), MIN_MARKS)

    def _usual(self, began: Sample, key: str) -> Usual:
        here, speeds = began.counters.cores if began.counters else self._cores, self._speeds.get(key)
        speed = median(speeds) if speeds else None
        return Usual(self._cores, max(0, here - self._cores), usual_load(self._loads), speed)

    def _learn(self, seen: Seen, key: str, *, steady: bool) -> None:
        self._marks.append(not steady)
        if seen.foreign_cores is not None:
            self._loads.append(seen.foreign_cores)  # of disturbed trials too: a machine may be shared from now on
        if steady and seen.tokens_per_second is not None:
            self._speeds.setdefault(key, deque(maxlen=SPEEDS)).append(seen.tokens_per_second)
            self._speeds.move_to_end(key)
            if len(self._speeds) > KEYS:
                self._speeds.popitem(last=False)


def condition(seen: Seen, usual: Usual) -> tuple[Condition, str]:
    """How the machine was for a trial, and why in one sentence."""
    slower, how = _slower(seen, usual)
    if slower is None:
        return Condition.STEADY, ""
    lost_cores = _lost_cores(seen, usual)
    explained = slower > 0 and lost_cores / usual.cores >= EXPLAINED_SHARE * slower
    if explained or lost_cores > max(CONTENDED_CORES, CONTENDED_SHARE * usual.cores):
        load = f"other work used {seen.foreign_cores or 0:.1f} cores, usually {usual.foreign_cores:.1f}"
        return Condition.CONTENDED, "; ".join(filter(None, (load, how)))
    if slower:
        why = "what else ran is not known" if seen.foreign_cores is None else "no other work here explains it"
        return Condition.THROTTLED, f"{how}; {why}"
    return Condition.STEADY, ""


def _slower(seen: Seen, usual: Usual) -> tuple[float | None, str]:
    """The share of its speed that a trial lost, and the words; 0: not enough to say; None: certainly nothing."""
    now, before = seen.tokens_per_second, usual.tokens_per_second
    if now and before:
        if now >= (1 - SAME_SHARE) * before:
            return None, ""
        if now < (1 - SLOW_SHARE) * before:
            return 1 - now / before, f"{now:,.0f} tokens/s, usually {before:,.0f} for the same"
    if seen.drift is not None and seen.drift > SLOW_SHARE:
        return seen.drift, f"a third of it ran {100 * seen.drift:.0f} % slower than another"
    return 0.0, ""


def _lost_cores(seen: Seen, usual: Usual) -> float:
    """What other work took from a trial beyond what it takes here anyway; idle cores cost it nothing."""
    if seen.foreign_cores is None:
        return 0.0
    taken, taken_usually = (max(0.0, load - usual.spare_cores) for load in (seen.foreign_cores, usual.foreign_cores))
    return taken - taken_usually


def usual_load(loads: Sequence[float]) -> float:
    """Of the latest trials' foreign loads, what is normal here: 0 until there are enough to say."""
    return sorted(loads)[len(loads) // USUAL_QUANTILE] if len(loads) >= MIN_TRIALS else 0.0


def drift(curve: Sequence[CurvePoint]) -> float | None:
    """The share by which the slowest third of a curve is slower than the fastest. None: too short to say."""
    if len(curve) < 2 or curve[-1].step - curve[0].step < MIN_STEPS:
        return None
    seconds = (1 - WARM_UP_SHARE) * (curve[-1].seconds - curve[0].seconds)
    if seconds < MIN_SECONDS:
        return None
    marks = [_step_at(curve, curve[-1].seconds - seconds * left / 3) for left in (3, 2, 1, 0)]
    steps = [b - a for a, b in pairwise(marks)]
    return 1 - min(steps) / max(steps)


def _step_at(curve: Sequence[CurvePoint], seconds: float) -> float:
    """Between two points the speed was even, as far as anyone can tell."""
    after = min(max(1, bisect_left(curve, seconds, key=lambda point: point.seconds)), len(curve) - 1)
    a, b = curve[after - 1], curve[after]
    return a.step + (b.step - a.step) * (seconds - a.seconds) / max(b.seconds - a.seconds, 1e-9)


def foreign_cores(began: Sample, ended: Sample) -> float | None:
    """Cores' worth of work between two samples that was not the node's. None: the counters do not say."""
    before, after, seconds = began.counters, ended.counters, ended.seconds - began.seconds
    if before is None or after is None or before.cores != after.cores or seconds < MIN_SECONDS:
        return None
    counted, own = (after.total - before.total) / (seconds * after.cores), after.own - before.own
    if not 0.5 < counted < 1.5 or own < 0:  # zeros of an emulated kernel; or a whole family of ours was lost unseen
        return None
    work = max(0.0, after.work - before.work - own)  # some kernels count stolen time as the work of whom it was stolen
    return (work + after.stolen - before.stolen) / seconds


def read_counters(root_pid: int, proc: Path = Path("/proc")) -> Counters | None:
    """The machine's counters, and those of a process with all that it started. None: this machine has none."""
    try:
        cores = os.sched_getaffinity(0)
        rows = [row for core, row in _rows((proc / "stat").read_text()) if core in cores]
        user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen = map(sum, zip(*rows, strict=True))
        own = _family_ticks(root_pid, proc)
    except (OSError, ValueError, IndexError, KeyError, AttributeError):  # no Linux, or not quite one
        return None
    work, tick = user + nice + system + interrupts + soft_interrupts, 1 / os.sysconf("SC_CLK_TCK")
    return Counters(len(rows), (work + idle + waiting + stolen) * tick, work * tick, stolen * tick, own * tick)


def _rows(stat: str) -> Iterator[tuple[int, list[int]]]:
    """Each core and its ticks: user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen."""
    for line in stat.splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            yield int(name[3:]), [int(count) for count in ticks[:8]]


def _family_ticks(root_pid: int, proc: Path) -> int:
    """Of a process and its descendants, each with the ended children it waited for: a killed script still counts."""
    processes = dict(_processes(proc))
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in processes.items():
        children.setdefault(parent, []).append(pid)
    family, total = [root_pid], 0
    while family:
        pid = family.pop()
        total += processes[pid][1]
        family += children.get(pid, [])
    return total


def _processes(proc: Path) -> Iterator[tuple[int, tuple[int, int]]]:
    """Each process: its parent and its ticks. Takes 14 µs a process."""
    for entry in os.listdir(proc):
        if entry.isdigit():
            try:
                fields = (proc / entry / "stat").read_bytes().rpartition(b")")[2].split()  # the name may hold anything
            except OSError:  # ended meanwhile
                continue
            yield int(entry), (int(fields[1]), sum(int(ticks) for ticks in fields[11:15]))

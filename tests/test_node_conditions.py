"""node/trials/conditions.py: which trials the machine disturbed, from tables and from real busy processes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from node.trials import conditions
from node.trials.conditions import (
    RECENT_TRIALS,
    Conditions,
    Counters,
    Sample,
    Seen,
    Usual,
    condition,
    drift,
    foreign_cores,
    read_counters,
    usual_load,
)
from node.trials.hardware import Hardware
from swarm.finding import CurvePoint
from swarm.words import Condition

STEADY, CONTENDED, THROTTLED = Condition.STEADY, Condition.CONTENDED, Condition.THROTTLED
CPU = Hardware("cpu", "cpu-x86_64-2", "two cores", 2, "cpu")
GPU = Hardware("gpu", "cuda-nvidia-h100-80gb", "an H100", 16, "cuda")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SPIN = "import time\nwhile time.process_time() < {}: pass\nprint('spun', flush=True)\nimport sys; sys.stdin.read()"


def curve(*rates, seconds=60.0):
    """One point a second; the rates, in steps a second, share the time equally."""
    points, step = [CurvePoint(step=1, seconds=0.5, train_loss=5.0)], 1.0
    for second in range(1, int(seconds) + 1):
        step += rates[min(len(rates) - 1, int((second - 0.5) / seconds * len(rates)))]
        points.append(CurvePoint(step=int(step), seconds=second + 0.5, train_loss=3.0))
    return tuple(points)


# --- the judgement ---


@pytest.mark.parametrize(
    ("seen", "usual", "expected"),
    [
        # a quiet machine, and one that says nothing
        (Seen(0.05, 0.03, None), Usual(2, 0), STEADY),
        (Seen(None, None, None), Usual(2, 0), STEADY),
        (Seen(None, 0.12, 1000.0), Usual(2, 0), STEADY),
        # other work: a share of the trial's cores, never a trifle, and only beyond what is usual
        (Seen(0.29, None, None), Usual(2, 0), STEADY),
        (Seen(0.31, None, None), Usual(2, 0), CONTENDED),
        (Seen(0.19, None, None), Usual(1, 0), STEADY),
        (Seen(0.21, None, None), Usual(1, 0), CONTENDED),
        (Seen(1.0, None, None), Usual(2, 0, 0.9), STEADY),
        (Seen(1.4, None, None), Usual(2, 0, 0.9), CONTENDED),
        (Seen(0.1, None, None), Usual(2, 0, 0.9), STEADY),  # quieter than usual
        # cores that the trial leaves idle may be used
        (Seen(12.0, None, None), Usual(2, 14), STEADY),
        (Seen(14.5, None, None), Usual(2, 14), CONTENDED),
        (Seen(14.5, None, None), Usual(2, 14, 14.4), STEADY),
        # slower on the way, or than the same trial before
        (Seen(0.05, 0.19, None), Usual(2, 0), STEADY),
        (Seen(0.05, 0.35, None), Usual(2, 0), THROTTLED),
        (Seen(None, 0.35, None), Usual(2, 0), THROTTLED),
        (Seen(0.05, 0.05, 790.0), Usual(2, 0, 0.0, 1000.0), THROTTLED),
        (Seen(0.05, 0.05, 810.0), Usual(2, 0, 0.0, 1000.0), STEADY),
        (Seen(0.05, 0.05, 790.0), Usual(2, 0), STEADY),  # nothing to compare with
        # slower, and a load that would be too small by itself accounts for it
        (Seen(0.25, 0.35, None), Usual(2, 0), CONTENDED),
        (Seen(0.25, 0.35, None), Usual(2, 0, 0.24), THROTTLED),
        (Seen(0.25, 0.05, 700.0), Usual(2, 0, 0.0, 1000.0), CONTENDED),
        # as fast as ever: nothing that else ran has touched it
        (Seen(1.0, 0.3, 960.0), Usual(2, 0, 0.0, 1000.0), STEADY),
        (Seen(1.0, 0.3, 940.0), Usual(2, 0, 0.0, 1000.0), CONTENDED),
    ],
)
def test_a_condition(seen, usual, expected):
    verdict, reason = condition(seen, usual)
    assert verdict is expected
    assert bool(reason) == (expected is not STEADY)


def test_reasons_are_sentences_for_people():
    assert condition(Seen(0.8, 0.3, None), Usual(2, 0, 0.1))[1] == (
        "other work used 0.8 cores, usually 0.1; a third of it ran 30 % slower than another"
    )
    assert condition(Seen(0.0, 0.0, 1200.0), Usual(2, 0, 0.0, 2000.0))[1] == (
        "1,200 tokens/s, usually 2,000 for the same; no other work here explains it"
    )
    assert condition(Seen(None, 0.3, None), Usual(2, 0))[1].endswith("what else ran is not known")


@pytest.mark.parametrize(
    ("rates", "marked"),
    [  # steps a second in the three thirds of real trials
        ((62.2, 62.0, 61.5), False),
        ((84.5, 96.3, 96.6), False),  # the first third still warming up
        ((41.3, 41.8, 38.2), False),
        ((73.1, 55.1, 52.7), True),
        ((58.1, 28.6, 61.4), True),  # disturbed in the middle
        ((8.1, 22.0, 53.8), True),  # at the beginning
        ((67.3, 51.6, 8.4), True),
    ],
)
def test_drift_of_real_trials(rates, marked):
    assert (drift(curve(*rates)) > conditions.SLOW_SHARE) is marked


def test_drift_measures_what_was_lost():
    assert drift(curve(20, 20, 10)) == pytest.approx(0.5, abs=0.03)
    assert drift(curve(20)) == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize(
    "points",
    [
        (),
        curve(20)[:1],
        curve(20, seconds=5),  # short
        curve(0.2),  # few steps
        (CurvePoint(step=1, seconds=3.0, train_loss=1.0),) * 40,  # all at once
    ],
)
def test_a_curve_with_little_to_it_says_nothing(points):
    assert drift(points) is None


def test_a_script_that_stood_still_has_drifted_though_it_said_nothing_meanwhile():
    before, after = curve(20)[:21], curve(20)[21:]
    late = tuple(replace(point, seconds=point.seconds + 25) for point in after)
    assert drift(before + late) > 0.4


def test_a_gap_in_what_was_heard_is_no_drift():
    steady = curve(20)
    assert drift(steady[:20] + steady[45:]) < 0.03
    assert drift(steady[:1] + steady[-1:]) == pytest.approx(0.0)


# --- what is usual ---


def test_nothing_is_usual_before_three_trials():
    assert [usual_load([0.9] * count) for count in range(5)] == [0.0, 0.0, 0.0, 0.9, 0.9]


def night(loads):
    """The conditions of a night's trials by their foreign loads, two cores."""
    seen_before, marks = [], []
    for load in loads:
        usual = Usual(2, 0, usual_load(seen_before[-RECENT_TRIALS:]))
        marks.append(condition(Seen(load, None, None), usual)[0])
        seen_before.append(load)
    return marks


def test_an_owner_who_comes_back_for_an_hour_is_no_new_usual():
    quiet = [0.02, 0.05, 0.11, 0.04]
    marks = night(quiet * 50 + [0.9, 1.3] * 15 + quiet * 10)
    assert marks == [STEADY] * 200 + [CONTENDED] * 30 + [STEADY] * 40


def test_a_machine_that_is_always_shared_is_contended_only_until_that_is_known():
    marks = night([0.95, 1.05, 1.0, 0.9, 1.1] * 10)
    assert marks == [CONTENDED] * 3 + [STEADY] * 47


def test_a_machine_that_was_busy_at_the_start_is_soon_known_as_quiet():
    marks = night([1.0] * 10 + [0.05] * 5 + [1.0])
    assert marks[10:] == [STEADY] * 5 + [CONTENDED]


# --- the counters ---


def sample(seconds, work=0.0, own=0.0, *, stolen=0.0, total=None, cores=2):
    return Sample(seconds, Counters(cores, cores * seconds if total is None else total, work, stolen, own))


@pytest.mark.parametrize(
    ("began", "ended", "expected"),
    [
        (sample(0), sample(10, work=12, own=10), 0.2),
        (sample(100, work=50, own=20), sample(110, work=62, own=30), 0.2),
        (sample(0), sample(10, work=10, own=10, stolen=4), 0.4),
        (sample(0), sample(10, work=10, own=14, stolen=4), 0.4),  # a kernel that calls stolen time the victim's work
        (sample(0), sample(10, work=10, own=10.3), 0.0),  # rounding
        (sample(0), sample(4, work=8), None),  # too short
        (sample(0), sample(10, total=0), None),  # zeros of an emulated kernel
        (sample(0), sample(10, cores=1), None),  # a core was taken away
        (sample(0, own=9), sample(10, own=1), None),
        (Sample(0, None), sample(10), None),
        (sample(0), Sample(10, None), None),
    ],
)
def test_foreign_cores(began, ended, expected):
    assert foreign_cores(began, ended) == (None if expected is None else pytest.approx(expected))


STAT = (
    "cpu  9 9 9 9 9 9 9 9 0 0\n" + "".join(f"cpu{i} 100 50 20 800 10 3 2 15 7 7\n" for i in range(4096)) + "intr 5 0\n"
)


@linux
def test_a_machines_files_are_read_as_they_are(tmp_path):
    tick = os.sysconf("SC_CLK_TCK")
    (tmp_path / "stat").write_text(STAT)
    for pid, parent, name in ((50, 1, "node"), (51, 50, ") R 1 (warm"), (52, 51, "train"), (60, 1, "someone else")):
        (tmp_path / str(pid)).mkdir()
        line = f"{pid} ({name}) S {parent} 0 0 0 0 0 0 0 0 0 100 20 3 4 20 0 1 0"
        (tmp_path / str(pid) / "stat").write_text(line)
    cores = len(os.sched_getaffinity(0))
    seconds = {"total": 1000 / tick, "work": 175 / tick, "stolen": 15 / tick}
    expected = Counters(
        cores, **{name: pytest.approx(cores * each) for name, each in seconds.items()}, own=3 * 127 / tick
    )
    assert read_counters(50, tmp_path) == expected
    assert read_counters(70, tmp_path) is None  # no such process


@pytest.mark.parametrize("stat", [None, "", "cpu 1 2 3\n", "cpu0 a b c\n", "cpu0 1 2\n", "no such thing\n\n"])
def test_a_machine_without_such_files_says_nothing(tmp_path, stat):
    if stat is not None:
        (tmp_path / "stat").write_text(stat)
        (tmp_path / "50").mkdir()
        (tmp_path / "50" / "stat").write_text("50 (node) S 1 0 0 0 0 0 0 0 0 0 100 20 3 4 20 0 1 0")
    assert read_counters(50, tmp_path) is None


class Busy:
    """A process that uses some CPU time and then waits."""

    def __init__(self, cpu_seconds, code=SPIN):
        command = [sys.executable, "-S", "-c", code.format(cpu_seconds)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_spun(self):
        assert self.process.stdout.readline() == "spun\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@linux
def test_a_strangers_work_is_foreign(monkeypatch):
    monkeypatch.setattr(conditions, "MIN_SECONDS", 0.0)
    with Busy(0.0) as node, Busy(0.0) as idle:
        node.wait_spun(), idle.wait_spun()
        began = Sample(time.monotonic(), read_counters(node.process.pid))
        with Busy(0.4) as stranger:
            stranger.wait_spun()
            ended = Sample(time.monotonic(), read_counters(node.process.pid))
    # The stranger had 0.4 s. Other work on this machine can only add to that.
    assert foreign_cores(began, ended) * (ended.seconds - began.seconds) > 0.3
    assert ended.counters.own - began.counters.own < 0.1


PARENT = """import subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", {!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline(); print("spun", flush=True); sys.stdin.readline()
child.kill(); child.wait(); print("spun", flush=True); sys.stdin.read()"""


@linux
def test_own_work_is_that_of_all_descendants_and_of_the_dead():
    before = read_counters(os.getpid()).own
    with Busy(SPIN.format(0.3), PARENT) as parent:
        parent.wait_spun()
        assert read_counters(os.getpid()).own - before >= 0.25
        parent.process.stdin.write("kill it\n")
        parent.process.stdin.flush()
        parent.wait_spun()
        assert read_counters(os.getpid()).own - before >= 0.25
        assert read_counters(parent.process.pid).own >= 0.25
    assert read_counters(os.getpid()).own - before >= 0.25


# --- the whole ---


class Machine:
    """A machine's /proc and clock, moved by a test."""

    def __init__(self, proc, clock, monkeypatch, cores=2):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        self.proc, self.clock, self.cores = proc, clock, cores
        self.work = self.own = self.total = 0.0
        (proc / str(os.getpid())).mkdir()
        self.run(0, 0, 0)

    def run(self, own, foreign, seconds=60.0):
        """For so many seconds so many cores each."""
        tick = os.sysconf("SC_CLK_TCK")
        self.own += own * seconds * tick
        self.work += (own + foreign) * seconds * tick
        self.total += self.cores * seconds * tick
        each = f"{self.work / self.cores:.0f} 0 0 {(self.total - self.work) / self.cores:.0f} 0 0 0 0 0 0\n"
        (self.proc / "stat").write_text("".join(f"cpu{core} {each}" for core in range(self.cores)))
        own = f"1 (node) S 0 0 0 0 0 0 0 0 0 0 {self.own:.0f} 0 0 0 20 0 1 0"
        (self.proc / str(os.getpid()) / "stat").write_text(own)
        self.clock.jump(seconds)


def trial(judge, machine, foreign=0.0, tokens=60_000, rates=(20,), key="a", shipped=True):
    began = judge.begin()
    machine.run(own=1.8 - foreign, foreign=foreign)
    return judge.end(began, curve(*rates), key, tokens, shipped=shipped)


async def test_a_nodes_trials(tmp_path, mock_clock, monkeypatch):
    machine = Machine(tmp_path, mock_clock, monkeypatch)
    judge = Conditions(CPU, machine.proc)
    assert trial(judge, machine).condition is STEADY
    assert trial(judge, machine, tokens=62_000).condition is STEADY
    busy = trial(judge, machine, foreign=0.5, tokens=45_000)
    assert (busy.condition, busy.foreign_cores) == (CONTENDED, pytest.approx(0.5, abs=0.01))
    assert busy.reason
    assert trial(judge, machine, tokens=40_000).condition is THROTTLED  # against the steady ones of its key
    assert trial(judge, machine, tokens=40_000, key="b").condition is STEADY  # another config
    assert trial(judge, machine, rates=(20, 20, 9), key="c").condition is THROTTLED
    assert trial(judge, machine, foreign=0.5, key="a").condition is STEADY  # as fast as ever


async def test_a_changed_script_cannot_earn_a_mark(tmp_path, mock_clock, monkeypatch):
    machine = Machine(tmp_path, mock_clock, monkeypatch)
    judge = Conditions(CPU, machine.proc)
    for tokens, rates in ((60_000, (20,)), (10_000, (20, 5, 1)), (0, (1,)), (60_000, (20, 20, 2))):
        assert trial(judge, machine, tokens=tokens, rates=rates, shipped=False).condition is STEADY
    assert trial(judge, machine, foreign=0.7, shipped=False).condition is CONTENDED


async def test_a_gpu_trial_shares_the_cores_it_does_not_need(tmp_path, mock_clock, monkeypatch):
    machine = Machine(tmp_path, mock_clock, monkeypatch, cores=16)
    judge = Conditions(GPU, machine.proc)
    for foreign, expected in ((10.0, STEADY), (14.0, STEADY), (15.0, CONTENDED)):
        began = judge.begin()
        machine.run(own=min(1.0, 16 - foreign), foreign=foreign)
        assert judge.end(began, (), "a", 0, shipped=True).condition is expected


async def test_a_machine_without_counters_is_judged_by_speed_alone(tmp_path, mock_clock):
    judge = Conditions(CPU, tmp_path)
    for tokens, expected in ((60_000, STEADY), (40_000, THROTTLED)):
        began = judge.begin()
        mock_clock.jump(60)
        assert judge.end(began, (), "a", tokens, shipped=True).condition is expected


async def test_repeating_pays_unless_the_machine_is_mostly_disturbed(tmp_path, mock_clock, monkeypatch):
    machine = Machine(tmp_path, mock_clock, monkeypatch)
    judge = Conditions(CPU, machine.proc)
    pays = []
    for rates in ((20, 5, 20), (20, 5, 20), (20, 5, 20), (20,), (20,), (20,), (20,), (20, 5, 20)):
        trial(judge, machine, rates=rates, tokens=0)
        pays.append(judge.repeat_pays())
    assert pays == [True, True, False, False, False, True, True, True]


async def test_this_machine_at_this_moment(mock_clock):
    judge = Conditions(CPU)
    began = judge.begin()
    assert (began.counters is not None) == (sys.platform == "linux")
    said = judge.end(began, (), "a", 0, shipped=True)
    assert (said.condition, said.foreign_cores) == (STEADY, None)  # no time has passed

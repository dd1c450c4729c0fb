"""node/trials/trainer.py with a real warm process: how trials end, and that nothing of them stays behind.

The endings are gathered in one event loop, one after the other as a node would run them, and each test looks at one of
them: starting the warm process costs seconds.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio

from node.sandbox.confinement import unconfined
from node.sandbox.spec import limits_for
from node.trials.ending import disk_problem
from node.trials.hardware import Hardware
from node.trials.output import LOG_BYTES
from node.trials.trainer import Job, LocalTrainer, Progress, TrialReport
from node.trials.warm_process import TrainerError
from swarm.finding import Track
from swarm.words import Outcome

ROOT = Path(__file__).parent.parent
BASE = tomllib.loads((ROOT / "configs/gpt.toml").read_text())["base"]
TINY = {**BASE, "depth": 1, "width": 32, "heads": 2, "context": 32, "batch_size": 4, "embedding_std": 0.1}
TEXT = b"".join(b"the answer to question %d is %d.\n" % (i, i * i % 97) for i in range(400))
HARDWARE = Hardware("cpu", "cpu-test-1", "test", 1, "cpu")
# How scripts end where nothing holds them; tests/test_sandbox.py has them confined.
UNCONFINED = unconfined(limits_for(HARDWARE), unsafe=True)
SOURCE = (ROOT / "experiments/train.py").read_text()


@dataclass
class Watching:
    """Notes what a trainer tells."""

    heard: list[Progress]
    stages: list[str] = field(default_factory=list)

    def training(self) -> None:
        self.stages.append("training")

    def progress(self, progress: Progress) -> None:
        self.heard.append(progress)

    def trained(self) -> None:
        self.stages.append("trained")


PRETEND = "import sys; out = sys.argv[sys.argv.index('--out') + 1]\n"  # no torch: these end in milliseconds
WEIGHTS = """
def main():
    import sys
    out = sys.argv[sys.argv.index('--out') + 1]
    open(out + '/weights.safetensors', 'wb').write((2).to_bytes(8, 'little') + b'{}')
    for _ in range(MEGABYTES):
        sys.stdout.write('x' * 99 + chr(10) + 'y' * (2**20 - 100))
if __name__ == "__main__":
    main()
"""
UNIFORM = """
import torch
class Uniform(torch.nn.Module):
    def forward(self, tokens):
        return torch.full((*tokens.shape, 256), LEVEL)
def build_model(config, vocab_size):
    return Uniform()
"""
SCRIPTS = {
    "crash": "def f():\n    raise ValueError('no\\x1b[31m such\\n layer')\nf()\n",
    "syntax": "def f(:\n",
    "exit": "import sys; sys.exit('not with this config')\n",
    "no_weights": PRETEND,
    "linked_weights": PRETEND + "import os; os.symlink('/etc/passwd', out + '/weights.safetensors')\n",
    "broken_weights": PRETEND + "open(out + '/weights.safetensors', 'wb').write(b'x' * 99)\n",
    "diverged": 'import sys; print(\'{"event": "end", "reason": "loss is nan"}\'); sys.exit(3)\n',
    "no_memory": "import sys; sys.exit(4)\n",
    "signal": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n",
    "killed_small": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n",
    "hang": "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)\n",
    "flood": "MEGABYTES = 50\nLEVEL = 0.0\n" + UNIFORM + WEIGHTS,
    "nan_logits": "MEGABYTES = 0\nLEVEL = float('nan')\n" + UNIFORM + WEIGHTS,
    "environment": "import os, json\nprint(json.dumps([dict(os.environ), os.listdir('/proc/self/fd')]))\n",
    "stdin": "import sys\nprint(repr(sys.stdin.read()))\n",
    "daemon": PRETEND
    + """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(PIDS, 'a').write(f'{os.getpid()}\\n')
        time.sleep(600)
    os._exit(0)
while not os.path.exists(PIDS) or not open(PIDS).read(): time.sleep(0.01)
""",
}


@dataclass(frozen=True)
class AfterPoints:
    """Gives a run up at its n-th point."""

    points: int = 3

    def hopeless(self, points) -> str:
        return f"hopeless from loss {points[0][1]:.1f} on" if len(points) >= self.points else ""


PROGRESS = """
import json, time
for step in range(1, 200):
    print(json.dumps({"event": "progress", "step": step, "tokens": step, "train_loss": 9.0}), flush=True)
    time.sleep(0.3)
"""


@dataclass
class Gathered:
    scratch: Path
    reports: dict[str, TrialReport] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)  # what lay in scratch after it
    progress: list[Progress] = field(default_factory=list)
    warm_pids: list[int] = field(default_factory=list)
    daemons: list[int] = field(default_factory=list)
    cancel_seconds: float = 0.0
    cancelled_pid: int = 0
    lost: TrialReport | None = None
    next_one: TrialReport | None = None
    stop_seconds: float = 0.0
    hopeless_pids: list[int] = field(default_factory=list)
    hopeless_stages: list[str] = field(default_factory=list)
    stopped_pid: int = 0


def job(source: str, budget_seconds: float = 1.0) -> Job:
    track = Track(hardware_class="cpu-test-1", budget_seconds=budget_seconds)
    return Job(source=source, config=TINY, seed=1, track=track)


def make_trainer(folder: Path, experiments: Path = ROOT / "experiments") -> LocalTrainer:
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    (shards / "train.bin").write_bytes(TEXT)
    (shards / "validation.bin").write_bytes(TEXT[:2000])
    return LocalTrainer(experiments, shards, 2000, 256, folder / "scratch", HARDWARE, UNCONFINED)


def alive(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def pids_in(path: Path) -> list[int]:
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


async def until_pids(path: Path, count: int = 1) -> list[int]:
    with trio.fail_after(20):
        while len(pids_in(path)) < count:
            await trio.sleep(0.01)
    return pids_in(path)


async def gather(folder: Path) -> Gathered:
    trainer = make_trainer(folder)
    stale = folder / "scratch" / "trial-of-a-killed-node" / "deep"
    stale.mkdir(parents=True)
    found = Gathered(folder / "scratch")
    pids = folder / "daemon.pids"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        found.reports["measured"] = await trainer.train(job(SOURCE, 2.5), Watching(found.progress))
        found.left["start"] = os.listdir(found.scratch)
        for name, script in SCRIPTS.items():
            begin = trio.current_time()
            script = f"PIDS = {str(pids)!r}\n{script}"
            found.reports[name] = await trainer.train(job(script, 0.5), Watching([]))
            found.seconds[name] = trio.current_time() - begin
            found.left[name] = os.listdir(found.scratch)
        found.daemons = pids_in(pids)
        pids = folder / "stopped-early.pids"
        hopeless = replace(job(f"{sleeper(pids, seconds=0)}{PROGRESS}", 60.0), early_stop=AfterPoints())
        begin, watching = trio.current_time(), Watching([])
        found.reports["hopeless"] = await trainer.train(hopeless, watching)
        found.seconds["hopeless"], found.left["hopeless"] = trio.current_time() - begin, os.listdir(found.scratch)
        found.hopeless_pids, found.hopeless_stages = pids_in(pids), watching.stages
        ending = replace(job(PRETEND + PROGRESS.replace("200", "3"), 5.0), early_stop=AfterPoints())
        found.reports["ended_first"] = await trainer.train(ending, Watching([]))
        await cancel_one(trainer, found, folder / "cancelled.pids")
        await lose_the_warm_process(trainer, found, folder / "lost.pids")
        nursery.start_soon(trainer.train, job(sleeper(folder / "stopped.pids"), 60.0), Watching([]))
        [found.stopped_pid] = await until_pids(folder / "stopped.pids")
        begin = trio.current_time()
        nursery.cancel_scope.cancel()
    found.stop_seconds = trio.current_time() - begin
    found.left["stopped"] = os.listdir(found.scratch)
    return found


def sleeper(pids: Path, seconds: float = 600) -> str:
    return f"import os, time\nopen({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep({seconds})\n"


async def cancel_one(trainer: LocalTrainer, found: Gathered, pids: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.train, job(sleeper(pids), 60.0), Watching([]))
        [found.cancelled_pid] = await until_pids(pids)
        begin = trio.current_time()
        nursery.cancel_scope.cancel()
    found.cancel_seconds = trio.current_time() - begin
    found.left["cancelled"] = os.listdir(found.scratch)


async def lose_the_warm_process(trainer: LocalTrainer, found: Gathered, pids: Path) -> None:
    async def keep() -> None:
        found.lost = await trainer.train(job(sleeper(pids), 60.0), Watching([]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        found.warm_pids = [trainer._warm.pid or 0, *await until_pids(pids)]
        os.kill(found.warm_pids[0], signal.SIGKILL)
    found.next_one = await trainer.train(job(SOURCE, 2.0), Watching([]))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-secret")
        return trio.run(gather, tmp_path_factory.mktemp("trainer"))


def test_a_measured_trial(found):
    report = found.reports["measured"]
    trial = report.trial
    assert trial.outcome is Outcome.MEASURED, report.log
    assert 0.1 < trial.val_bpb < 6  # the text is small and repeats itself
    assert trial.steps > 1
    assert trial.tokens == trial.steps * TINY["batch_size"] * TINY["context"]
    assert trial.parameters > 10_000
    assert trial.peak_memory_bytes > 50 * 2**20
    assert (trial.seed, trial.track.budget_seconds, trial.reason) == (1, 2.5, "")
    assert trial.curve == report.curve
    assert report.curve[-1].step == trial.steps
    assert '"event": "end"' in report.log
    assert report.gradients is not None
    assert 0 < report.gradients.last <= report.gradients.largest < 1e3


def test_a_trial_uses_its_budget_and_not_more(found):
    assert 1.0 < found.reports["measured"].training_seconds < 4.5  # 2.5 on a quiet machine; 4.5 kills it
    assert found.reports["measured"].trial.seconds == found.reports["measured"].training_seconds


def test_progress_is_live_and_on_the_nodes_clock(found):
    assert [point.step for point in found.progress] == sorted(point.step for point in found.progress)
    assert all(0 < point.seconds < 4.5 and point.budget_seconds == 2.5 for point in found.progress)
    assert found.progress[0].train_loss > 3


ENDINGS = {
    "crash": (Outcome.CRASHED, "ValueError: no [31m such layer"),
    "syntax": (Outcome.CRASHED, "SyntaxError: "),
    "exit": (Outcome.CRASHED, "not with this config"),
    "no_weights": (Outcome.CRASHED, "left no weights.safetensors"),
    "linked_weights": (Outcome.CRASHED, "left no weights.safetensors"),
    "broken_weights": (Outcome.CRASHED, "measuring: "),
    "diverged": (Outcome.DIVERGED, "loss is nan"),
    "no_memory": (Outcome.OUT_OF_MEMORY, "out of memory"),
    "signal": (Outcome.CRASHED, "killed by signal 11"),
    "killed_small": (Outcome.CRASHED, "killed by signal 9"),
    "hang": (Outcome.TIMED_OUT, "still running 2 s after the budget of 0.5 s"),
    "nan_logits": (Outcome.DIVERGED, "measuring: the model answers numbers that are not finite"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_bad_endings_are_outcomes_with_one_sentence(found, name):
    outcome, reason = ENDINGS[name]
    trial = found.reports[name].trial
    assert (trial.outcome, trial.val_bpb) == (outcome, None), found.reports[name].log
    assert trial.reason.startswith(reason)
    assert trial.reason.isprintable()


def test_a_crash_leaves_its_traceback_in_the_log_without_our_own_frames(found):
    log = found.reports["crash"].log
    assert "train.py" in log
    assert "in f" in log
    assert "warm.py" not in log
    assert "runpy" not in log


def test_a_hanging_script_is_killed_in_time(found):
    assert 2.4 < found.seconds["hang"] < 6


def test_fifty_megabytes_of_output_harm_nobody(found):
    report = found.reports["flood"]
    assert report.trial.outcome is Outcome.MEASURED, report.trial.reason
    assert report.trial.val_bpb == pytest.approx(8.0)  # a model that knows nothing
    assert len(report.log) < 2 * LOG_BYTES + 200
    assert "bytes cut here" in report.log


def test_a_script_sees_no_secrets_no_input_and_no_sockets(found):
    log = found.reports["environment"].log
    assert "sk-secret" not in log
    environment, descriptors = json.loads(log.splitlines()[0])
    assert environment.pop("HOME") == environment.pop("TMPDIR")
    assert len(environment) < 12
    assert descriptors == ["0", "1", "2", "3"]  # 3 is the listing itself
    assert "''" in found.reports["stdin"].log


def test_a_daemon_that_left_its_session_dies_with_its_trial(found):
    assert len(found.daemons) == 1
    assert wait_until(lambda: not alive(found.daemons[0]))


def test_nothing_of_a_trial_stays_on_disk(found):
    assert {name: left for name, left in found.left.items() if left != ["warm"]} == {}


def test_a_cancelled_trial_is_gone_within_a_second(found):
    assert found.cancel_seconds < 1.0
    assert not alive(found.cancelled_pid)


def test_a_hopeless_trial_is_killed_and_censored(found):
    report = found.reports["hopeless"]
    assert (report.trial.outcome, report.trial.val_bpb) == (Outcome.CENSORED, None)
    assert report.trial.reason == "hopeless from loss 9.0 on"
    assert report.trial.seconds == report.training_seconds < found.seconds["hopeless"] < 15.0
    assert [point.train_loss for point in report.curve] == [9.0] * 3
    assert found.hopeless_stages == ["training", "trained"]
    assert not any(alive(pid) for pid in found.hopeless_pids)
    assert found.hopeless_pids


def test_a_trial_that_ends_before_it_is_hopeless_ends_as_any_other(found):
    report = found.reports["ended_first"]
    assert (report.trial.outcome, report.trial.reason) == (Outcome.CRASHED, "left no weights.safetensors")


def test_a_lost_warm_process_costs_one_trial(found):
    assert found.lost.trial.outcome is Outcome.CRASHED
    assert found.lost.trial.reason == "the process was lost together with the one that started it"
    assert not any(alive(pid) for pid in found.warm_pids)
    assert found.next_one.trial.outcome is Outcome.MEASURED


def test_stopping_while_a_trial_runs_takes_less_than_a_second(found):
    assert found.stop_seconds < 1.0
    assert not alive(found.stopped_pid)


OWNER = """
import sys, trio
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
import test_node_trainer as here
async def own():
    trainer = here.make_trainer(Path({folder!r}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        await trainer.train(here.job(open({script!r}).read(), 60.0), here.Watching([]))
trio.run(own)
"""
FAMILY = """
import os, time
for _ in range(2):
    if os.fork() == 0:
        os.setsid() if _ else None
        break
with open({pids!r}, 'a') as file: file.write(f'{{os.getpid()}} ')
if os.getpid() == os.getsid(0): open({pids!r}, 'a').write(f'{{os.getppid()}} ')
time.sleep(600)
"""


def test_when_its_owner_is_killed_nothing_survives_a_second(tmp_path):
    pids, script = tmp_path / "pids", tmp_path / "family.py"
    script.write_text(FAMILY.format(pids=str(pids)))
    source = OWNER.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(tmp_path), script=str(script))
    owner = subprocess.Popen([sys.executable, "-c", source])
    try:
        # The trial, two children of it (one in a session of its own), the warm process (the trial's parent).
        assert wait_until(lambda: len(set(pids_in(pids))) >= 4, 30)
        family = set(pids_in(pids))
        assert all(alive(pid) for pid in family)
    finally:
        owner.kill()
        owner.wait()
    assert wait_until(lambda: not any(alive(pid) for pid in family), 1.0)


async def test_a_trainer_that_cannot_start_says_so(tmp_path, monkeypatch):
    experiments = tmp_path / "experiments"
    shutil.copytree(ROOT / "experiments", experiments)
    warm = (experiments / "warm.py").read_text()
    (experiments / "warm.py").write_text(warm.replace("import numpy", "import no_such_package"))
    trainer = make_trainer(tmp_path, experiments)
    with (
        trio.fail_after(10),
        pytest.raises(TrainerError, match=r"does not start: ModuleNotFoundError: .*no_such_package"),
    ):
        await trainer.run()


def test_a_full_disk_is_said_in_one_sentence():
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert disk_problem(error) == "the disk is full: cannot write the trial's files; free some space"


async def test_a_folder_that_cannot_be_written_is_an_outcome(tmp_path):
    trainer = make_trainer(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        with trio.fail_after(20):
            await trainer._warm.wait_ready()
        shutil.rmtree(tmp_path / "scratch")
        (tmp_path / "scratch").write_text("in the way")
        report = await trainer.train(job(SOURCE), Watching([]))
        nursery.cancel_scope.cancel()
    assert report.trial.outcome is Outcome.CRASHED
    assert report.trial.reason.startswith("cannot write the trial's files: ")

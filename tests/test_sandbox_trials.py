"""node/sandbox around real trials: what is bounded, watched, allowed and said; and that training works inside."""

import json
import os
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from escape_attempts import RESOURCES
from sandbox_world import EXPERIMENTS, HARDWARE, MIB, ROOT, SMALL, confinement_of, skip_unless

from node.sandbox.confinement import Confinement, unconfined
from node.sandbox.policy import Author, Backend, may_run
from node.sandbox.spec import Access, Means, limits_for, request
from node.sandbox.watch import Broken, Usage, broken, descendants, folder_usage, look, outer_pid
from node.trials.trainer import Job, LocalTrainer, TrialReport
from node.trials.warm_process import Ended, WarmProcess
from swarm.finding import Track
from swarm.words import Outcome

# --- Resources, as trials run ---


@dataclass
class Ran:
    ended: Ended | None
    seconds: float
    output: bytes
    alive: list[int]


async def run_all(folder: Path, mode: str) -> dict[str, Ran]:
    scratch, ran = folder / "scratch", {}
    scratch.mkdir()
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(scratch)}
    warm = WarmProcess(EXPERIMENTS / "warm.py", environment, folder / "log", confinement_of(mode), (), scratch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(warm.run)
        with trio.fail_after(30):
            await warm.wait_ready()
        for name, (script, end) in RESOURCES.items():
            ran[name] = await run_one(
                warm, scratch / name.replace(" ", "-"), script, 0.5 if end == "cancelled" else 10.0
            )
        nursery.cancel_scope.cancel()
    return ran


async def run_one(warm: WarmProcess, place: Path, script: str, patience_seconds: float) -> Ran:
    (place / "scratch").mkdir(parents=True)
    (place / "script.py").write_text(script)
    access = Access(read=(place / "script.py",), write=(), scratch=place / "scratch")
    output, began, ended = bytearray(), time.monotonic(), None
    with trio.move_on_after(patience_seconds):
        ended = await warm.execute([str(place / "script.py")], place / "scratch", output.extend, access)
    seconds = time.monotonic() - began
    assert warm.pid is not None
    left = list(descendants(warm.pid))
    await trio.run_process(["rm", "-rf", str(place)])
    return Ran(ended, seconds, bytes(output[-500:]), left)


@pytest.fixture(scope="module", params=["landlock", "bubblewrap"])
def ran(request, tmp_path_factory):
    skip_unless(request.param)
    return trio.run(run_all, Path(os.path.realpath(tmp_path_factory.mktemp("resources"))), request.param)


@pytest.mark.parametrize("name", RESOURCES)
def test_what_is_taken_is_bounded_and_comes_back(ran, name):
    one, expected = ran[name], RESOURCES[name][1]
    assert one.alive == []
    if expected == "cancelled":
        assert one.ended is None, one
        assert one.seconds < 2.0
        return
    assert one.ended is not None, one
    how = one.ended.broken.kind if one.ended.broken else f"status {one.ended.status}"
    assert how in ([expected.split()[0], "status 1"] if expected.endswith("or status") else [expected]), one


# --- The watch ---


@pytest.mark.parametrize(
    ("usage", "kind"),
    [
        (Usage(memory_bytes=SMALL.memory_bytes + 1), Broken.MEMORY),
        (Usage(scratch_bytes=SMALL.scratch_bytes + 1), Broken.SCRATCH),
        (Usage(scratch_files=SMALL.scratch_files + 1), Broken.FILES),
        (Usage(tasks=SMALL.tasks + 1), Broken.TASKS),
        (Usage(output_bytes=SMALL.output_bytes + 1), Broken.OUTPUT),
        (Usage(free_bytes=1), Broken.DISK),
    ],
)
def test_each_limit_is_watched(usage, kind):
    found = broken(usage, SMALL)
    assert found is not None
    assert found.kind is kind
    assert found.reason.startswith("stopped: ")


def test_what_is_at_its_limit_is_not_broken():
    at = Usage(SMALL.memory_bytes, SMALL.scratch_bytes, SMALL.scratch_files, SMALL.tasks, SMALL.output_bytes, 1 << 40)
    assert broken(at, SMALL) is None


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counted in /proc")
def test_a_look_counts_children_deleted_files_and_scratch(tmp_path):
    script = "import os, time; x = b'x' * (50 << 20); f = open('f', 'wb'); f.write(b'y' * (4 << 20)); f.flush()"
    script += "; os.remove('f'); print(flush=True); time.sleep(60)"
    (tmp_path / "kept").write_bytes(b"z" * MIB)
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        seen = look(os.getpid(), tmp_path, SMALL, output_bytes=7)
        child.kill()
    assert seen.memory_bytes > 50 * MIB
    assert 5 * MIB <= seen.scratch_bytes < 6 * MIB
    assert (seen.scratch_files, seen.output_bytes) == (1, 7)
    assert seen.tasks >= 1
    assert outer_pid(os.getpid(), os.getpid()) == os.getpid()


def test_a_walk_stops_at_its_limit(tmp_path):
    for number in range(30):
        (tmp_path / str(number)).touch()
    assert folder_usage(tmp_path, 10)[1] == 11
    assert folder_usage(tmp_path, 100)[1] == 30


# --- The rule, and what is said ---


def test_whose_code_may_run():
    rows = [(author, backend, unsafe) for author in Author for backend in Backend for unsafe in (False, True)]
    refused = {row for row in rows if not may_run(row[0], row[1], unsafe=row[2])}
    assert refused == {
        (Author.OWN_MODEL, Backend.NONE, False),
        (Author.PEER, Backend.NONE, False),
        (Author.PEER, Backend.NONE, True),
    }


def test_a_child_is_given_nothing_that_is_not_its_own():
    spec = request(
        Access((Path("/t/train.bin"),), (), Path("/t/scratch"), (3, 4)), SMALL, Means(True, None, None, False)
    )
    named = [*spec["read"], *spec["execute"], *spec["write"], *spec["devices"]]
    home = os.path.realpath(Path.home())
    assert not any(home == path or home.startswith(f"{path}/") for path in named)
    assert "/t/train.bin" in named
    assert (spec["fds"], spec["processes"], spec["memfd"]) == ([3, 4], False, False)


PROGRAM = """
import os, subprocess
print(subprocess.run([PYTHON, '-I', '-c', 'import csv; print("it ran")'], capture_output=True, text=True).stdout)
for path in (os.getcwd() + '/mine', SECRET_PLACE):
    try: subprocess.run([path], check=True)
    except OSError as error: print('refused', type(error).__name__)
"""


@pytest.mark.parametrize("mode", ["landlock", "landlock as the same user", "bubblewrap"])
def test_with_a_gpu_programs_of_the_system_can_be_started_and_no_others(tmp_path, mode):
    """A GPU's kernels are compiled by programs; they read what the script may read, also when the node is root."""
    skip_unless(mode)
    means = replace(confinement_of(mode).means, gpu=True)
    script, scratch = tmp_path / "script.py", tmp_path / "scratch"
    scratch.mkdir()
    outside = tmp_path / "program"
    for program in (scratch / "mine", outside):
        program.write_text("#!/bin/sh\necho it got out\n")
        program.chmod(0o755)
    script.write_text(f"PYTHON, SECRET_PLACE = {sys.executable!r}, {str(outside)!r}\n{PROGRAM}")
    spec = request(Access((script,), (), scratch), SMALL, means)
    spec["limits"]["tasks"] = None  # counts the whole user's
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-I", EXPERIMENTS / "confine.py", tmp_path / "spec.json", script]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    assert "it ran" in done.stdout, done
    assert done.stdout.count("refused") == 2, done
    assert "it got out" not in done.stdout


def test_without_a_sandbox_only_the_shipped_code_runs(tmp_path):
    nothing = unconfined(limits_for(HARDWARE))
    assert nothing.request(Access((), (), None)) is None
    assert (nothing.code_may_change, replace(nothing, unsafe=True).code_may_change) == (False, True)
    assert nothing.describe().startswith("none")
    assert "--unsafe" in replace(nothing, unsafe=True).describe()


# --- Real training ---

SHIPPED = (EXPERIMENTS / "train.py").read_text()
TEXT = b"".join(b"the answer to question %d is %d.\n" % (i, i * i % 97) for i in range(400))
PEEK = "import os, sys\nprint(sorted(os.environ))\nopen(sys.argv[sys.argv.index('--train') + 1]).read(1)\n"
PEEK += "shards = os.path.dirname(sys.argv[sys.argv.index('--train') + 1])\n"
PEEK += "open(shards + '/validation.bin', 'rb').read(1)\n"
THREADS = (
    "import torch\ntorch.set_num_threads(2)\nx = torch.randn(700, 700)\nprint((x @ x).shape, torch.get_num_threads())\n"
)


class Unwatched:
    def training(self) -> None: ...
    def progress(self, progress: object) -> None: ...
    def trained(self) -> None: ...


async def train_all(folder: Path, confinement: Confinement, sources: list[str]) -> list[TrialReport]:
    base = tomllib.loads((ROOT / "configs/gpt.toml").read_text())["base"]
    config = base | {"depth": 1, "width": 32, "heads": 2, "context": 32, "batch_size": 4}
    shards, reports = folder / "shards", []
    shards.mkdir()
    (shards / "train.bin").write_bytes(TEXT)
    (shards / "validation.bin").write_bytes(TEXT[:2000])
    trainer = LocalTrainer(EXPERIMENTS, shards, 2000, 256, folder / "scratch", HARDWARE, confinement)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        with trio.fail_after(60):
            for source in sources:
                job = Job(source, config, 1, Track(hardware_class="cpu-test-1", budget_seconds=2.0))
                reports.append(await trainer.train(job, Unwatched()))
        nursery.cancel_scope.cancel()
    return reports


@pytest.mark.parametrize("mode", ["landlock", "landlock as the same user", "bubblewrap"])
def test_the_shipped_script_trains_and_is_measured_inside(tmp_path, mode):
    skip_unless(mode)
    confinement = confinement_of(mode, limits_for(HARDWARE))
    trained, peeked, threads = trio.run(train_all, tmp_path, confinement, [SHIPPED, PEEK, THREADS])
    assert trained.trial.outcome is Outcome.MEASURED, trained.log
    assert 0.1 < trained.trial.val_bpb < 7
    assert peeked.trial.outcome is Outcome.CRASHED
    assert peeked.trial.reason.startswith(("PermissionError", "FileNotFoundError")), peeked.log
    assert "validation.bin" in peeked.trial.reason
    assert "torch.Size([700, 700]) 2" in threads.log, threads.log


def test_a_changed_script_is_not_run_where_nothing_would_hold_it(tmp_path):
    [report] = trio.run(train_all, tmp_path, unconfined(limits_for(HARDWARE)), [SHIPPED + "\n# changed\n"])
    assert report.trial.outcome is Outcome.REJECTED
    assert "nothing here could hold it" in report.trial.reason

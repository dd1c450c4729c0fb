"""node/trials/smoke.py with a real warm process: what a changed train.py has to do before it costs a budget.

Bad changes are tried as smoke runs and, where one of them passes, as the trial it then costs.
"""

import os
import random
import tomllib
from pathlib import Path

import pytest
import trio
from sandbox_world import FOUND

from node.sandbox.confinement import unconfined
from node.sandbox.policy import Backend
from node.sandbox.spec import limits_for
from node.trials import smoke
from node.trials.hardware import Hardware
from node.trials.trainer import Job, LocalTrainer, TrialReport
from swarm.brief import MAX_SOURCE_BYTES
from swarm.finding import Track
from swarm.words import Outcome

ROOT = Path(__file__).parent.parent
BASE = tomllib.loads((ROOT / "configs/gpt.toml").read_text())["base"]
TINY = {**BASE, "depth": 1, "width": 32, "heads": 2, "context": 32, "batch_size": 4, "embedding_std": 0.1}
TEXT = b"".join(b"the answer to question %d is %d.\n" % (i, i * i % 97) for i in range(400))
HARDWARE = Hardware("cpu", "cpu-test-1", "test", 1, "cpu")
HELD = FOUND if FOUND.backend is not Backend.NONE else unconfined(limits_for(HARDWARE), unsafe=True)
SOURCE = (ROOT / "experiments/train.py").read_text()
DEADLINE = "            raise OutOfTime\n"
SAVED = '            save_model(model, os.path.join(arguments.out, "weights.safetensors"))\n'
LOGITS = """
import torch
class Uniform(torch.nn.Module):
    def forward(self, tokens):
        return torch.full((*tokens.shape, 256), LEVEL)SLICE
def build_model(config, vocab_size):
    return Uniform()
if __name__ == "__main__":
    import sys
    out = sys.argv[sys.argv.index('--out') + 1]
    open(out + '/weights.safetensors', 'wb').write((2).to_bytes(8, 'little') + b'{}')
"""


def changed(before: str, after: str) -> str:
    assert SOURCE.count(before) >= 1, before
    return SOURCE.replace(before, after)


CHANGES = {
    "the shipped one": SOURCE,
    "another constant": changed("0.95 * smoothed", "0.9 * smoothed"),
    "no deadline": changed(DEADLINE, "            pass\n"),
    "honest only in a smoke run": changed(
        'if __name__ == "__main__":\n',
        'if __name__ == "__main__":\n    if "--max-steps" not in sys.argv:\n        raise KeyError("a trial")\n',
    ),
    "unknown name": changed("    torch.manual_seed(arguments.seed)\n", "    torch.manual_sead(arguments.seed)\n"),
    "no python": changed("def build_model(", "def build_model(("),
    "never imported": "while True: pass\n" + SOURCE,
    "no weights": changed(SAVED, "            pass\n"),
    "half a shape": LOGITS.replace("LEVEL", "0.0").replace("SLICE", "[:, :-1]"),
    "not a number": LOGITS.replace("LEVEL", "float('nan')").replace("SLICE", ""),
    "a text in it": SOURCE + f"\nTEXT = {random.Random(1).randbytes(6000).hex()!r}\n",
    "a NUL byte": SOURCE.replace("import json", "import json\0", 1),
    "half a character": SOURCE + "# \udc80\n",
    "other line ends": SOURCE.replace("\n", "\r\n"),
    "no line end at the end": SOURCE.rstrip("\n"),
    "nothing": "",
    "what it may not see": "open('/etc/passwd').read()\n" + SOURCE,
}


def job(source: str) -> Job:
    return Job(source=source, config=TINY, seed=1, track=Track(hardware_class="cpu-test-1", budget_seconds=1.5))


class Nobody:
    def training(self) -> None: ...
    def progress(self, progress: object) -> None: ...
    def trained(self) -> None: ...


async def gather(folder: Path) -> tuple[dict[str, str], dict[str, TrialReport], list[str]]:
    shards = folder / "shards"
    shards.mkdir()
    (shards / "train.bin").write_bytes(TEXT)
    (shards / "validation.bin").write_bytes(TEXT[:2000])
    trainer = LocalTrainer(ROOT / "experiments", shards, 2000, 256, folder / "scratch", HARDWARE, HELD)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        told = {name: await trainer.smoke(job(source)) for name, source in CHANGES.items()}
        costs = ("no deadline", "honest only in a smoke run")
        reports = {name: await trainer.train(job(CHANGES[name]), Nobody()) for name in costs}
        left = os.listdir(folder / "scratch")
        nursery.cancel_scope.cancel()
    return told, reports, left


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smoke, "LEAST_SECONDS", 6.0)
        patch.setattr(smoke, "BUDGET_SHARE", 0.0)
        return trio.run(gather, Path(os.path.realpath(tmp_path_factory.mktemp("smoke"))))


PASS = ["the shipped one", "another constant", "other line ends", "no line end at the end"]
FAIL = {
    "unknown name": "AttributeError: module 'torch' has no attribute 'manual_sead'",
    "no python": "SyntaxError",
    "never imported": "took longer than 6 s",
    "no weights": "left no weights",
    "half a shape": "measuring ended",
    "not a number": "not finite",
    "a text in it": "bytes more than the shipped script's",
    "a NUL byte": "null bytes",
    "half a character": "cannot be parsed",
    "nothing": "left no weights",
}


@pytest.mark.parametrize("name", PASS)
def test_what_runs_passes(gathered, name):
    assert gathered[0][name] == ""


@pytest.mark.parametrize("name", FAIL)
def test_what_does_not_run_is_told_and_costs_seconds(gathered, name):
    told = gathered[0][name]
    assert FAIL[name] in told
    assert len(told) < smoke.TOLD_CHARS + 600
    assert all(line.isprintable() for line in told.split("\n"))


def test_a_failure_is_told_with_the_end_of_its_traceback(gathered):
    first, *traceback = gathered[0]["unknown name"].split("\n")
    assert first.startswith("training ended crashed: AttributeError")
    assert any(line.startswith('File "train.py", line') and "in train" in line for line in traceback)


def test_a_change_without_the_deadline_is_ended_by_the_clock_and_gains_nothing(gathered):
    assert gathered[0]["no deadline"] == "", "two steps do not show it"
    trial = gathered[1]["no deadline"].trial
    assert trial.outcome is Outcome.TIMED_OUT
    assert trial.val_bpb is None


def test_behaving_well_only_while_it_is_tried_gains_nothing(gathered):
    assert gathered[0]["honest only in a smoke run"] == ""
    trial = gathered[1]["honest only in a smoke run"].trial
    assert (trial.outcome, trial.val_bpb) == (Outcome.CRASHED, None)


@pytest.mark.skipif(FOUND.backend is Backend.NONE, reason="no sandbox works here")
def test_the_sandbox_holds_a_smoke_run_as_it_holds_a_trial(gathered):
    told = gathered[0]["what it may not see"]
    assert any(refusal in told for refusal in ("PermissionError", "FileNotFoundError"))


def test_nothing_stays_behind(gathered):
    assert gathered[2] == ["warm"]


def test_two_steps_get_a_quarter_of_a_budget_and_never_less_than_a_machine_that_is_busy_needs():
    assert smoke.smoke_seconds(300.0) == 75.0
    assert smoke.smoke_seconds(10.0) == smoke.LEAST_SECONDS


def test_a_script_that_does_not_know_steps_gets_little_time():
    assert smoke.options("print(1)", 20.0) == ["--seconds", "5.0"]
    assert smoke.options(SOURCE, 20.0) == ["--seconds", "20.0", "--max-steps", "2"]


def test_the_largest_source_is_larger_than_the_shipped_one():
    assert len(SOURCE.encode()) < MAX_SOURCE_BYTES

"""A machine so busy that a killed process is not gone in time: its warm process is replaced, and no idea is blamed."""

import tomllib
from pathlib import Path

import trio

from node.sandbox.confinement import unconfined
from node.sandbox.spec import limits_for
from node.trials.hardware import Hardware
from node.trials.trainer import Job, LocalTrainer, Progress
from swarm.trial import Track
from swarm.words import Outcome

ROOT = Path(__file__).parent.parent
BASE = tomllib.loads((ROOT / "configs/gpt.toml").read_text())["base"]
CONFIG = {**BASE, "depth": 1, "width": 32, "heads": 2, "context": 32, "batch_size": 4}
HARDWARE = Hardware("cpu", "cpu-test-1", "test", 1, "cpu")
UNIFORM = """
import sys, torch
class Uniform(torch.nn.Module):
    def forward(self, tokens):
        return torch.zeros((*tokens.shape, 256))
def build_model(config, vocab_size):
    return Uniform()
if __name__ == "__main__":
    out = sys.argv[sys.argv.index("--out") + 1]
    open(out + "/weights.safetensors", "wb").write((2).to_bytes(8, "little") + b"{}")
"""


class Nobody:
    def training(self) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def trained(self) -> None: ...


async def test_a_trial_is_measured_though_each_of_its_processes_takes_the_warm_one_along(tmp_path, monkeypatch):
    monkeypatch.setattr("node.trials.warm_process.KILL_SECONDS", 0.0)  # nobody is gone as soon as that
    (tmp_path / "train.bin").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "validation.bin").write_bytes(bytes(range(256)) * 8)
    confinement = unconfined(limits_for(HARDWARE), unsafe=True)
    trainer = LocalTrainer(ROOT / "experiments", tmp_path, 2048, 256, tmp_path / "scratch", HARDWARE, confinement)
    job = Job(source=UNIFORM, config=CONFIG, seed=1, track=Track(hardware_class="cpu-test-1", budget_seconds=20.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        report = await trainer.train(job, Nobody())
        nursery.cancel_scope.cancel()
    assert (report.trial.outcome, report.trial.reason) == (Outcome.MEASURED, "")

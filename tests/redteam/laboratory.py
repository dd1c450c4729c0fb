"""Where the pack's scripts are run: small texts, one trainer or warm process for many of them, and what came of each.

Owns how a script gets to the trainer or the evaluator, which are the real ones. Knows no script.
"""

import json
import os
import random
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import trio

from node.sandbox.confinement import Confinement, unconfined
from node.sandbox.probe import probe
from node.sandbox.spec import Access, limits_for
from node.trials import trainer as trainer_module
from node.trials.evaluator import Evaluator, Measurement
from node.trials.hardware import Hardware
from node.trials.scoring import PREFIX_SAMPLES
from node.trials.trainer import Job, LocalTrainer, Progress, TrialReport
from node.trials.warm_process import WarmProcess
from swarm.trial import Track
from swarm.words import Config

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
SHIPPED = (EXPERIMENTS / "train.py").read_text()
SETTINGS = tomllib.loads((ROOT / "configs/gpt.toml").read_text())
TINY = {**SETTINGS["base"], "depth": 1, "width": 32, "heads": 2, "context": 32, "batch_size": 4, "embedding_std": 0.1}
HARDWARE = Hardware("cpu", "cpu-test-1", "test", 1, "cpu")
WEIGHTS = "weights.safetensors"
AT_ONCE = 2  # scripts that run beside each other
MIB = 1 << 20
SECRET = b"the same order and the same prefixes on every run"
# The rules are those of every node, the numbers smaller, so that breaking one costs a test little.
SMALL = replace(
    limits_for(HARDWARE), memory_bytes=1024 * MIB, scratch_bytes=96 * MIB, scratch_files=500, tasks=64,
    output_bytes=16 * MIB,
)  # fmt: skip
UNCONFINED = unconfined(SMALL, unsafe=True)


@cache
def sandbox() -> Confinement:
    """The strongest that works here."""
    return probe(HARDWARE)


def text(length: int, seed: int, vocabulary: int = 300) -> bytes:
    """Words of one vocabulary in no order: one letter tells about the next, later text tells more."""
    draw = random.Random(0)
    words = [
        "".join(draw.choice("abcdefghijklmnoprstuvw") for _ in range(draw.randint(2, 8))) for _ in range(vocabulary)
    ]
    draw.seed(seed)
    return " ".join(draw.choice(words) for _ in range(length // 3)).encode()[:length]


TRAIN = text(20_000, 1)
VALIDATION = text(70_000, 2)  # windows of 32: more than the 2,048 prefixes that are asked again
# Few words, which a model knows after some steps. Windows of 512: 256 and a rest.
EASY_TRAIN, EASY_VALIDATION = text(20_000, 1, 12), text(140_000, 3, 12)


class Nobody:
    """Watches nothing."""

    def training(self) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def trained(self) -> None: ...


# --- Whole trials ---


@dataclass(frozen=True)
class Sent:
    """A script as a job, and how long its measurement may take."""

    source: str
    config: Config
    budget_seconds: float
    measure_seconds: float | None = None  # None: as long as everybody's


async def run_trials(
    folder: Path, confinement: Confinement, sent: dict[str, Sent], many: int = AT_ONCE
) -> dict[str, TrialReport]:
    """Real trainers, each with its own process and scratch, share the jobs; those with an own limit come last."""
    shards, reports = folder / "shards", dict[str, TrialReport]()
    shards.mkdir()
    (shards / "train.bin").write_bytes(TRAIN)
    (shards / "validation.bin").write_bytes(VALIDATION)
    trainers = [
        LocalTrainer(EXPERIMENTS, shards, len(VALIDATION), 256, folder / f"scratch{n}", HARDWARE, confinement)
        for n in range(many)
    ]

    async def work_through(names: list[str]) -> None:
        rest = iter(names)

        async def one_after_the_other(trainer: LocalTrainer) -> None:
            for name in rest:
                one = sent[name]
                track = Track(hardware_class=HARDWARE.hardware_class, budget_seconds=one.budget_seconds)
                source = one.source.replace("@train@", str(shards / "train.bin"))
                reports[name] = await trainer.train(Job(source, one.config, 1, track), Nobody())

        async with trio.open_nursery() as nursery:
            for trainer in trainers:
                nursery.start_soon(one_after_the_other, trainer)

    async with trio.open_nursery() as nursery:
        for trainer in trainers:
            nursery.start_soon(trainer.run)
        await work_through([name for name, one in sent.items() if one.measure_seconds is None])
        for seconds in sorted({one.measure_seconds for one in sent.values() if one.measure_seconds is not None}):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(trainer_module, "MEASURE_SECONDS", seconds)
                await work_through([name for name, one in sent.items() if one.measure_seconds == seconds])
        nursery.cancel_scope.cancel()
    return reports


# --- Measurements alone ---


@dataclass(frozen=True)
class Brought:
    """A script, and how little of training and measuring is enough."""

    source: str
    config: Config
    steps: int  # 0: its model as it is built
    windows: int
    samples: int = PREFIX_SAMPLES


@dataclass(frozen=True)
class Proof:
    """What came of a script that was trained for some steps and then measured."""

    measurement: Measurement | None
    printed: str
    status: int | None


# Instead of training, where one step would take a minute.
FRESH = """
import importlib.util, json, os, sys
import torch
from safetensors.torch import save_model
options, place = dict(zip(sys.argv[1::2], sys.argv[2::2])), os.path.dirname(os.path.abspath(sys.argv[0]))
torch.set_num_threads(1)
torch.manual_seed(int(options["--seed"]))
spec = importlib.util.spec_from_file_location("candidate_train", os.path.join(place, "train.py"))
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
with open(options["--config"]) as file:
    save_model(module.build_model(json.load(file), 256), options["--out"] + "/weights.safetensors")
"""


async def prove_all(folder: Path, brought: dict[str, Brought], many: int = AT_ONCE) -> dict[str, Proof]:
    """Trains for some steps and measures, in the sandbox, without a trainer: steps cost less than budgets."""
    bench, proofs, rest = Bench(folder), dict[str, Proof](), iter(brought.items())

    async def one_after_the_other() -> None:
        for name, one in rest:
            proofs[name] = await bench.prove(one)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.warm.run)
        await bench.warm.wait_ready()
        async with trio.open_nursery() as workers:
            for _ in range(many):
                workers.start_soon(one_after_the_other)
        nursery.cancel_scope.cancel()
    return proofs


class Bench:
    """Trains for some steps and measures, without a trainer: the clock is not what is tested, and steps cost less."""

    def __init__(self, folder: Path) -> None:
        self._train_shard, self._scratch = folder / "train.bin", folder / "scratch"
        self._train_shard.write_bytes(EASY_TRAIN)
        self._scratch.mkdir()
        environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "3000"}
        environment |= {"HOME": str(self._scratch), "TMPDIR": str(self._scratch), "LANG": "C.UTF-8"}
        script, read = EXPERIMENTS / "warm.py", (self._train_shard,)
        self.warm = WarmProcess(script, environment, folder / "log", sandbox(), read, self._scratch)

    async def prove(self, brought: Brought) -> Proof:
        place = Path(str(self._scratch / f"honest-{id(brought)}"))
        (place / "scratch").mkdir(parents=True)
        printed = bytearray()
        try:
            status = await self._train(brought, place, printed)
            if status != 0:
                return Proof(None, printed.decode(errors="replace"), status)
            measurement = await self._measure(brought, place)
            return Proof(measurement, printed.decode(errors="replace"), status)
        finally:
            await trio.run_process(["rm", "-rf", str(place)])

    async def _train(self, brought: Brought, place: Path, printed: bytearray) -> int | None:
        script, source, config = place / "script.py", place / "train.py", place / "config.json"
        source.write_text(brought.source)
        script.write_text(brought.source if brought.steps else FRESH)
        config.write_text(json.dumps(brought.config))
        scratch = place / "scratch"
        argv = [
            str(script),
            "--config",
            str(config),
            "--train",
            str(self._train_shard),
            "--out",
            str(scratch),
            "--threads",
            "1",
        ]
        argv += ["--seconds", "1e6", "--max-steps", str(brought.steps), "--seed", "1"]
        access = Access((script, source, config, self._train_shard), write=(), scratch=scratch)
        return (await self.warm.execute(argv, scratch, printed.extend, access)).status

    async def _measure(self, brought: Brought, place: Path) -> Measurement:
        context = int(str(brought.config["context"]))
        shard = EASY_VALIDATION[: brought.windows * context + context // 2]  # the last window is a short one
        tokens = np.frombuffer(shard, np.uint8).astype(np.uint16)
        script = EXPERIMENTS / "answer.py"
        evaluator = Evaluator(self.warm, script, tokens, len(shard), 256, HARDWARE, lambda: SECRET)
        weights = place / "scratch" / WEIGHTS
        return await evaluator.measure(brought.source.encode(), brought.config, weights, self._scratch, brought.samples)

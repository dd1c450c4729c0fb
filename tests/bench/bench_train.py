"""What training makes of its budget, beside nanoGPT's CPU recipe on the same text: speed and bits per byte.

    python tests/bench/bench_train.py [--seconds S] [--slices N] [--threads N]

Speed: both train in this process in short slices, turn by turn, so that a busy machine slows both; the figure is the
median of the slices' ratios. Ours has the reference's shape, activation, norm, positions, tied embeddings and clipping.
Score: each trains in a process of its own for the same wall time, one after the other; then both are measured by the
evaluator's arithmetic over the whole validation split, every byte once.
The last line is one JSON object; exit status 0 when it ran, whether or not the goals are met.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the node sets it; before torch starts its threads

import numpy as np
import torch
from safetensors.torch import load_model
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/bench")]

import nanogpt_reference as reference  # noqa: E402
from bench_report import print_report  # noqa: E402

from node.topics.loading import load_topic  # noqa: E402
from node.trials.evaluator import read_shard  # noqa: E402
from node.trials.scoring import Sheet, Windows, bits_per_byte, nats_of  # noqa: E402

GOAL_SPEED, GOAL_SCORE = 2.2, 0.68  # times the reference's tokens per second; share of its bits per byte
REFERENCE_SLICE, OUR_SLICE = 25, 50  # steps, each about a second
BATCH_TOKENS = 4096  # of a measurement's forward pass
BASE = tomllib.loads((ROOT / "configs/gpt.toml").read_text())["base"]
TRAIN = ROOT / "experiments/train.py"
BEST = ROOT / "configs/best/cpu.json"
SAME_SHAPE = {
    **BASE,
    "depth": reference.LAYERS,
    "width": reference.WIDTH,
    "heads": reference.HEADS,
    "context": reference.CONTEXT,
    "batch_size": reference.BATCH,
    "gradient_clip": reference.CLIP,
    "weight_decay": reference.WEIGHT_DECAY,
    "adam_beta2": reference.BETAS[1],
    "tied_embeddings": True,
    "embedding_std": 0.02,
    "init": "scaled",
    "schedule": "cosine",
}


def load_source(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("measured_train", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def our_slice(ours: ModuleType, shard: Path) -> float:
    """Tokens per second of some steps, from the end of the first to the end of the last."""
    ends: list[tuple[int, float]] = []

    def emit(event: str, **fields: Any) -> None:  # whatever train.py reports
        if event == "progress":
            ends.append((fields["tokens"], time.perf_counter()))

    ours.emit = emit  # type: ignore[attr-defined]
    arguments = SimpleNamespace(seed=0, vocab_size=256, train=str(shard), seconds=1e9, max_steps=OUR_SLICE, pace=None)
    ours.train(SAME_SHAPE, arguments, torch.device("cpu"))
    (first, begun), (last, ended) = ends[0], ends[-1]
    return (last - first) / (ended - begun)


def measure_speed(shard: Path, slices: int) -> tuple[list[float], list[float]]:
    """Tokens per second of the reference and of ours, slice by slice."""
    ours = load_source(TRAIN)
    training = reference.steps(str(shard), 256, seed=0)
    next(training)

    def reference_slice() -> float:
        begun = time.perf_counter()
        for _ in range(REFERENCE_SLICE):
            training.send(0.5)
        return REFERENCE_SLICE * reference.BATCH * reference.CONTEXT / (time.perf_counter() - begun)

    reference_slice(), our_slice(ours, shard)  # the first ones also load and allocate
    rows = [(reference_slice(), our_slice(ours, shard)) for _ in range(slices)]
    return [row[0] for row in rows], [row[1] for row in rows]


def train_apart(script: Path, folder: Path, arguments: list[str]) -> str:
    """Runs a training script in a process of its own; its last line."""
    command = [sys.executable, str(script), "--out", str(folder), *arguments]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout.splitlines()[-1]


@torch.inference_mode()
def measure(model: nn.Module, weights: Path, shard: Path, context: int, raw_bytes: int) -> float:
    """Bits per byte of the whole split."""
    load_model(model, str(weights))
    model.eval()
    tokens = read_shard(shard, 256)
    windows, sheet = Windows(tokens, context), Sheet(len(tokens))
    for batch in windows.whole_batches(BATCH_TOKENS, np.random.default_rng(0)):
        logits = model(torch.from_numpy(windows.inputs(batch).astype(np.int64)))
        rows = logits.float().flatten(0, 1).numpy()
        sheet.write(batch, nats_of(rows, windows.targets(batch).ravel()))
    return bits_per_byte(sheet.total(), raw_bytes)


def measure_scores(shards: Path, raw_bytes: int, seconds: float, threads: int) -> dict[str, tuple[float, str]]:
    """Bits per byte, and the last words of the training."""
    best, scores = json.loads(BEST.read_text()), {}
    ours = load_source(TRAIN)
    common = ["--train", str(shards / "train.bin"), "--seconds", str(seconds), "--threads", str(threads)]
    scripts: dict[str, tuple[Path, list[str], int, Callable[[], nn.Module]]] = {
        "reference": (Path(reference.__file__), [], reference.CONTEXT, lambda: reference.Reference(256)),
        "ours": (TRAIN, ["--config", str(BEST)], best["context"], lambda: ours.build_model(best, 256)),
    }
    for name, (script, more, context, build) in scripts.items():
        with tempfile.TemporaryDirectory() as folder:
            said = train_apart(script, Path(folder), [*common, *more])
            weights = Path(folder) / "weights.safetensors"
            scores[name] = (measure(build(), weights, shards / "validation.bin", context, raw_bytes), said)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description="Our training beside nanoGPT's CPU recipe.")
    parser.add_argument("--seconds", type=float, default=120.0, help="wall time of each training; 0: speed only")
    parser.add_argument("--slices", type=int, default=15, help="of each kind, about a second each; 0: scores only")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache:
        topic = load_topic("pysource", Path(cache))
        if arguments.slices:
            theirs, ours = measure_speed(topic.shards / "train.bin", arguments.slices)
            ratios = sorted(our / their for our, their in zip(ours, theirs, strict=True))
            figures["reference_tokens_per_second"] = statistics.median(theirs)
            figures["our_tokens_per_second"] = statistics.median(ours)
            figures["speed_ratio"] = statistics.median(ratios)
            print(f"{'tokens/s at equal shape':26} {'median':>9} {'slowest':>9} {'fastest':>9}")
            for name, values, digits in (("reference", theirs, 0), ("ours", ours, 0), ("ratio", ratios, 2)):
                cells = (statistics.median(values), min(values), max(values))
                print(f"{name:26} " + " ".join(f"{cell:>9,.{digits}f}" for cell in cells))
        if arguments.seconds:
            raw_bytes = topic.brief.corpus.validation.raw_bytes
            scores = measure_scores(topic.shards, raw_bytes, arguments.seconds, arguments.threads)
            figures |= {f"{name}_val_bpb": score for name, (score, _) in scores.items()}
            figures["score_ratio"] = scores["ours"][0] / scores["reference"][0]
            print(f"\n{f'after {arguments.seconds:g} s':26} {'val_bpb':>9}")
            for name, (score, said) in scores.items():
                print(f"{name:26} {score:>9.4f}  {said}")
            print(f"{'ratio':26} {figures['score_ratio']:>9.4f}")
    print_report("train", figures, {"speed_ratio": (">=", GOAL_SPEED), "score_ratio": ("<=", GOAL_SCORE)})


if __name__ == "__main__":
    main()

"""How long measuring takes: the evaluator with its checks, beside one process that does everything and checks nothing.

    python tests/bench/bench_eval.py [--repeats N]

Both measure the same weights on the same text, one after the other in turns, on two threads, from a warm process. The
last line is one JSON object; exit status 0 when it ran, whether or not the goals are met.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench_report import print_report  # noqa: E402

from node.sandbox.probe import probe  # noqa: E402
from node.sandbox.spec import Access  # noqa: E402
from node.topics.loading import load_topic  # noqa: E402
from node.trials.evaluator import Evaluator, read_shard  # noqa: E402
from node.trials.hardware import Hardware  # noqa: E402
from node.trials.warm_process import WarmProcess  # noqa: E402
from swarm.words import Outcome  # noqa: E402

BUDGET_SECONDS = 120.0  # the default brief's on a CPU
GOAL_SHARE = 0.08  # of the budget
THREADS = 2
BASE = tomllib.loads((ROOT / "configs/gpt.toml").read_text())["base"]
LARGER = {**BASE, "depth": 4, "width": 128, "positions": "rope", "norm": "rmsnorm", "activation": "relu2"}
CONFIGS = {"naive": BASE, "4 layers, 128 wide": LARGER}
ONE_PROCESS = """
import argparse, json, math, sys
import numpy as np, torch, torch.nn.functional as F
sys.path.insert(0, EXPERIMENTS)
from answer import load_model_of
torch.set_num_threads(THREADS)
config = json.load(open(CONFIG))
model = load_model_of(SOURCE, config, 256, WEIGHTS)
tokens, T, nats = np.fromfile(SHARD, np.uint8), config["context"], 0.0
inputs = np.concatenate((np.zeros(1, np.uint8), tokens[:-1]))
whole = len(tokens) // T * T
pieces = [(at, min(at + 4096 // T * T, whole), T) for at in range(0, whole, 4096 // T * T)]
with torch.inference_mode():
    for begin, end, length in pieces + [(whole, len(tokens), len(tokens) - whole)] * (whole < len(tokens)):
        x, y = (torch.from_numpy(part[begin:end].astype(np.int64)) for part in (inputs, tokens))
        logits = model(x.view(-1, length)).float().flatten(0, 1)
        nats += F.cross_entropy(logits, y, reduction="none").double().sum().item()
print(nats / math.log(2) / RAW_BYTES)
"""


def train_a_little(folder: Path, config: dict, shard: Path) -> Path:
    """Weights of a few steps: what a model has learned does not change how long it takes to measure."""
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, str(ROOT / "experiments/train.py"), "--config", str(folder / "config.json")]
    command += ["--train", str(shard), "--seconds", "1e9", "--max-steps", "5", "--threads", "1"]
    command += ["--out", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "weights.safetensors"


async def in_one_process(warm: WarmProcess, folder: Path, shard: Path, raw_bytes: int) -> tuple[float, float]:
    """Seconds and bits per byte."""
    places = {"CONFIG": folder / "config.json", "WEIGHTS": folder / "weights.safetensors", "SHARD": shard}
    places |= {"EXPERIMENTS": ROOT / "experiments", "SOURCE": ROOT / "experiments/train.py"}
    head = "".join(f"{name} = {str(place)!r}\n" for name, place in places.items())
    script = folder / "one_process.py"
    script.write_text(f"{head}THREADS, RAW_BYTES = {THREADS}, {raw_bytes}\n{ONE_PROCESS}")
    printed = bytearray()
    began = trio.current_time()
    access = Access(read=(folder, shard, ROOT / "experiments"), write=(), scratch=None)
    ended = await warm.execute([str(script)], folder, printed.extend, access)
    assert ended.status == 0, printed.decode()
    return trio.current_time() - began, float(printed)


async def measure_all(scratch: Path, repeats: int) -> dict[str, dict[str, list[float]]]:
    topic = load_topic("pysource", scratch / "corpora")
    shard, raw_bytes = topic.shards / "validation.bin", topic.brief.corpus.validation.raw_bytes
    hardware = Hardware("cpu", "bench", "bench", THREADS, "cpu")
    source = (ROOT / "experiments/train.py").read_bytes()
    script, environment = ROOT / "experiments/warm.py", {"OMP_NUM_THREADS": str(THREADS), "TMPDIR": str(scratch)}
    confinement = probe(hardware)
    warm = WarmProcess(script, environment, scratch / "warm.log", confinement, (topic.shards,), scratch)
    evaluator = Evaluator(warm, ROOT / "experiments/answer.py", read_shard(shard, 256), raw_bytes, 256, hardware)
    rows: dict[str, dict[str, list[float]]] = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(warm.run)
        await warm.wait_ready()
        for name, config in CONFIGS.items():
            folder = scratch / name.replace(" ", "_")
            folder.mkdir()
            weights = await trio.to_thread.run_sync(train_a_little, folder, config, topic.shards / "train.bin")
            row = rows[name] = {"one process": [], "evaluator": [], "mean d": [], "worst d": [], "difference": []}
            for _ in range(repeats):
                seconds, val_bpb = await in_one_process(warm, folder, shard, raw_bytes)
                measured = await evaluator.measure(source, config, weights, scratch)
                assert measured.outcome is Outcome.MEASURED, measured
                assert measured.check is not None
                assert measured.val_bpb is not None
                row["one process"].append(seconds)
                row["evaluator"].append(measured.seconds)
                row["mean d"].append(measured.check.mean_nats)
                row["worst d"].append(measured.check.worst_nats)
                row["difference"].append(measured.val_bpb - val_bpb)
        nursery.cancel_scope.cancel()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="How long measuring takes.")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as scratch:
        rows = trio.run(measure_all, Path(scratch), repeats)
    figures: dict[str, float] = {}
    columns = ("one process", "evaluator", "of 120 s", "mean d", "worst d", "bpb diff")
    print(f"{'config':20} " + " ".join(f"{column:>11}" for column in columns))
    for name, row in rows.items():
        plain, seconds = statistics.median(row["one process"]), statistics.median(row["evaluator"])
        share, key = seconds / BUDGET_SECONDS, name.replace(", ", "_").replace(" ", "_")
        mean, worst = min(row["mean d"], key=lambda d: d), min(row["worst d"])
        difference = max(row["difference"], key=abs)
        numbers = (f"{mean:+.5f}", f"{worst:+.5f}", f"{difference:+.1e}")
        cells = (f"{plain:.2f} s", f"{seconds:.2f} s", f"{share:.1%}", *numbers)
        print(f"{name:20} " + " ".join(f"{cell:>11}" for cell in cells))
        figures |= {f"{key}_seconds": seconds, f"{key}_one_process_seconds": plain, f"{key}_share_of_budget": share}
        figures |= {f"{key}_worst_d": worst, f"{key}_bpb_difference": difference}
    goals = {name: ("<=", GOAL_SHARE) for name in figures if name.endswith("share_of_budget")}
    print_report("eval", figures, goals)


if __name__ == "__main__":
    main()

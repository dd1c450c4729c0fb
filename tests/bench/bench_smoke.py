"""What a smoke run costs: a changed train.py tried for two steps, beside the budget that a broken one would have cost.

    python tests/bench/bench_smoke.py [--repeats N]

Each repeat tries another comment in the shipped train.py, with the default topic's base config, in this machine's
sandbox, from the hand-over to the answer. The last line is one JSON object; exit status 0 when it ran, whether or not
the goal is met.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench_report import print_report  # noqa: E402

from node.sandbox.probe import probe  # noqa: E402
from node.trials.hardware import detect  # noqa: E402
from node.trials.trainer import Job, LocalTrainer  # noqa: E402
from swarm.trial import Track  # noqa: E402

BUDGET_SECONDS = 120.0  # of a trial on a CPU
GOAL_SECONDS = 5.0  # "a few seconds"
TEXT_BYTES = 2_000_000


async def measure(folder: Path, repeats: int) -> list[float]:
    shards, source = folder / "shards", (ROOT / "experiments/train.py").read_text()
    shards.mkdir()
    text = random.Random(1).randbytes(TEXT_BYTES)
    (shards / "train.bin").write_bytes(text)
    (shards / "validation.bin").write_bytes(text[:2000])
    hardware = detect()
    confinement = replace(probe(hardware), unsafe=True)
    trainer = LocalTrainer(ROOT / "experiments", shards, 2000, 256, folder / "scratch", hardware, confinement)
    config = tomllib.loads((ROOT / "configs/gpt.toml").read_text())["base"]
    track = Track(hardware_class=hardware.hardware_class, budget_seconds=BUDGET_SECONDS)
    seconds: list[float] = []
    print(f"sandbox: {confinement.describe()}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        for number in range(repeats + 1):
            began = trio.current_time()
            told = await trainer.smoke(Job(source=f"{source}# {number}\n", config=config, seed=1, track=track))
            seconds.append(trio.current_time() - began)
            if told:
                raise SystemExit(f"the shipped train.py does not pass: {told}")
        nursery.cancel_scope.cancel()
    return seconds[1:]  # the first has waited for the warm process


def main() -> None:
    parser = argparse.ArgumentParser(description="What a smoke run costs.")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = trio.run(measure, Path(os.path.realpath(folder)), arguments.repeats)
    median = statistics.median(seconds)
    print(f"{'seconds of a smoke run':26} {'median':>8} {'fastest':>8} {'slowest':>8}")
    print(f"{'':26} {median:>8.2f} {min(seconds):>8.2f} {max(seconds):>8.2f}")
    figures = {"median_seconds": median, "slowest_seconds": max(seconds), "budget_share": median / BUDGET_SECONDS}
    print_report("smoke", figures, {"median_seconds": ("<=", GOAL_SECONDS)})


if __name__ == "__main__":
    main()

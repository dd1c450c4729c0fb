"""Repeats of real trials on this machine, as `bench_verdict.py` wants them. Keep the machine quiet while it runs.

    python tests/bench/measure_repeats.py [--naive N] [--best N] [--naive-seconds S] [--best-seconds S] [--out FILE]

Each trial is a node's whole trial: confined, its own seed, measured by the evaluator with its check. The naive base of
the default topic and the best shipped config, one group each. Trials of a machine that was not itself are left out.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from node import shipped  # noqa: E402
from node.home import Home  # noqa: E402
from node.replays.replayer import Unwatched  # noqa: E402
from node.sandbox.probe import probe  # noqa: E402
from node.topics.loading import Topic, load_topic  # noqa: E402
from node.trials.hardware import detect  # noqa: E402
from node.trials.local import make_local_trainer  # noqa: E402
from node.trials.trainer import Job  # noqa: E402
from swarm.trial import Track  # noqa: E402
from swarm.words import Config  # noqa: E402

HARDWARE = detect()


async def repeats(topic: Topic, scratch: Path, config: Config, seconds: float, count: int) -> list[float]:
    """Scores of `count` trials of one config with seeds of their own."""
    trainer = make_local_trainer(topic.brief.corpus, topic.shards, scratch, HARDWARE, probe(HARDWARE))
    source = shipped.shipped_text(shipped.experiments(), "train.py")
    track = Track(hardware_class=HARDWARE.hardware_class, budget_seconds=seconds)
    scores: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        for seed in range(1, count + 1):
            report = await trainer.train(Job(source, config, seed, track), Unwatched())
            marked = "" if report.trial.counts else f", left out: the machine was {report.trial.condition}"
            print(f"seed {seed}: {report.trial.outcome}, val_bpb {report.trial.val_bpb}{marked}", flush=True)
            if report.trial.counts and report.trial.val_bpb is not None:
                scores.append(round(report.trial.val_bpb, 6))
        nursery.cancel_scope.cancel()
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description="Repeats of real trials on this machine.")
    parser.add_argument("--naive", type=int, default=12)
    parser.add_argument("--naive-seconds", type=float, default=20.0)
    parser.add_argument("--best", type=int, default=8)
    parser.add_argument("--best-seconds", type=float, default=40.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("repeats.json"))
    arguments = parser.parse_args()
    best: Config = json.loads((ROOT / "configs/best/cpu.json").read_text())
    groups: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        home.create()
        topic = load_topic("pysource", home.corpora)
        plan = (
            ("the naive base", dict(topic.brief.base_config), arguments.naive_seconds, arguments.naive),
            ("configs/best/cpu.json", best, arguments.best_seconds, arguments.best),
        )
        for what, config, seconds, count in plan:
            print(f"{what}: {count} trials of {seconds:g} s", flush=True)
            scores = trio.run(repeats, topic, home.scratch / "repeats", config, seconds, count)
            groups.append({"what": what, "seconds": seconds, "val_bpb": scores})
    where = f"{HARDWARE.hardware_class}, {os.cpu_count()} cores"
    arguments.out.write_text(json.dumps({"where": where, "groups": groups}, indent=2) + "\n")


if __name__ == "__main__":
    main()

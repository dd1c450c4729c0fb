"""Make a table of real trials: a proposer has ideas from the naive base on, experiments/train.py really trains them.

    python tests/bench/record_trials.py --out FILE --proposer classic [--count 40] [--seconds 20] [--seed 0]
    python tests/bench/record_trials.py --out FILE --repeats 4 [--count 40]
    python tests/bench/record_trials.py --out configs/trials/pysource-cpu.jsonl --collect FILE [FILE ...]

One JSON line a trial, appended; the same command goes on where it was stopped. With --proposer (classic, the whole
portfolio, or one arm of it: random, tpe, local, ...) it is a campaign as a node's: what looks promising is run again,
and every run counts. With --repeats configs of FILE from the worst to the best are run again with other seeds, so
that the noise is known at every level.

The budget is CPU seconds of the training process, not wall seconds: in that process, which has one thread,
time.monotonic() is time.process_time(). A node gives wall time and keeps its machine quiet; a table that is recorded
beside other work would otherwise hold the other work's moods. The imports are done before, as in a node.

A score is bits per byte by the node's own arithmetic (node/trials/scoring.py) on the first MEASURED_BYTES of the
validation shard, the same for all rows. What a node's evaluator does beside that guards against scripts that cheat;
the script here is the shipped one.
"""

import argparse
import json
import os
import random
import resource
import runpy
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before numpy and torch
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import safetensors.torch  # noqa: E402
import torch._dynamo  # noqa: E402  # the first optimizer would import it, for one second a trial

from node.proposers.arms import ARMS  # noqa: E402
from node.proposers.classic import propose_now  # noqa: E402
from node.proposers.credit import arm_of  # noqa: E402
from node.proposers.port import Request  # noqa: E402
from node.simulation.campaign import Campaign, research_space, space_file  # noqa: E402
from node.simulation.table import Conditions, RecordedTrial, write_table  # noqa: E402
from node.topics.loading import load_topic  # noqa: E402
from node.trials.evaluator import read_shard  # noqa: E402
from node.trials.hardware import detect  # noqa: E402
from node.trials.scoring import Sheet, Windows, bits_per_byte, nats_of  # noqa: E402
from swarm.finding import Proposal  # noqa: E402
from swarm.ledger import Entry  # noqa: E402
from swarm.space import config_key  # noqa: E402
from swarm.words import Config, Outcome  # noqa: E402

Row = dict[str, Any]
SPACE, BASE = research_space(), space_file().base
TRAIN = ROOT / "experiments" / "train.py"
MEASURED_BYTES = 131_072
MEASURED_TOKENS = 8_192  # at once
MEASURE_CPU_SECONDS = 120  # the largest model of the space needs half of it
GRACE_CPU_SECONDS = 2  # a training that goes on for so long after its end has timed out
MOST_CPU_SECONDS = 3  # times the budget: a process that nothing else ends
CURVE_POINTS = 16
ENDINGS = {0: Outcome.MEASURED, 3: Outcome.DIVERGED, 4: Outcome.OUT_OF_MEMORY}


def in_child(run: Callable[[], None], output: Path, cpu_seconds: int) -> tuple[int, int]:
    """What `run` prints goes to `output`. Its exit status and its peak of memory in bytes."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
            with output.open("w") as sys.stdout, output.with_suffix(".err").open("w") as sys.stderr:
                run()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BaseException as error:
            output.with_suffix(".err").write_text(f"{type(error).__name__}: {error}")
        finally:
            os._exit(status)
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_maxrss * 1024


class CpuClock:
    """CPU seconds of this process, without the pauses of a virtual machine.

    A guest that its host stops for seconds charges them to whatever ran. Training asks for the time at every piece of
    work, and pieces are alike; a leap to many times the longest recent one is a pause, and counts as that one.
    """

    LEAP, LEAST_SECONDS, PIECES = 8.0, 0.5, 20

    def __init__(self) -> None:
        self._last, self.paused = time.process_time(), 0.0
        self._recent: deque[float] = deque(maxlen=self.PIECES)

    def __call__(self) -> float:
        now = time.process_time()
        piece, self._last = now - self._last, now
        if len(self._recent) == self.PIECES and piece > max(self.LEAST_SECONDS, self.LEAP * max(self._recent)):
            self.paused += piece - max(self._recent)
        else:
            self._recent.append(piece)
        return now - self.paused


def train(folder: Path, shard: Path, seed: int, seconds: float) -> None:
    """train.py with a clock of its own: what this process used of a CPU."""
    time.monotonic = clock = CpuClock()
    torch.set_num_threads(1)
    sys.argv = [str(TRAIN), "--config", str(folder / "config.json"), "--train", str(shard), "--out", str(folder)]
    sys.argv += ["--seconds", str(seconds), "--seed", str(seed), "--threads", "1"]
    try:
        runpy.run_path(str(TRAIN), run_name="__main__")
    finally:
        print(json.dumps({"event": "clock", "paused": clock.paused, "seconds": clock()}), flush=True)


def measure(folder: Path, shard: Path) -> None:
    torch.set_num_threads(1)
    config = json.loads((folder / "config.json").read_text())
    model = runpy.run_path(str(TRAIN))["build_model"](config, 256).eval()
    safetensors.torch.load_model(model, folder / "weights.safetensors")
    tokens = read_shard(shard, 256)[:MEASURED_BYTES]
    windows, sheet = Windows(tokens, config["context"]), Sheet(len(tokens))
    for batch in windows.whole_batches(MEASURED_TOKENS, np.random.default_rng(0)):
        with torch.inference_mode():
            logits = model(torch.from_numpy(windows.inputs(batch).astype(np.int64)))
        sheet.write(batch, nats_of(logits.float().numpy().reshape(-1, 256), windows.targets(batch).ravel()))
    print(json.dumps(bits_per_byte(sheet.total(), len(tokens))))


class Recorder:
    """Runs trials and appends them; what is in the file already is not run again."""

    def __init__(self, out: Path, what: str, seconds: float, shards: Path, scratch: Path) -> None:
        self.out, self.what, self.seconds, self.shards, self.scratch = out, what, seconds, shards, scratch
        self.hardware = detect().hardware_class.rpartition("-")[0] + "-1"
        self.rows: list[Row] = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        self._known = [row for row in self.rows if row["campaign"] == what and row["budget_seconds"] == seconds]

    def row(self, config: Config, seed: int, arm: str) -> Row:
        if self._known:
            known = self._known.pop(0)
            if known["config"] != config:
                raise SystemExit(
                    f"{self.out}: its rows of {self.what} were made by another version; use another --seed"
                )
            return known
        made = {"campaign": self.what, "arm": arm, "seed": seed, "class": self.hardware, "threads": 1}
        made |= {"budget_seconds": self.seconds, **self._run(config, seed), "config": config}
        self.rows.append(made)
        with self.out.open("a") as file:
            file.write(json.dumps(made) + "\n")
        print(f"{self.what} {arm} {made['outcome']} {made['val_bpb']} {made['wall_seconds']} s", flush=True)
        return made

    def _run(self, config: Config, seed: int) -> Row:
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            folder, began = Path(name), time.monotonic()
            (folder / "config.json").write_text(json.dumps(config))
            run = partial(train, folder, self.shards / "train.bin", seed, self.seconds)
            status, memory = in_child(run, folder / "out", int(MOST_CPU_SECONDS * self.seconds))
            said = events(folder / "out")
            reason = "" if status in ENDINGS else last_line(folder / "out.err")
            outcome = ENDINGS.get(status, Outcome.TIMED_OUT if status == -signal.SIGXCPU else Outcome.CRASHED)
            found: float | None = None
            clock = next((event for event in said if event["event"] == "clock"), None)
            if clock and clock["seconds"] > self.seconds + GRACE_CPU_SECONDS:
                outcome = Outcome.TIMED_OUT
            if outcome is Outcome.MEASURED:
                outcome, found = self._measure(folder)
            return {
                "outcome": outcome.value,
                "val_bpb": None if found is None else round(found, 6),
                "reason": reason,
                **summary(said),
                "paused_seconds": round(clock["paused"], 3) if clock else 0.0,
                "peak_memory_bytes": memory,
                "wall_seconds": round(time.monotonic() - began, 1),
            }

    def _measure(self, folder: Path) -> tuple[Outcome, float | None]:
        run = partial(measure, folder, self.shards / "validation.bin")
        status, _ = in_child(run, folder / "bpb", MEASURE_CPU_SECONDS)
        if status:
            return (Outcome.TIMED_OUT if status == -signal.SIGXCPU else Outcome.CRASHED), None
        bpb = json.loads((folder / "bpb").read_text())
        return (Outcome.MEASURED, bpb) if 0 < bpb < 64 else (Outcome.DIVERGED, None)


def events(output: Path) -> list[Row]:
    lines = output.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def last_line(file: Path) -> str:
    lines = file.read_text().splitlines() if file.exists() else []
    return lines[-1][:200] if lines else ""


def summary(said: list[Row]) -> Row:
    """What a training said of itself: the last progress, and its curve thinned."""
    progress = [event for event in said if event["event"] == "progress"]
    last = progress[-1] if progress else {"step": 0, "tokens": 0, "seconds": 0.0}
    parameters = next((event["parameters"] for event in said if event["event"] == "start"), 0)
    at = np.unique(np.linspace(0, len(progress) - 1, min(CURVE_POINTS, len(progress))).round().astype(int))
    curve = [[round(progress[i]["seconds"], 2), round(progress[i]["train_loss"], 4)] for i in at]
    found = {"steps": last["step"], "tokens": last["tokens"], "parameters": parameters}
    return found | {"train_seconds": last["seconds"], "curve": curve}


class RealSurface:
    """What a campaign needs of a problem, by really training."""

    space = SPACE

    def __init__(self, recorder: Recorder, start: Config) -> None:
        self.recorder, self.start, self.arm = recorder, start, "baseline"
        self._scores: dict[str, list[float]] = {}

    def trial(self, config: Config, rng: random.Random) -> tuple[Outcome, float | None]:
        row = self.recorder.row(dict(self.space.normalise(config)), rng.randrange(2**31), self.arm)
        if row["val_bpb"] is not None:
            self._scores.setdefault(config_key(config, ""), []).append(row["val_bpb"])
        return Outcome(row["outcome"]), row["val_bpb"]

    def truth(self, config: Config) -> float:
        """As well as it is known."""
        return fmean(self._scores.get(config_key(config, ""), [64.0]))


class RealCampaign(Campaign):
    """Says which arm a trial is for."""

    def _experiment(self, proposal: Proposal) -> Entry:
        assert isinstance(self.surface, RealSurface)
        self.surface.arm = arm_of(proposal.proposer) or "baseline"
        return super()._experiment(proposal)


def proposer(name: str) -> Callable[[Request], Proposal]:
    if name == "classic":
        return propose_now
    return partial(propose_now, arms=[arm for arm in ARMS if arm.name == name])


def repeat(recorder: Recorder, others: Iterable[Path], each: int, count: int) -> None:
    """The base first, then configs from the best on, evenly by rank. What was chosen before a stop stays chosen."""
    rows = [json.loads(line) for file in others for line in file.read_text().splitlines()]
    by_key = {config_key(row["config"], ""): row for row in rows if row["outcome"] == "measured"}
    ranked = sorted(by_key.values(), key=lambda row: row["val_bpb"])
    at = np.linspace(0, 0.8 * (len(ranked) - 1), max(1, count // each - 1)).round().astype(int)
    chosen = [BASE, *(ranked[i]["config"] for i in at)]
    before = [row["config"] for row in recorder.rows if row["campaign"] == recorder.what][::each]
    for number, config in enumerate([*before, *chosen[len(before) :]]):
        for again in range(each):
            recorder.row(dict(SPACE.normalise(config)), 1_000 * (number + 1) + again, "repeat")


def collect(files: Iterable[Path], out: Path) -> None:
    """The rows of recorders as the table that ships, without what is only of interest while it is made."""
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    (hardware_class,), (seconds,) = ({row[name] for row in rows} for name in ("class", "budget_seconds"))
    conditions = Conditions(
        topic="pysource",
        hardware_class=hardware_class,
        threads=1,
        cpu_seconds=seconds,
        measured_bytes=MEASURED_BYTES,
        start=dict(BASE),
    )
    trials = [RecordedTrial.model_validate_json(json.dumps(row)) for row in rows]
    write_table(out, conditions, trials)
    print(f"{out}: {len(trials)} trials of {len({trial.key for trial in trials})} configs")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a table of real trials.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--proposer", choices=["classic", *(arm.name for arm in ARMS)], default="classic")
    parser.add_argument("--start", type=Path, help="JSON file of the config to start from, not the naive base")
    parser.add_argument("--count", type=int, default=40, help="trials")
    parser.add_argument("--seconds", type=float, default=20.0, help="of CPU, for one training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=0, help="run configs of the table so often, proposing none")
    parser.add_argument("--table", type=Path, action="append", default=[], help="more rows to choose --repeats from")
    parser.add_argument("--collect", type=Path, nargs="+", help="write the rows of these files as the table that ships")
    arguments = parser.parse_args()
    if arguments.collect:
        collect(arguments.collect, arguments.out)
        return
    start = json.loads(arguments.start.read_text()) if arguments.start else dict(BASE)
    where = f" from {arguments.start.stem}" if arguments.start else ""
    what = "repeats" if arguments.repeats else f"{arguments.proposer} {arguments.seed}{where}"
    with tempfile.TemporaryDirectory() as scratch:
        shards = load_topic("pysource", Path(scratch)).shards
        recorder = Recorder(arguments.out, what, arguments.seconds, shards, Path(scratch))
        if arguments.repeats:
            files = [*arguments.table, *([arguments.out] if arguments.out.exists() else [])]
            repeat(recorder, files, arguments.repeats, arguments.count)
            return
        campaign = RealCampaign(RealSurface(recorder, start), proposer(arguments.proposer), arguments.seed)
        campaign.run(arguments.count)
        print(f"{what}: best {campaign.best[-1]:.4f} after {arguments.count} trials, began at {campaign.best[0]:.4f}")


if __name__ == "__main__":
    main()

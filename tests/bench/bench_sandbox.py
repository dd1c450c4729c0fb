"""What the sandbox costs: training inside and outside in turns, by CPU time, and the start of a confined child.

    python tests/bench/bench_sandbox.py [--repeats N] [--threads N]

Every run trains the shipped train.py for the same number of steps, forked from a warm process; tokens are divided by
the CPU seconds of that process, so that a busy machine does not decide. The last line is one JSON object; exit status 0
when it ran, whether or not the goals are met. A sandbox that does not work here is not in the table.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import tomllib
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench_report import print_report  # noqa: E402

from node.sandbox.confinement import Confinement, unconfined  # noqa: E402
from node.sandbox.policy import Backend  # noqa: E402
from node.sandbox.probe import probe  # noqa: E402
from node.sandbox.spec import Access  # noqa: E402
from node.trials.hardware import Hardware, detect  # noqa: E402
from node.trials.warm_process import WarmProcess  # noqa: E402

STEPS = 150  # some seconds of one run
STARTS = 40  # of a script that does nothing, per sandbox
GOAL_SHARE, GOAL_START_SECONDS = 0.97, 0.1
TIMED = """
import runpy, sys, time
begun = time.process_time()
try:
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print(time.process_time() - begun)
"""


def sandboxes(found: Confinement) -> dict[str, Confinement]:
    rows = {"none": unconfined(found.limits)}
    if found.backend is not Backend.NONE:
        rows["landlock"] = replace(found, backend=Backend.LANDLOCK)
    if found.backend is Backend.BUBBLEWRAP:
        rows["bubblewrap"] = found
    return rows


class Bench:
    def __init__(self, name: str, folder: Path, confinement: Confinement, threads: int) -> None:
        self.folder, self.threads = folder / name, threads
        (self.folder / "scratch").mkdir(parents=True)
        self.train = self.folder / "train.bin"
        self.train.write_bytes(b"".join(b"%d times %d is %d.\n" % (i, i, i * i) for i in range(100_000)))
        (self.folder / "config.json").write_text(
            json.dumps(tomllib.loads((ROOT / "configs/gpt.toml").read_text())["base"])
        )
        (self.folder / "timed.py").write_text(TIMED)
        (self.folder / "nothing.py").write_text("")
        environment = {"OMP_NUM_THREADS": str(threads), "TMPDIR": str(self.folder)}
        script, log = ROOT / "experiments/warm.py", self.folder / "log"
        self.warm = WarmProcess(script, environment, log, confinement, (self.train,), self.folder)
        self.rates: list[float] = []  # tokens per CPU second
        self.starts: list[float] = []  # wall seconds of a script that does nothing, fork and exit included
        self.ready_seconds = 0.0

    async def execute(self, *argv: str) -> bytes:
        printed, scratch = bytearray(), self.folder / "scratch"
        read = (self.train, self.folder / "config.json", ROOT / "experiments/train.py", Path(argv[0]))
        ended = await self.warm.execute(argv, scratch, printed.extend, Access(read, (), scratch))
        assert ended.status == 0, printed.decode()
        return bytes(printed)

    async def train_once(self) -> None:
        argv = [str(self.folder / "timed.py"), str(ROOT / "experiments/train.py")]
        argv += ["--config", str(self.folder / "config.json"), "--train", str(self.train), "--seconds", "1e9"]
        argv += ["--max-steps", str(STEPS), "--threads", str(self.threads), "--out", str(self.folder / "scratch")]
        *_, end, cpu_seconds = (await self.execute(*argv)).decode().splitlines()
        self.rates.append(json.loads(end)["tokens"] / float(cpu_seconds))

    async def start_once(self) -> None:
        begun = trio.current_time()
        await self.execute(str(self.folder / "nothing.py"))
        self.starts.append(trio.current_time() - begun)


async def measure(folder: Path, found: Confinement, repeats: int, threads: int) -> dict[str, Bench]:
    benches = {name: Bench(name, folder, confinement, threads) for name, confinement in sandboxes(found).items()}
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        stack.callback(nursery.cancel_scope.cancel)
        for bench in benches.values():
            begun = trio.current_time()
            nursery.start_soon(bench.warm.run)
            await bench.warm.wait_ready()
            bench.ready_seconds = trio.current_time() - begun
        for _ in range(STARTS):
            for bench in benches.values():
                await bench.start_once()
        for number in range(repeats):
            turn = list(benches.values())
            for bench in turn if number % 2 else reversed(turn):
                await bench.train_once()
    return benches


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the sandbox.")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    found = probe(Hardware("cpu", "bench", "bench", arguments.threads, "cpu"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        benches = trio.run(measure, place, found, arguments.repeats, arguments.threads)
    plain, figures, goals = benches["none"], {}, {}
    heads = ("sandbox", "tokens/CPU-s", "of outside", "start", "of it confining", "warm after")
    print("".join(f"{head:>16}" for head in heads))
    for name, bench in benches.items():
        rate, start = statistics.median(bench.rates), statistics.median(bench.starts)
        share, cost = rate / statistics.median(plain.rates), start - statistics.median(plain.starts)
        times = (f"{1000 * start:.1f} ms", f"{1000 * cost:.1f} ms", f"{bench.ready_seconds:.2f} s")
        print("".join(f"{cell:>16}" for cell in (name, f"{rate:,.0f}", f"{share:.3f}", *times)))
        figures[f"{name}_tokens_per_cpu_second"] = rate
        if name != "none":
            share_name, start_name = f"{name}_share_of_outside", f"{name}_start_seconds"
            figures |= {share_name: share, start_name: cost}
            goals |= {share_name: (">=", GOAL_SHARE), start_name: ("<=", GOAL_START_SECONDS)}
    print_report("sandbox", figures, goals, machine=f"{platform.machine()}, {detect().description}; {found.describe()}")


if __name__ == "__main__":
    main()

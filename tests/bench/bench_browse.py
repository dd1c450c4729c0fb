"""The page on an archive of 20 nodes with 500 runs each: how long pages take, what they cost in memory.

A real `swarm browse` on a home made up for it, asked over loopback. "First page" is the overview once the journal has
been read; until then a page says how far that is, and `page_while_reading_s` is how soon the first of those comes.
Seconds are those of the clock; `_cpu_s` are processor seconds of the server, which move less with what else the machine
does.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

import psutil
from bench_report import ROOT, Goals, print_figures, print_report

sys.path.insert(0, str(ROOT / "tests"))
from made_archive import make_archive

GOALS: Goals = {
    "first_page_s": ("<=", 1.5),
    "filter_cpu_s": ("<=", 0.15),
    "sort_cpu_s": ("<=", 0.15),
    "search_cpu_s": ("<=", 0.15),
    "memory_mb": ("<=", 300.0),
    "reindex_s": ("<=", 60.0),
}
ASKED = {
    "overview": "/",
    "filter": "/runs?status=keep&arm=tpe",
    "sort": "/runs?sort=effect&cols=run,val_bpb,effect,config.learning_rate",
    "search": "/runs?q=learning_rate+rope",
    "run": "/runs/1",
    "lineage": "/lineage",
    "nodes": "/nodes",
    "json": "/runs.json?per=500",
}
REPEATS = 7
SWARM = [sys.executable, "-c", "from node.cli import main; main()"]


def ask(url: str) -> tuple[float, bytes]:
    started = time.perf_counter()
    with urllib.request.urlopen(url, timeout=120) as answer:
        return time.perf_counter() - started, answer.read()


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measure(home: Path) -> dict[str, float]:
    started = time.perf_counter()
    server = subprocess.Popen(
        [*SWARM, "browse", "--home", str(home), "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1].rstrip("/")
        figures = {"page_while_reading_s": ask(f"{url}/")[0]}
        while b"Reading the journal" in ask(f"{url}/topic")[1]:
            pass
        figures["reindex_s"] = time.perf_counter() - started
        figures["first_page_s"] = ask(f"{url}/")[0]
        process = psutil.Process(server.pid)
        for name, path in ASKED.items():
            before = cpu_seconds(process)
            figures[f"{name}_s"] = median(ask(url + path)[0] for _ in range(REPEATS))
            figures[f"{name}_cpu_s"] = (cpu_seconds(process) - before) / REPEATS
        figures["overview_kb"] = len(ask(f"{url}/")[1]) / 1024
        figures["memory_mb"] = process.memory_info().rss / 2**20
        return figures
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--runs", type=int, default=500, help="of each node")
    parser.add_argument("--home", type=Path, help="a home to measure instead of a made-up one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home: Path = options.home or Path(folder) / "home"
        if options.home is None:
            make_archive(home, nodes=options.nodes, runs=options.runs)
        figures = measure(home)
    print_figures(figures, GOALS)
    print_report("browse", figures, GOALS)


if __name__ == "__main__":
    main()

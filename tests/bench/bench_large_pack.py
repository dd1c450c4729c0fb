"""A peer that offers a pack of a gigabyte of real bytes, over libp2p: what it costs to refuse it.

    make bench-large-pack [ARGS="--megabytes 1000 --quota-mb 2048"]

The giver runs in a process of its own. Said at the end: why it was refused, what came, the most that lay in quarantine,
what is left of it, and the memory of this process and of its gits.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import bench_git  # noqa: E402
from bench_report import print_figures, print_report  # noqa: E402
from branch_world import AT, Author  # noqa: E402
from small_lab import BRIEF, BRIEF_ID  # noqa: E402

from gossip.identity import Identity  # noqa: E402
from node.branches.fetching import Fetched, Fetcher  # noqa: E402
from node.branches.quotas import Quotas  # noqa: E402
from node.results.repository import open_results  # noqa: E402

FILE_BYTES = 15_000_000  # a file of more would be refused for that


async def offer(folder: Path, megabytes: int) -> None:
    """A branch whose second finding came with so much noise."""
    author = Author(folder, Identity(bytes([9]) * 32))
    await author.begin(1)
    lines: list[str] = []
    for number in range(megabytes * 1_000_000 // FILE_BYTES + 1):
        words = ["git", "-C", str(folder), "-c", "core.compression=0", "hash-object", "-w", "--stdin"]
        blob = subprocess.run(words, input=os.urandom(FILE_BYTES), capture_output=True, check=True).stdout.decode()
        lines.append(f"M 100644 {blob.strip()} noise/{number:03}.bin")
    start = f"commit {author.owned.ref}\ncommitter a <a@b> {int(AT)} +0000\ndata 1\nx\nfrom {author.owned.ref}^0\n"
    await author.fast_import((start + "\n".join(lines) + "\n\ndone\n").encode())
    await author.find(2)
    await author.tell()


class Watch(threading.Thread):
    """The most that lay under a folder at one time, and the most memory of this process and of its gits together."""

    def __init__(self, folder: Path, giver: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.giver, self.over = folder, giver, threading.Event()
        self.most_bytes = self.memory_bytes = self.git_memory_bytes = 0

    def run(self) -> None:
        me = psutil.Process()
        while not self.over.wait(0.1):
            self.most_bytes = max(self.most_bytes, size_of(self.folder))
            self.memory_bytes = max(self.memory_bytes, memory_of(me))
            gits = [child for child in me.children() if child.pid != self.giver]
            gits += [grandchild for child in gits for grandchild in children_of(child)]
            self.git_memory_bytes = max(self.git_memory_bytes, sum(memory_of(git) for git in gits))


def memory_of(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # gone meanwhile
        return 0


def children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # gone meanwhile
            continue
    return total


async def fetch(address: str, folder: Path, quota_mb: int) -> tuple[Fetched, int]:
    me = Identity(bytes([8]) * 32)
    await open_results(folder / "results", me.peer_id, BRIEF.name).prepare()
    asker = bench_git.bus(me)
    before = size_of(folder)
    async with trio.open_nursery() as nursery:
        await nursery.start(asker.run)
        await asker.dial(address)
        fetcher = Fetcher(
            folder / "results", folder / "quarantine", me.peer_id, BRIEF_ID, BRIEF.name, asker.join,
            Quotas(folder / "branches.json", quota_mb << 20),
        )  # fmt: skip
        found = await fetcher.fetch(address.rpartition("/")[2])
        came = asker.statistics()["git_bytes_in"]
        nursery.cancel_scope.cancel()
    assert size_of(folder) == before, "something was left behind"
    return found, came


def refuse(folder: Path, megabytes: int, quota_mb: int) -> dict[str, float]:
    words = [sys.executable, __file__, "--megabytes", str(megabytes), "--offer", str(folder / "offered")]
    subprocess.run(words, check=True)
    address_file = folder / "address"
    words = [sys.executable, bench_git.__file__, "--serve", str(folder / "offered"), "--address", str(address_file)]
    giver = subprocess.Popen(words)
    watch = Watch(folder / "reader", giver.pid)
    try:
        while not address_file.exists():
            time.sleep(0.05)
        calm = memory_of(psutil.Process())
        watch.start()
        began = time.monotonic()
        found, came = trio.run(fetch, address_file.read_text(), folder / "reader", quota_mb)
        took = time.monotonic() - began
    finally:
        watch.over.set()
        giver.kill()
        giver.wait()
    assert not found.taken
    offered = sum(path.stat().st_size for path in (folder / "offered" / ".git" / "objects").rglob("*"))
    print("refused:", *found.refused)
    return {
        "offered_megabytes": offered / 1e6,
        "came_megabytes": came / 1e6,
        "most_on_disk_megabytes": watch.most_bytes / 1e6,
        "node_memory_before_megabytes": calm / 1e6,
        "node_memory_megabytes": watch.memory_bytes / 1e6,
        "gits_memory_megabytes": watch.git_memory_bytes / 1e6,
        "seconds": took,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--quota-mb", type=int, default=2048)
    parser.add_argument("--offer", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.offer:
        trio.run(offer, chosen.offer, chosen.megabytes)
        return
    with tempfile.TemporaryDirectory(prefix="large-pack-") as folder:
        figures = refuse(Path(folder), chosen.megabytes, chosen.quota_mb)
    print_figures(figures, {})
    print_report("large-pack", figures, {})


if __name__ == "__main__":
    main()

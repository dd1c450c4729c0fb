"""How fast a blob gets from one node to another: two processes on loopback, verified and on disk when it is done.

    python tests/bench/bench_blob.py [--megabytes N] [--repeats N]

One process offers a file, this one gets it over libp2p as a joiner gets its shards: request, bytes, SHA-256, fsync.
The last line is one JSON object; exit status 0 when it ran, whether or not the goals are met.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench_report import print_report  # noqa: E402

from gossip.blob_fetch import BlobFetch, Wanted  # noqa: E402
from gossip.blobs import OfferedBlobs  # noqa: E402
from gossip.identity import Identity  # noqa: E402
from gossip.libp2p_bus import Libp2pBus  # noqa: E402
from gossip.refusal import Answer  # noqa: E402

GOAL_MB_PER_SECOND = 100.0  # MB of 10^6 bytes
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


def make_bus(number: int, blobs: OfferedBlobs) -> Libp2pBus:
    identity = Identity(bytes([number]) * 32)
    return Libp2pBus(
        identity, "/swarm/1/bench", [LOOPBACK], lambda *_: Answer.IGNORE, lambda *_: b"", wall_clock=time.time,
        blobs=blobs,
    )  # fmt: skip


async def offer(path: Path, sha256: str) -> None:
    """The other process: until its standard input is closed."""
    async with trio.open_nursery() as nursery:
        bus = make_bus(1, OfferedBlobs({sha256: path}))
        await nursery.start(bus.run)
        print(bus.addresses()[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


class Unwatched:
    def progress(self, done_bytes: int, total_bytes: int | None) -> None:
        pass

    def refused(self, peer: str, why: str) -> None:
        raise AssertionError(f"{peer}: {why}")

    def nobody_has_it(self, peers: tuple[str, ...]) -> None:
        raise AssertionError(f"none of {peers} has it")


async def get(address: str, sha256: str, size_bytes: int, folder: Path, repeats: int) -> list[float]:
    """Seconds of each transfer, without the connecting. Each is another peer's: one gets a blob a few times only."""
    took: list[float] = []
    for number in range(repeats):
        async with trio.open_nursery() as nursery:
            bus = make_bus(2 + number, OfferedBlobs())
            await nursery.start(bus.run)
            await bus.dial(address)
            wanted = Wanted(sha256, size_bytes, size_bytes, folder / f"got-{number}")
            began = trio.current_time()
            await BlobFetch(wanted, Unwatched()).run(bus)
            took.append(trio.current_time() - began)
            wanted.target.unlink()
            nursery.cancel_scope.cancel()
    return took


def measure(size_bytes: int, repeats: int) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        folder, content = Path(name), os.urandom(size_bytes)
        (folder / "blob").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        command = [sys.executable, __file__, "--offer", str(folder / "blob"), sha256]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdin is not None
            address = other.stdout.readline().strip()
            try:
                return trio.run(get, address, sha256, size_bytes, folder, repeats)
            finally:
                other.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a blob gets from one node to another.")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--offer", nargs=2, metavar=("PATH", "SHA256"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.offer:
        trio.run(offer, Path(options.offer[0]), options.offer[1])
        return
    took = measure(options.megabytes * 10**6, options.repeats)
    speeds = [options.megabytes / seconds for seconds in took]
    print(f"{'transfer':>10} {'seconds':>9} {'MB/s':>9}")
    for number, (seconds, speed) in enumerate(zip(took, speeds, strict=True), 1):
        print(f"{number:>10} {seconds:>9.3f} {speed:>9.1f}")
    figures = {"mb_per_second": statistics.median(speeds), "slowest_mb_per_second": min(speeds)}
    print_report("blob", figures, {"mb_per_second": (">=", GOAL_MB_PER_SECOND)})


if __name__ == "__main__":
    main()

"""Branches between peers: how soon a commit is everywhere, and how fast many runs come, beside git's own daemon.

    make bench-git [ARGS="--runs 10000 --branches 20"]

First six nodes in processes of their own, no training: one of them commits, then the others are asked what they have.
Then an archive of many runs: fetched through the node's own way over libp2p, checked and taken in; cloned by stock git
through `git-remote-swarm`; cloned by stock git from `git daemon`: all over loopback TCP, on the same machine, in turn.
"""

import argparse
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench_report import print_figures, print_report  # noqa: E402
from branch_world import Author  # noqa: E402
from small_lab import BRIEF, BRIEF_ID  # noqa: E402

from gossip.identity import Identity  # noqa: E402
from gossip.libp2p_bus import Libp2pBus  # noqa: E402
from gossip.refusal import Answer  # noqa: E402
from gossip.ticket import Ticket, encode_ticket  # noqa: E402
from node.branches.fetching import Fetcher  # noqa: E402
from node.branches.quotas import Quotas  # noqa: E402
from node.branches.serving import Serving  # noqa: E402
from node.results.repository import open_results  # noqa: E402

GOALS = {
    "everywhere_seconds": ("<=", 10.0),
    "clone_speed_of_daemon": (">=", 0.5),
    "fetch_speed_of_daemon": (">=", 0.5),
}
HELPER = "#!/bin/sh\nexec '{python}' -c 'from node.branches.remote_helper import main; main()' \"$@\"\n"
RUN_BYTES = {"result.json": 2500, "curve.csv": 2000, "curve.png": 9000, "report.md": 1500, "log.txt": 3000}


async def archive(folder: Path, branches: int, runs: int, rng: random.Random) -> None:
    """Branches as nodes write them, in one repository: run folders of about 20 kB, half of it pictures."""
    for number in range(branches):
        author = Author(folder, Identity(rng.randbytes(32)))
        await author.results.prepare()
        stream, ref = bytearray(), author.owned.ref
        for run in range(1, runs // branches + 1):
            record = author.seal(run)
            author.records.append(record)
            run_folder = f"runs/{run:04}-run"
            message = f"{run:04}\n\nFinding-Id: {record.id}\nRun: {run_folder}\n".encode()
            stream += f"commit {ref}\ncommitter a <a@b> {1_800_000_000 + run} +0000\ndata {len(message)}\n".encode()
            stream += message + b"\n"
            files = {f"{run_folder}/record.bin": record.frame, "README.md": rng.randbytes(500).hex().encode()}
            for name, size in RUN_BYTES.items():
                noise = rng.randbytes(size) if name.endswith("png") else rng.randbytes(size // 4).hex().encode()
                files[f"{run_folder}/{name}"] = noise
            for path, content in files.items():
                stream += f"M 100644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n"
        await author.results._git.run("fast-import", "--quiet", "--done", stdin=bytes(stream) + b"\ndone\n")
        await author.tell()
        print(f"\rbranch {number + 1} of {branches}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    subprocess.run(["git", "-C", str(folder), "gc", "--quiet"], check=True)


def bus(identity: Identity, branches: Serving | None = None) -> Libp2pBus:
    return Libp2pBus(
        identity, f"/swarm/1/{BRIEF_ID}", ["/ip4/127.0.0.1/tcp/0"], lambda *_: Answer.IGNORE, lambda *_: b"",
        wall_clock=time.time, branches=branches,
    )  # fmt: skip


def serve(folder: Path, address: Path) -> None:
    """A node's giving side, in a process of its own."""

    async def run() -> None:
        giver = bus(Identity(bytes([7]) * 32), Serving(folder, BRIEF.name, ""))
        async with trio.open_nursery() as nursery:
            await nursery.start(giver.run)
            address.with_suffix(".new").write_text(giver.addresses()[0])
            address.with_suffix(".new").replace(address)

    trio.run(run)


async def fetch(address: str, folder: Path) -> float:
    """As a node does it; seconds."""
    me = Identity(bytes([8]) * 32)
    await open_results(folder / "results", me.peer_id, BRIEF.name).prepare()
    asker = bus(me)
    async with trio.open_nursery() as nursery:
        await nursery.start(asker.run)
        await asker.dial(address)
        began = time.monotonic()
        fetcher = Fetcher(
            folder / "results", folder / "quarantine", me.peer_id, BRIEF_ID, BRIEF.name, asker.join,
            Quotas(folder / "branches.json", 1 << 40),
        )  # fmt: skip
        found = await fetcher.fetch(address.rpartition("/")[2])
        took = time.monotonic() - began
        assert found.taken, found.refused
        assert not found.refused, found.refused
        nursery.cancel_scope.cancel()
    return took


def clone(url: str, target: Path, env: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", "--bare", url, str(target)], env=env, check=True)
    took = time.monotonic() - began
    shutil.rmtree(target)
    return took


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def speeds(folder: Path, branches: int, runs: int) -> dict[str, float]:
    results = folder / "archive"
    trio.run(archive, results, branches, runs, random.Random(5))
    (results / ".git" / "git-daemon-export-ok").touch()
    programs = folder / "bin"
    programs.mkdir()
    (programs / "git-remote-swarm").write_text(HELPER.format(python=sys.executable))
    (programs / "git-remote-swarm").chmod(0o755)
    env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    env |= {"SWARM_HOME": str(folder / "nowhere")}
    port, address_file = free_port(), folder / "address"
    daemon = subprocess.Popen(
        ["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", f"--base-path={results}"],
        start_new_session=True,
    )
    giver = subprocess.Popen([sys.executable, __file__, "--serve", str(results), "--address", str(address_file)])
    try:
        while not address_file.exists():
            time.sleep(0.05)
        address = address_file.read_text()
        ticket = encode_ticket(Ticket(BRIEF.name, BRIEF_ID, (address,)))
        by_daemon = [clone(f"git://127.0.0.1:{port}/.git", folder / "one", env)]
        by_helper = clone(f"swarm://{ticket}", folder / "two", env)
        by_node = trio.run(fetch, address, folder / "reader")
        by_daemon.append(clone(f"git://127.0.0.1:{port}/.git", folder / "three", env))
    finally:
        giver.kill()
        giver.wait()
        os.killpg(daemon.pid, 15)
        daemon.wait()
    packed = sum(path.stat().st_size for path in (results / ".git" / "objects").rglob("*.pack"))
    of_daemon = sum(by_daemon) / 2
    return {
        "runs": runs,
        "archive_megabytes": packed / 1e6,
        "daemon_seconds": of_daemon,
        "clone_seconds": by_helper,
        "fetch_seconds": by_node,
        "clone_speed_of_daemon": of_daemon / by_helper,
        "fetch_speed_of_daemon": of_daemon / by_node,
    }


def everywhere(folder: Path, nodes: int) -> dict[str, float]:
    """Seconds from the start of its author's process until a commit is at every other node; then all are stopped."""
    from node_process import NodeProcess, facts, write_topic
    from test_branches_between_nodes import find, head_of

    from node.home import Home

    topic = str(write_topic(folder / "topic"))
    common = ("--topic", topic, "--no-train")
    author = folder / "author"
    with NodeProcess("launch", *common, home=folder / "0") as first:
        ticket = first.wait_for("listening")["ticket"]
        with NodeProcess("join", ticket, *common, home=author) as node:
            peer = node.wait_for("node_started")["peer_id"]
            node.wait_for("listening")
            node.terminate()
        newest = trio.run(find, Home(author), 1)
        others = [NodeProcess("join", ticket, *common, home=folder / str(n)) for n in range(1, nodes - 1)]
        try:
            for other in others:
                other.wait_for("peers_changed", lambda event: event["peers"])
            homes = [folder / str(n) for n in range(nodes - 1)]
            began = time.monotonic()
            with NodeProcess("join", ticket, *common, home=author) as node:
                while not all(head_of(home, peer) == newest for home in homes):
                    time.sleep(0.05)
                    assert time.monotonic() - began < 120, [head_of(home, peer) for home in homes]
                took = time.monotonic() - began
                node.terminate()
            heads = {one["peer"]: one["head"] for one in facts("branches", homes[-1])["branches"]}
            assert heads[peer] == newest
        finally:
            for other in others:
                other.__exit__()
    for home in homes:  # with every node gone: all of it is in each
        subprocess.run(["git", "-C", str(home / "results"), "rev-list", "--objects", "--quiet", newest], check=True)
    return {"nodes": nodes, "everywhere_seconds": took}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--branches", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--address", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve, chosen.address)
        return
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-git-") as folder:
        if chosen.nodes:
            figures |= everywhere(Path(folder) / "nodes", chosen.nodes)
        if chosen.runs:
            figures |= speeds(Path(folder), chosen.branches, chosen.runs)
    print_figures(figures, GOALS)
    print_report("git", figures, GOALS)


if __name__ == "__main__":
    main()

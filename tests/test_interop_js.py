"""A js-libp2p peer, written from docs/protocol.md alone, beside a real node: tickets, records, catch-up both ways.

Needs node 20 or newer and npm. The packages are installed once, into build/, exactly as package-lock.json has them.
"""

import hashlib
import json
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from node_process import PATIENCE_SECONDS, NodeProcess, facts, until, write_topic

SOURCES = Path(__file__).parent / "interop"
VECTORS = Path(__file__).parent / "vectors" / "v1"
BUILD = Path(__file__).parent.parent / "build"
OLDEST_NODE = 20
INSTALL_SECONDS = 300
NO_NETWORK = re.compile(
    r"code (ENOTFOUND|EAI_AGAIN|ECONN\w+|ENET\w+|EHOST\w+|ETIMEDOUT|ERR_SOCKET_TIMEOUT|ENOTCACHED|E[45]\d\d)"
)


@pytest.fixture(scope="module")
def folder() -> Path:
    """The js files beside their packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: the js peer cannot run")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node {version.strip()} is older than {OLDEST_NODE}: js-libp2p does not run on it")
    lock = (SOURCES / "package-lock.json").read_bytes()
    made = BUILD / f"interop-{hashlib.sha256(lock).hexdigest()[:12]}"
    made.mkdir(parents=True, exist_ok=True)
    for path in SOURCES.iterdir():
        shutil.copy(path, made)
    if not (made / "complete").exists():
        install(made)
        (made / "complete").touch()
    return made


def install(made: Path) -> None:
    command = ["npm", "ci", "--omit-lockfile-registry-resolved", "--ignore-scripts", "--no-audit", "--no-fund"]
    command += ["--fetch-retries=1", "--fetch-timeout=60000"]
    try:
        done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not get the packages of the js peer within {INSTALL_SECONDS} s")
    if no_network := NO_NETWORK.search(done.stderr):
        pytest.skip(f"npm cannot get the packages of the js peer from its registry ({no_network[1]})")
    assert done.returncode == 0, done.stderr


class JsPeer:
    """peer.mjs, running: what it says, in the order it says it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, event: str, matches: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"the js peer said no {event}; last: {self.events[-5:]}") from None
            assert line is not None, f"the js peer ended before {event}; last: {self.events[-5:]}"
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event and matches(self.events[-1]):
                return self.events[-1]

    def happened(self, *events: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] in events]


@contextmanager
def js_peer(folder: Path, ticket: str, errors: Path) -> Iterator[JsPeer]:
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            ["node", "peer.mjs", ticket],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
        with process:
            peer = JsPeer(process)
            try:
                yield peer
                assert process.stdin is not None
                process.stdin.close()
                assert process.wait(PATIENCE_SECONDS) == 0, errors.read_text()
            finally:
                process.kill()
                peer.reader.join()


@pytest.mark.end_to_end
def test_a_js_peer_and_a_node_are_one_swarm(folder: Path, tmp_path: Path) -> None:
    topic, home = str(write_topic(tmp_path / "topic")), tmp_path / "home"
    with NodeProcess("launch", "--topic", topic, "--name", "python", home=home) as node:
        ticket = node.wait_for("listening")["ticket"]
        early = node.wait_for("finding_recorded")["id"]
        with js_peer(folder, ticket, tmp_path / "stderr") as js:
            me = js.wait_for("started")["peer"]
            assert js.wait_for("record", lambda e: e["how"] == "catchup")["id"] == early
            live = js.wait_for("record", lambda e: e["how"] == "broadcast")
            published = js.wait_for("published")
            assert published["recipients"] == [node.happened("node_started")[0]["peer_id"]]
            fetched, heard = (node.wait_for("finding_received", lambda e: e["peer"] == me) for _ in range(2))
            assert heard["id"] == published["id"]
            assert published["unpacked"] >= 1, "the node's broadcasts are packed, and js reads them"
            until(lambda: {f["id"] for f in known(home, me)} == {fetched["id"], heard["id"]}, "both are shown")
            check_what_js_read(js, home)
            assert known(home, me)[1]["title"] == "made in js, number 2"
            assert [entry["val_bpb"] for entry in facts("leaderboard", home)["entries"] if entry["peer"] == me] == [
                9.375
            ]
        assert live["id"] in {finding["id"] for finding in facts("log", home)["findings"]}
        assert not js.happened("refused", "request_refused", "broken_log")
    assert (tmp_path / "stderr").read_text() == ""


def known(home: Path, peer: str) -> list[dict[str, Any]]:
    return [finding for finding in facts("log", home, "--all")["findings"] if finding["peer"] == peer]


def check_what_js_read(js: JsPeer, home: Path) -> None:
    """Every record that js showed is the finding that the node wrote."""
    written = {finding["id"]: finding for finding in facts("log", home)["findings"]}
    shown = [one for one in js.happened("record") if one["kind"] == "finding" and one["id"] in written]
    assert len(shown) >= 2
    for one in shown:
        finding = written[one["id"]]
        assert (one["author"], one["number"], one["title"]) == (finding["peer"], finding["number"], finding["title"])
        assert one["val_bpb"] == finding["trials"][0]["val_bpb"]


def test_js_reads_the_golden_vectors(folder: Path) -> None:
    done = subprocess.run(
        ["node", "vectors.mjs", str(VECTORS)], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    checked = json.loads(done.stdout)
    assert checked.keys() >= {
        "records.json",
        "refused.json",
        "limits.json",
        "keys.json",
        "tickets.json",
        "exchange.json",
        "packed.json",
        "marks.json",
    }
    assert all(count > 0 for count in checked.values()), checked


def test_the_lock_file_names_no_registry_and_exact_versions() -> None:
    package = json.loads((SOURCES / "package.json").read_text())
    lock = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    assert lock[""]["dependencies"] == package["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["dependencies"].values())
    for name, entry in lock.items():
        assert "resolved" not in entry, name
        assert name == "" or entry["integrity"].startswith("sha512-")

"""A real node in a process of its own, for end-to-end tests: its events, its end, and commands on its home."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

SWARM = [sys.executable, "-c", "from node.cli import main; main()"]
PATIENCE_SECONDS = 90.0  # for anything to happen on a busy machine; a wait ends as soon as it has happened

TOPIC = """
name = "tiny"
[budgets]
cpu = 2.0
gpu = 2.0
[corpus]
source = "files"
paths = ["text/*.txt"]
[split]
validation_per_mille = 200
sealed_per_mille = 100
[acceptance]
max_trials = 2
"""


def write_topic(folder: Path) -> Path:
    """A topic small enough that a trial of two seconds learns something and its evaluation takes no time."""
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "seven", "wizards", "brew"]
    text = folder / "text"
    text.mkdir(parents=True)
    state = 1
    for number in range(40):
        chosen: list[str] = []
        for _ in range(400):
            state = (state * 48271) % (2**31 - 1)
            chosen.append(words[state % len(words)])
        (text / f"{number:02}.txt").write_text(" ".join(chosen) + "\n")
    (folder / "tiny.toml").write_text(TOPIC)
    return folder / "tiny.toml"


def swarm(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*SWARM, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env=_environment() | (env or {}),
    )


def facts(command: str, home: Path, *arguments: str) -> dict[str, Any]:
    done = swarm(command, "--home", str(home), "--json", *arguments)
    assert done.returncode == 0, f"swarm {command} exited {done.returncode}: {done.stderr}"
    return json.loads(done.stdout)


def _environment() -> dict[str, str]:
    """Without a language model that the person running the tests may have configured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "SWARM_"))}


class NodeProcess:
    """A node that is running. Use as a context manager: nothing outlives it."""

    def __init__(self, *arguments: str, home: Path, env: dict[str, str] | None = None) -> None:
        self.home = home
        command = [*SWARM, *arguments, "--home", str(home), "--json", "--no-mdns"]
        if "--listen" not in arguments:
            command += ["--listen", "/ip4/127.0.0.1/tcp/0"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment() | (env or {})
        )
        self.events: list[dict[str, Any]] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for thread in self._readers:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._readers:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)

    @property
    def stderr(self) -> str:
        return "".join(self._errors)

    def wait_for(self, event: str, matches: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The first event of that name for which `matches` holds, from now on. Fails when the node ends first."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {event} within {PATIENCE_SECONDS:.0f} s; last: {self.events[-3:]}") from None
            if line is None:
                self._queue.put(None)
                raise AssertionError(f"node ended before {event}; stderr: {self.stderr}; last: {self.events[-3:]}")
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event and matches(self.events[-1]):
                return self.events[-1]

    def wait(self) -> int:
        """Exit status, with every event read."""
        status = self.process.wait(PATIENCE_SECONDS)
        while (line := self._queue.get(timeout=10)) is not None:
            self.events.append(json.loads(line))
        return status

    def happened(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]

    def family(self) -> list[psutil.Process]:
        """The node and everything it has started."""
        node = psutil.Process(self.process.pid)
        return [node, *node.children(recursive=True)]

    def terminate(self) -> float:
        """SIGTERM; seconds until the exit."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_SECONDS)
        return time.monotonic() - started

    def kill_9(self) -> list[psutil.Process]:
        """SIGKILL the node alone; returns those of its children that are alive five seconds later."""
        family = self.family()
        self.process.kill()
        self.process.wait()
        _, alive = psutil.wait_procs([p for p in family if p.pid != self.process.pid], timeout=5)
        return alive


def is_alive(process: psutil.Process) -> bool:
    """Not counting who is dead and only waits for the system's init to notice."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Wait for something seen from outside; seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - started

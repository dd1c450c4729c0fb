"""Which sandbox works here: found by running something in it that must fail and something that must work.

Owns the attempts and the order. Never looks at versions: a container, a distribution's policy or a kernel's setting
takes away what a version promises.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from node import shipped
from node.sandbox import bubblewrap
from node.sandbox.confinement import Confinement, unconfined
from node.sandbox.policy import Backend
from node.sandbox.spec import Access, Limits, Means, find_bubblewrap, limits_for, request
from node.trials.hardware import Hardware

PROBE_SECONDS = 20.0  # an interpreter's start, on a loaded machine
CUDA_SECONDS = 90.0  # torch and a first CUDA context
NOBODY = 65534  # who a child of root becomes
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SETUID = 1, 2, 7

# What must fail and what must work, in a child that is meant to be confined; prints {attempt: what came of it}.
ATTEMPTS = """
import ctypes, json, os, socket, sys, threading
secret, named, output, scratch, outside, victim = sys.argv[1:]
said = {}
def attempt(name, work):
    try:
        work()
    except BaseException as error:
        said[name] = type(error).__name__
    else:
        said[name] = "worked"
def read(path): open(path, "rb").read(1)
def write(path): open(path, "wb").write(b"x")
attempt("read a secret", lambda: read(secret))
attempt("list the root", lambda: os.listdir("/"))
attempt("write outside", lambda: write(outside))
attempt("empty a file that is read", lambda: os.close(os.open(named, os.O_RDONLY | os.O_TRUNC)))
attempt("make a socket", socket.socket)
attempt("make a datagram pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt("signal another process", lambda: os.kill(int(victim), 0))
attempt("leave the group", os.setsid)
attempt("read a file", lambda: read(named))
attempt("write the output", lambda: write(output))
attempt("use scratch", lambda: (os.mkdir(scratch + "/d"), write(scratch + "/d/f"), os.remove(scratch + "/d/f")))
attempt("start a thread", lambda: threading.Thread(target=int).start())
attempt("import from the standard library", lambda: __import__("csv"))
said["landlock"] = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)
print(json.dumps(said))
"""
MUST_WORK = ("read a file", "write the output", "use scratch", "start a thread", "import from the standard library")
MUST_FAIL = ("read a secret", "list the root", "write outside", "empty a file that is read", "make a socket",
             "make a datagram pair", "signal another process", "leave the group")  # fmt: skip
CUDA = "import torch; print(int(torch.zeros(1, device='cuda')))"


@cache
def probe(hardware: Hardware) -> Confinement:
    """The strongest that works, asked once a start."""
    limits = limits_for(hardware)
    if platform.system() != "Linux":
        return replace(unconfined(limits), problems=(f"no sandbox is known for {platform.system()}",))
    problems: list[str] = []
    for means in _candidates(gpu=hardware.device == "cuda"):
        problem, version = _try(means, limits, wrapped=False)
        if problem:
            problems.append(f"Landlock{'' if means.uid is None else f' as user {means.uid}'}: {problem}")
            continue
        if find_bubblewrap() is None:
            problem = "not installed"
        else:
            problem, _ = _try(means, limits, wrapped=True)
        if problem:
            problems.append(f"bubblewrap: {problem}")
        backend = Backend.LANDLOCK if problem else Backend.BUBBLEWRAP
        return Confinement(backend, means, limits, version, problems=tuple(problems))
    return replace(unconfined(limits), problems=tuple(problems))


def _candidates(gpu: bool) -> list[Means]:
    """As root: become nobody, able to read root's own files if that can be had; else as we are."""
    plain = Means(landlock=True, uid=None, kept_capability=None, gpu=gpu)
    if os.getuid() != 0:
        return [plain]
    held = _capabilities()
    if not held >> CAP_SETUID & 1:
        return [plain]
    kept = next((number for number in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if held >> number & 1), None)
    return [Means(landlock=True, uid=NOBODY, kept_capability=kept, gpu=gpu), plain]


def _capabilities() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def _try(means: Means, limits: Limits, *, wrapped: bool) -> tuple[str, int]:
    """(what went wrong or nothing, Landlock's version)."""
    with tempfile.TemporaryDirectory(prefix="swarm-sandbox-") as folder:
        place = _Place(Path(os.path.realpath(folder)), means, limits, wrapped)
        said, problem = place.run(ATTEMPTS, PROBE_SECONDS)
        problem = problem or place.judge(said)
        if not problem and means.gpu:
            _, problem = place.run(CUDA, CUDA_SECONDS)
            problem = problem and f"torch cannot use the GPU inside: {problem}"
    return problem, int(said.get("landlock", 0))


class _Place:
    """A folder with a secret, and in it the folder a confined script may use."""

    def __init__(self, folder: Path, means: Means, limits: Limits, wrapped: bool) -> None:
        self._folder, self._inside = folder, folder / "inside"
        self._script, self._named, self._output = (self._inside / name for name in ("script.py", "named", "output"))
        self._scratch, self._spec = self._inside / "scratch", self._inside / "spec.json"
        self._scratch.mkdir(parents=True)
        for path in (folder / "secret", self._named, self._output):
            path.write_text("kept")
        access = Access(read=(self._script, self._named), write=(self._output,), scratch=self._scratch)
        self._script.touch()
        self._spec.write_text(json.dumps(request(access, limits, means)))
        experiments = shipped.experiments()
        self._launcher = bubblewrap.command((experiments,), (self._inside,), gpu=means.gpu) or [] if wrapped else []
        self._confine = experiments / "confine.py"

    def run(self, script: str, seconds: float) -> tuple[dict[str, Any], str]:  # Any: what our own script printed
        """(what it printed, what went wrong or nothing)."""
        self._script.write_text(script)
        command = [*self._launcher, sys.executable, "-I", str(self._confine), str(self._spec), str(self._script)]
        paths = (self._folder / "secret", self._named, self._output, self._scratch, self._folder / "outside")
        command += [*map(str, paths), str(os.getpid())]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self._scratch)}
        try:
            done = subprocess.run(
                command, cwd=self._scratch, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=seconds, check=False,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            return {}, f"{type(error).__name__}: {error}"[:200]
        if done.returncode != 0:
            return {}, (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]
        return cast("dict[str, Any]", json.loads(done.stdout)), ""

    def judge(self, said: dict[str, Any]) -> str:  # Any: as above
        for name in MUST_WORK:
            if said.get(name) != "worked":
                return f"a script could not {name}: {said.get(name)}"
        for name in MUST_FAIL:
            if said.get(name) == "worked":
                return f"a script could {name}"
        if (self._folder / "outside").exists() or self._named.read_text() != "kept":
            return "a script wrote where it must not"
        return ""

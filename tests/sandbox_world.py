"""A world to break out of: secrets, listeners and a victim outside, a script inside; and which sandboxes work here."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from escape_attempts import PRELUDE

from node.sandbox import bubblewrap
from node.sandbox.confinement import Confinement
from node.sandbox.policy import Backend
from node.sandbox.probe import probe
from node.sandbox.spec import Access, Limits, Means, request
from node.trials.hardware import Hardware

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
HARDWARE = Hardware("cpu", "cpu-test-1", "test", 1, "cpu")
FOUND = probe(HARDWARE)
SECRET = "a-secret-that-nobody-may-see"
MIB = 1 << 20
SMALL = Limits(
    memory_bytes=700 * MIB, scratch_bytes=64 * MIB, scratch_files=500, file_bytes=16 * MIB, open_files=96, tasks=64,
    output_bytes=8 * MIB,
)  # fmt: skip
CPU_SECONDS = 20

# Every way of being confined that is used somewhere: (what holds it, the same user or another one, Landlock inside)
MODES = ["landlock", "landlock as the same user", "bubblewrap", "bubblewrap without landlock"]


def skip_unless(mode: str) -> None:
    if FOUND.backend is Backend.NONE:
        pytest.skip(f"no sandbox works here: {'; '.join(FOUND.problems)}")
    if mode.startswith("bubblewrap") and FOUND.backend is not Backend.BUBBLEWRAP:
        pytest.skip(f"bubblewrap does not work here: {'; '.join(FOUND.problems)}")
    if mode == "landlock as the same user" and FOUND.means.uid is None:
        pytest.skip("landlock is as the same user here")


def means_of(mode: str) -> Means:
    plain = replace(FOUND.means, uid=None, kept_capability=None)
    return {
        "landlock as the same user": plain,
        "bubblewrap without landlock": replace(FOUND.means, landlock=False),
    }.get(mode, FOUND.means)


@dataclass
class Done:
    status: int
    output: str


@dataclass
class World:
    """What there is to get at, and what it looked like before."""

    folder: Path
    token: str
    stack: ExitStack
    before: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        home, inside = self.folder / "home", self.folder / "inside"
        for path in (home / "results/.git/hooks", home / "empty", inside / "scratch"):
            path.mkdir(parents=True)
        for name in ("key", "journal", "validation.bin", "results/.git/hooks/post-commit"):
            (home / name).write_text(SECRET)
            (home / name).chmod(0o666)  # what protects it is the sandbox
        for path in (self.folder, home, home / "results/.git/hooks", home / "empty", inside):
            path.chmod(0o777)
        (inside / "train.bin").write_text("train")
        (inside / "link").symlink_to(home / "key")
        for name in ("script.py", "spec.json", "world.json"):
            (inside / name).touch()
        self.inside, self.scratch = inside, inside / "scratch"
        self._listen()
        with (home / "key").open() as key:
            self.victim = subprocess.Popen(
                ["sleep", "600"], stdin=key, cwd=home, env={"KEY": SECRET}, start_new_session=True
            )
        self.stack.callback(self.victim.wait)
        self.stack.callback(self.victim.kill)
        (inside / "world.json").write_text(json.dumps(self.words()))

    def _listen(self) -> None:
        unix, datagram = str(self.inside / "s"), str(self.inside / "d")
        made = [socket.create_server(("127.0.0.1", 0))]
        self.tcp = made[0].getsockname()[1]
        with suppress(OSError):  # no IPv6 here
            made.append(socket.create_server(("::1", self.tcp), family=socket.AF_INET6))
        for kind, address in (
            (socket.SOCK_STREAM, unix), (socket.SOCK_STREAM, f"\0{self.token}"), (socket.SOCK_DGRAM, datagram)
        ):  # fmt: skip
            made.append(socket.socket(socket.AF_UNIX, kind))
            made[-1].bind(address)
            if kind == socket.SOCK_STREAM:
                made[-1].listen()
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made[-1].bind(("127.0.0.1", 0))
        self.udp = made[-1].getsockname()[1]
        self.sockets = made
        for one in made:
            one.setblocking(False)
            self.stack.callback(one.close)

    def words(self) -> dict[str, object]:
        home, inside = self.folder / "home", self.inside
        paths = {
            "home": home, "key": home / "key", "journal": home / "journal", "validation": home / "validation.bin",
            "hook": home / "results/.git/hooks/post-commit", "empty": home / "empty", "inside": inside,
            "train": inside / "train.bin", "script": inside / "script.py", "scratch": self.scratch,
            "lying_link": inside / "link", "unix": inside / "s", "datagram": inside / "d", "experiments": EXPERIMENTS,
        }  # fmt: skip
        numbers = {"victim": self.victim.pid, "node": os.getpid(), "tcp": self.tcp, "udp": self.udp}
        return {name: str(path) for name, path in paths.items()} | numbers | {"token": self.token}

    def look(self) -> dict[str, object]:
        """Everything an attempt could change."""
        seen: dict[str, object] = {"victim": self.victim.poll(), "hostname": socket.gethostname()}
        if self.victim.poll() is None:
            pid = self.victim.pid
            seen["victim"] = (
                os.sched_getaffinity(pid), os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid),
                resource.prlimit(pid, resource.RLIMIT_NOFILE),
            )  # fmt: skip
        seen["own priority"] = os.getpriority(os.PRIO_PROCESS, 0)
        seen["core pattern"] = Path("/proc/sys/kernel/core_pattern").read_text()
        for folder, folders, files in os.walk(self.folder):
            if Path(folder) == self.inside:
                folders.remove("scratch")
            for name in (*folders, *files):
                seen[f"{folder}/{name}"] = self._of(Path(folder) / name)
        for place in ("/tmp", "/var/tmp", "/dev/shm"):
            seen[place] = Path(place, self.token).exists()
        seen["experiments"] = {path.name: path.stat().st_mtime_ns for path in EXPERIMENTS.glob("*.py")}
        return seen

    def _of(self, path: Path) -> tuple[object, ...]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        return (
            status.st_mode,
            status.st_uid,
            status.st_size,
            status.st_mtime_ns,
            content,
            os.listxattr(path, follow_symlinks=False),
        )

    def heard(self) -> list[str]:
        """What reached a socket of ours."""
        reached = []
        for one in self.sockets:
            try:
                one.accept() if one.type == socket.SOCK_STREAM else one.recv(10)
            except BlockingIOError:
                continue
            reached.append(str(one))
        return reached

    def run(self, script: str, mode: str | None) -> Done:
        """A script, confined; None: not at all."""
        for path in self.scratch.iterdir():
            path.unlink() if not path.is_dir() else shutil.rmtree(path)
        inside, named = self.inside, [self.inside / name for name in ("script.py", "world.json", "train.bin")]
        (inside / "script.py").write_text(PRELUDE + script + "\nprint('to the end')\n")
        command = [sys.executable, "-I", str(inside / "script.py")]
        if mode is not None:
            access = Access(read=tuple(named), write=(), scratch=self.scratch)
            spec = request(access, SMALL, means_of(mode))
            spec["limits"]["tasks"] = None  # counts the whole user's, and the tests' are among them
            (inside / "spec.json").write_text(json.dumps(spec))
            paths = [str(EXPERIMENTS / "confine.py"), str(inside / "spec.json"), str(inside / "script.py")]
            command = [*self._launcher(mode, named), sys.executable, "-I", *paths]
        environment = {"PATH": "/usr/bin:/bin", "WORLD": str(inside / "world.json"), "HOME": str(self.scratch)}
        with (self.folder / "home/key").open() as key:
            os.set_inheritable(key.fileno(), True)  # a descriptor that somebody forgot to close
            done = subprocess.run(
                command, cwd=self.scratch, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=CPU_SECONDS, check=False, close_fds=False, start_new_session=True,
            )  # fmt: skip
        return Done(done.returncode, done.stdout.decode(errors="replace"))

    def _launcher(self, mode: str, named: list[Path]) -> list[str]:
        if not mode.startswith("bubblewrap"):
            return []
        read = (EXPERIMENTS, *named, self.inside / "spec.json", self.inside / "link")
        return bubblewrap.command([p for p in read if not p.is_symlink()], (self.scratch,), gpu=False) or []


def confinement_of(mode: str, limits: Limits = SMALL) -> Confinement:
    backend = Backend.BUBBLEWRAP if mode.startswith("bubblewrap") else Backend.LANDLOCK
    return replace(FOUND, backend=backend, limits=limits, means=means_of(mode))

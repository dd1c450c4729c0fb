"""The command line of bubblewrap, for the process that trials are forked from.

Owns the arguments and the traps behind them. What is bound is readable for every child, so it is little: system
folders, the experiments folder, the train shard, this trainer's own scratch. Landlock inside says which child sees what
of it.

Not used: --die-with-parent. It is bound to the thread that started it, and a thread of a pool ends while the node
lives; the process inside sees the node's socket close instead. Then its namespace ends, and everything in it.
"""

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from node.sandbox.spec import GPU_READ, existing, find_bubblewrap, gpu_devices, own_prefixes, system_folders

# What the process inside needs as root to become somebody else for each child, hand it its files, and end it.
ROOT_KEEPS = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_CHOWN", "CAP_KILL", "CAP_DAC_OVERRIDE",
              "CAP_DAC_READ_SEARCH")  # fmt: skip
PROGRAMS = ("/usr/bin", "/bin", "/usr/local/bin")
HELP_SECONDS = 5.0


def command(read: Iterable[Path], write: Iterable[Path], *, gpu: bool, program: str | None = None) -> list[str] | None:
    """What to put before a command, None without bubblewrap. `read` and `write` are bound at their own paths."""
    bwrap = program or find_bubblewrap()
    if bwrap is None:
        return None
    arguments = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += _identity(bwrap)
    arguments += ["--proc", "/proc"]
    if os.getuid() == 0:  # real root may write there, bubblewrap or not: a way onto the host by core_pattern
        arguments += ["--ro-bind", "/proc/sys", "/proc/sys"]
    arguments += ["--dev", "/dev"]
    made: set[Path] = {Path("/"), Path("/proc"), Path("/dev")}
    # The parent's interpreter may be reached by links from one prefix to another, or from /usr/bin.
    folders = [*system_folders(gpu), *map(Path, existing([*own_prefixes(), *PROGRAMS])), *read]
    if gpu:  # /proc and /sys are there as a whole
        folders += [Path(path) for path in existing(GPU_READ) if not path.startswith(("/proc", "/sys"))]
    for path in _outermost(folders):
        arguments += [*_parents(path, made), "--ro-bind", str(path), str(path)]
    for path in _outermost([*write]):
        arguments += [*_parents(path, made), "--bind", str(path), str(path)]
    for link, target in _links().items():
        arguments += ["--symlink", target, link]
    if gpu:
        for device in gpu_devices():  # not --bind: that one forbids devices
            arguments += ["--dev-bind", device, device]
    arguments += ["--ro-bind", "/sys", "/sys"]
    # Both are writable memory file systems without a bound.
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/", "--"]


def _identity(bwrap: str) -> list[str]:
    if os.getuid() == 0:  # no user namespace: the children become a real other user
        return ["--cap-drop", "ALL", *(word for name in ROOT_KEEPS for word in ("--cap-add", name))]
    arguments = ["--unshare-user"]
    return [*arguments, "--disable-userns"] if "--disable-userns" in _help(bwrap) else arguments


def _help(bwrap: str) -> str:
    """Versions differ in what they know."""
    try:
        done = subprocess.run([bwrap, "--help"], capture_output=True, text=True, timeout=HELP_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout + done.stderr


def _links() -> dict[str, str]:
    """/lib -> usr/lib and its like, where they are links; the loader's own path goes through one of them."""
    return {path: os.readlink(path) for path in ("/lib", "/lib64", "/bin") if os.path.islink(path)}


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Without what lies in another one, so that no bind hides another."""
    wanted = [path for path in dict.fromkeys(paths) if path != Path("/") and str(path) not in _links()]
    return [path for path in wanted if not any(other in path.parents for other in wanted)]


def _parents(path: Path, made: set[Path]) -> list[str]:
    """Folders on the way, readable: bubblewrap would make them 0700, closed to the user a child becomes."""
    arguments: list[str] = []
    for parent in reversed(path.parents):
        if parent not in made:
            made.add(parent)
            arguments += ["--perms", "0755", "--dir", str(parent)]
    return arguments

"""Looks at what a running child and all it started use, and says when that is too much.

Owns the limits the kernel does not hold by itself: memory of the whole tree, scratch, deleted files that are still
open, numbers of processes and files. Looking costs well under a millisecond; whoever polls it, every 100 to 250 ms,
does the killing.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from node.sandbox.spec import Limits

POLL_SECONDS = 0.2  # a script can take half a gigabyte more between two looks (measured)
DEEPEST = 64  # folders in folders; a walk by path ends at 4096 characters anyway
FREE_BYTES = 256 << 20  # of the disk, left for everybody else
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Broken(StrEnum):
    MEMORY = "memory"
    SCRATCH = "scratch"
    FILES = "files"
    TASKS = "tasks"
    OUTPUT = "output"
    DISK = "disk"


@dataclass(frozen=True)
class BrokenLimit:
    kind: Broken
    reason: str  # one sentence


@dataclass(frozen=True)
class Usage:
    memory_bytes: int = 0
    scratch_bytes: int = 0  # blocks really taken, deleted files still open included
    scratch_files: int = 0
    tasks: int = 0
    output_bytes: int = 0
    free_bytes: int | None = None  # of the disk that scratch is on


def broken(usage: Usage, limits: Limits) -> BrokenLimit | None:
    """The first limit that is broken."""
    mib = 1 << 20
    checks = (
        (Broken.MEMORY, usage.memory_bytes, limits.memory_bytes, mib, "MiB of memory"),
        (Broken.SCRATCH, usage.scratch_bytes, limits.scratch_bytes, mib, "MiB of files"),
        (Broken.FILES, usage.scratch_files, limits.scratch_files, 1, "files and folders"),
        (Broken.TASKS, usage.tasks, limits.tasks, 1, "processes and threads"),
        (Broken.OUTPUT, usage.output_bytes, limits.output_bytes, mib, "MiB printed"),
    )
    for what, used, limit, unit, words in checks:
        if used > limit:
            return BrokenLimit(what, f"stopped: more than {limit // unit:,} {words}")
    if usage.free_bytes is not None and usage.free_bytes < FREE_BYTES:
        return BrokenLimit(Broken.DISK, f"stopped: less than {FREE_BYTES // mib} MiB of disk are left")
    return None


def look(root: int, scratch: Path, limits: Limits, output_bytes: int = 0) -> Usage:
    """What all descendants of process `root` use together; `root` itself is not counted."""
    memory = tasks = hidden = 0
    for pid in descendants(root):
        memory += resident_bytes(pid)
        tasks += task_count(pid)
        hidden += deleted_bytes(pid)
    taken, files = folder_usage(scratch, limits.scratch_files)
    return Usage(memory, taken + hidden, files, tasks, output_bytes, free_bytes(scratch))


def descendants(pid: int) -> Iterator[int]:
    """Children, their children and so on. Orphans belong to `pid` when that is a subreaper."""
    waiting, seen = [pid], {pid}
    while waiting:
        parent = waiting.pop()
        for child in children(parent):
            if child not in seen:
                seen.add(child)
                waiting.append(child)
                yield child


def children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # it has ended meanwhile
    return found


def outer_pid(ancestor: int, inner: int) -> int | None:
    """The process among `ancestor` and its descendants that calls itself `inner` in its own pid namespace."""
    for pid in (ancestor, *descendants(ancestor)):
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        names = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [str(pid)])
        if int(names[-1]) == inner:
            return pid
    return None


def resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def task_count(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/task").st_nlink - 2
    except OSError:
        return 0


def deleted_bytes(pid: int) -> int:
    """Files that have no name any more and are still open: no walk of a folder finds them."""
    found: dict[tuple[int, int], int] = {}
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return 0
    for name in names:
        try:
            status = os.stat(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
            found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def folder_usage(folder: Path, most_files: int) -> tuple[int, int]:
    """(bytes taken on disk, entries), by a walk that stops soon after `most_files`; too deep counts as too many."""
    taken, count, waiting = 0, 0, [(str(folder), 0)]
    while waiting and count <= most_files:
        path, depth = waiting.pop()
        if depth > DEEPEST:
            return taken, most_files + 1
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    count += 1
                    if count > most_files:
                        break
                    taken += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
        except OSError:
            continue  # gone meanwhile
    return taken, count


def free_bytes(folder: Path) -> int | None:
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize

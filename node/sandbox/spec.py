"""What a child may read, write and use: the request that `experiments/confine.py` puts into force.

Owns the limits with their units and sources, and which folders of this system a training script needs to be readable.
Refuses to know how any of it is enforced.
"""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.trials.hardware import Hardware, usable_memory_bytes

GIB = 1 << 30
SYSTEM_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/local/lib", "/lib", "/lib64", "/opt/cuda",
                    "/usr/local/cuda")  # fmt: skip
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/usr/lib/wsl", "/nix/store")
COMPILERS = ("/usr/bin", "/bin", "/usr/include", "/usr/libexec", "/usr/local/include")  # what a kernel compiler needs
# The GPU's driver asks for these; without them cuInit fails with 304 although nvidia-smi works.
GPU_READ = ("/proc/driver/nvidia", "/proc/devices", "/proc/modules", "/sys", "/etc/nvidia", "/usr/share/nvidia",
            "/etc/alternatives")  # fmt: skip
GPU_DEVICES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-caps", "dxg", "kfd")
SPARE_ADDRESSES = 8 * GIB  # stacks of threads and arenas of malloc that are reserved and not touched; guess with room
GPU_SPARE_DATA = 32 * GIB  # CUDA reserves private mappings for its contexts; guess with room


@dataclass(frozen=True)
class Limits:
    memory_bytes: int  # resident, of the whole tree
    scratch_bytes: int  # of scratch, deleted files still open included
    scratch_files: int
    file_bytes: int  # of one file: a compiled header has 149 MB, weights at most this
    open_files: int
    tasks: int  # processes and threads
    output_bytes: int  # printed


def limits_for(hardware: Hardware) -> Limits:
    return Limits(
        memory_bytes=max(2 * GIB, usable_memory_bytes() * 3 // 4),  # the rest is the node's and the system's
        scratch_bytes=2 * GIB,  # a fresh cache of torch.compile takes a quarter of it
        scratch_files=20_000,  # the same has some thousands; a guess
        file_bytes=GIB,
        open_files=1024,
        tasks=512 + 8 * hardware.threads,
        output_bytes=256 << 20,  # a line a millisecond for a day; what is kept of it is far less
    )


@dataclass(frozen=True)
class Access:
    """What one child is for, in files. What is not named here does not exist for it, except this system's libraries."""

    read: tuple[Path, ...]
    write: tuple[Path, ...]  # exist already
    scratch: Path | None
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True)
class Means:
    """What the probe found to work here for every child."""

    landlock: bool
    uid: int | None  # to become, when the node is root
    kept_capability: int | None
    gpu: bool


def request(access: Access, limits: Limits, means: Means) -> dict[str, Any]:  # Any: JSON
    """The specification as `experiments/confine.py` documents it."""
    folders, files = ("execute", "read") if means.gpu else ("read", "execute")
    spec: dict[str, Any] = {
        folders: [*map(str, system_folders(means.gpu))],
        files: [],
        "write": [str(path) for path in access.write],
        "scratch": None if access.scratch is None else str(access.scratch),
        "devices": gpu_devices() if means.gpu else [],
        "fds": list(access.descriptors),
        "limits": kernel_limits(limits, means),
        "processes": means.gpu,  # a compiler for the GPU is a program of its own; on a CPU nothing needs a second
        "memfd": means.gpu,  # anonymous files are in no process's memory count; CUDA may want them
        "landlock": means.landlock,
        "uid": means.uid,
        "kept_capability": means.kept_capability,
    }
    spec["read"] += [*map(str, access.read), *(existing(GPU_READ) if means.gpu else [])]
    return spec


def kernel_limits(limits: Limits, means: Means) -> dict[str, int | None]:
    """CUDA reserves far more addresses than memory: there only private writable memory can be limited."""
    return {
        "address_space_bytes": None if means.gpu else limits.memory_bytes + SPARE_ADDRESSES,
        "data_bytes": limits.memory_bytes + (GPU_SPARE_DATA if means.gpu else SPARE_ADDRESSES),
        "file_bytes": limits.file_bytes,
        "open_files": limits.open_files,
        "tasks": limits.tasks + tasks_of(means.uid if means.uid is not None else os.getuid()),
    }


def system_folders(gpu: bool) -> list[Path]:
    """Interpreter, standard library, virtual environment, system libraries; with a GPU also compilers."""
    paths = sysconfig.get_paths()
    own = [paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"]]
    own += [path for path in own_prefixes() if path not in ("/usr", "/usr/local", "/")]  # with their libpython
    own += filter(os.path.isabs, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    own += [os.environ["CUDA_HOME"]] if gpu and os.path.isabs(os.environ.get("CUDA_HOME", "")) else []
    wanted = [*own, *SYSTEM_LIBRARIES, *SYSTEM_FILES, *(COMPILERS if gpu else ())]
    real = [Path(os.path.realpath(path)) for path in existing(wanted)]
    return [path for path in dict.fromkeys(real) if path != Path("/") and path not in Path.home().parents]


def own_prefixes() -> list[str]:
    """Of the virtual environment and of the Python it is made of."""
    return list(dict.fromkeys([sys.prefix, sys.base_prefix]))


def existing(paths: "list[str] | tuple[str, ...]") -> list[str]:
    return [path for path in paths if os.path.exists(path)]


def gpu_devices() -> list[str]:
    try:
        names = os.listdir("/dev")
    except OSError:
        return []
    wanted = [name for name in sorted(names) if name in GPU_DEVICES or (name[:6] == "nvidia" and name[6:].isdigit())]
    return [f"/dev/{name}" for name in (*wanted, *(["dri"] if "kfd" in wanted else []))]


def tasks_of(uid: int) -> int:
    """Processes and threads that the user has already: the kernel's limit counts them all, and a desktop's grow."""
    count = 0
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue  # it has ended
    return count + (0 if os.getuid() == 0 else 1024)


def find_bubblewrap() -> str | None:
    return shutil.which("bwrap")

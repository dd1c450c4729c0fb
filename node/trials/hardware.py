"""What this machine trains on: one device, and the hardware class that its numbers are compared in.

Owns detection and the default budget. It never imports torch: whether torch can use a GPU is asked of a short-lived
process.
"""

import math
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swarm.brief import Budgets

SMI_SECONDS = 10.0  # a driver that wakes a GPU up takes seconds; guess with room
PROBE_SECONDS = 60.0  # import torch and one CUDA tensor, on a loaded machine; guess with room
_PROBE = "import torch; torch.zeros(1, device='cuda'); print(torch.cuda.get_device_name(0))"
_MAX_CLASS_LENGTH = 64  # what a track accepts


@dataclass(frozen=True)
class Hardware:
    """One device a trial can run on."""

    kind: Literal["cpu", "gpu"]
    hardware_class: str  # "cpu-x86_64-2", "cuda-nvidia-h100-80gb"
    description: str  # for people
    threads: int  # CPU threads of a trial
    device: Literal["cpu", "cuda"]  # as train.py's --device has it


def detect() -> Hardware:
    """The device of this machine: its first GPU that torch can use, else the CPU."""
    gpus = _gpus()
    if not gpus:
        return _cpu()
    name, problem = _probe_cuda()
    if problem:
        return _cpu(note=f"; {gpus[0][0]} is here, but torch cannot use it: {problem}")
    memory_gib = next((memory for seen, memory in gpus if seen == name), gpus[0][1])
    threads = usable_cores()
    return Hardware("gpu", cuda_class(name, memory_gib), f"{name}, {memory_gib} GB, {threads} cores", threads, "cuda")


def default_budget_seconds(hardware: Hardware, budgets: Budgets) -> float:
    """Wall time of one trial on this hardware, as the brief has it."""
    return budgets.gpu if hardware.kind == "gpu" else budgets.cpu


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may use: its affinity, cut by a container's quota. At least one."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(affinity, _quota_cores(root))))


def usable_memory_bytes(root: Path = Path("/")) -> int:
    """Memory of this machine, cut by a container's limit."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return min(physical, int((root / "sys/fs/cgroup" / limit).read_text()))
        except (OSError, ValueError):  # another version of control groups, or "max"
            continue
    return physical


def cuda_class(name: str, memory_gib: int) -> str:
    """'NVIDIA H100 80GB HBM3', 80 -> 'cuda-nvidia-h100-80gb'. The memory is said once, at the end."""
    words = [word for word in re.findall(r"[a-z0-9]+", name.lower()) if not re.fullmatch(r"\d+gb|hbm\d*e?", word)]
    tail = f"-{memory_gib}gb"
    return "-".join(["cuda", *words])[: _MAX_CLASS_LENGTH - len(tail)] + tail


def _cpu(note: str = "") -> Hardware:
    cores = usable_cores()
    machine = re.sub(r"[^a-z0-9_]+", "-", platform.machine().lower()) or "unknown"
    description = f"{_cpu_name() or machine}, {cores} {'core' if cores == 1 else 'cores'}{note}"
    return Hardware("cpu", f"cpu-{machine}-{cores}", description, cores, "cpu")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _quota_cores(root: Path) -> float:
    """Cores a control group allows, infinity without a limit. Version 2 in cpu.max, version 1 in two files."""
    groups = root / "sys/fs/cgroup"
    try:
        quota, period = (groups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (groups / "cpu/cpu.cfs_quota_us").read_text()
            period = (groups / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return math.inf
    try:
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (ValueError, ZeroDivisionError):  # "max" is no limit
        return math.inf


def _gpus() -> list[tuple[str, int]]:
    """Name and memory in GiB of each GPU the NVIDIA driver knows, none when there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=SMI_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return []
    rows = (line.rpartition(",") for line in answer.splitlines())
    return [(name.strip(), round(int(mib) / 1024)) for name, _, mib in rows if name and mib.strip().isdigit()]


def _probe_cuda() -> tuple[str, str]:
    """The name of torch's first CUDA device, or why there is none: one of the two is empty."""
    command = [sys.executable, "-I", "-c", _PROBE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        return "", type(error).__name__
    last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1:]
    text = "".join(last)[:200]
    return (text, "") if done.returncode == 0 and text else ("", text or f"exit status {done.returncode}")

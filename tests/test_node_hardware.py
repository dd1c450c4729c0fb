"""node/trials/hardware.py: cores, memory and the name of the class numbers are compared in."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from node.trials.hardware import cuda_class, default_budget_seconds, detect, usable_cores, usable_memory_bytes
from swarm.brief import Budgets
from swarm.finding import Track

NAMES = [
    ("NVIDIA H100 80GB HBM3", 80, "cuda-nvidia-h100-80gb"),
    ("NVIDIA A100-SXM4-40GB", 40, "cuda-nvidia-a100-sxm4-40gb"),
    ("NVIDIA GeForce RTX 4090", 24, "cuda-nvidia-geforce-rtx-4090-24gb"),
    ("Tesla T4", 15, "cuda-tesla-t4-15gb"),
]


def tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def group(root: Path, name: str, text: str) -> Path:
    path = root / "sys/fs/cgroup" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return root


def test_without_a_driver_it_is_the_cpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    hardware = detect()
    assert (hardware.kind, hardware.device) == ("cpu", "cpu")
    assert re.fullmatch(rf"cpu-[a-z0-9_]+-{hardware.threads}", hardware.hardware_class)
    assert Track(hardware_class=hardware.hardware_class, budget_seconds=1.0)
    assert "core" in hardware.description


def test_a_gpu_that_torch_can_use(monkeypatch, tmp_path):
    tool(tmp_path, "nvidia-smi", "echo 'NVIDIA T4, 15360'; echo 'NVIDIA H100 80GB HBM3, 81559'")
    tool(tmp_path, "python", "echo 'NVIDIA H100 80GB HBM3'")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    hardware = detect()
    assert (hardware.kind, hardware.device) == ("gpu", "cuda")
    assert hardware.hardware_class == "cuda-nvidia-h100-80gb"  # the one torch uses, not the first of the list


def test_a_gpu_that_torch_cannot_use_is_said_and_not_used(monkeypatch, tmp_path):
    tool(tmp_path, "nvidia-smi", "echo 'NVIDIA H100 80GB HBM3, 81559'")
    tool(tmp_path, "python", "echo 'Traceback' >&2; echo 'RuntimeError: driver too old' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    hardware = detect()
    assert hardware.kind == "cpu"
    assert hardware.hardware_class.startswith("cpu-")
    assert (
        "NVIDIA H100 80GB HBM3 is here, but torch cannot use it: RuntimeError: driver too old" in hardware.description
    )


@pytest.mark.parametrize("script", ["exit 9", "echo 'NVIDIA-SMI has failed'", "printf '\\377, 1'"])
def test_a_broken_driver_tool_is_no_gpu(monkeypatch, tmp_path, script):
    tool(tmp_path, "nvidia-smi", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert detect().kind == "cpu"


@pytest.mark.parametrize(("name", "memory", "expected"), NAMES)
def test_class_names(name, memory, expected):
    assert cuda_class(name, memory) == expected
    assert Track(hardware_class=expected, budget_seconds=1.0)


def test_a_class_name_is_never_too_long():
    name = cuda_class("NVIDIA " + "Very Long " * 20, 80)
    assert len(name) <= 64
    assert name.endswith("-80gb")


@pytest.mark.parametrize(
    ("file", "text", "cores"),
    [("cpu.max", "100000 100000", 1), ("cpu.max", "50000 100000", 1), ("cpu.max", "max 100000", None)],
)
def test_a_containers_quota_cuts_the_cores(tmp_path, file, text, cores):
    assert usable_cores(group(tmp_path, file, text)) == (cores or len(os.sched_getaffinity(0)))


def test_quota_of_control_groups_version_1(tmp_path):
    group(tmp_path, "cpu/cpu.cfs_quota_us", "100000\n")
    assert usable_cores(group(tmp_path, "cpu/cpu.cfs_period_us", "100000\n")) == 1


def test_a_containers_memory_limit_counts(tmp_path):
    assert usable_memory_bytes(group(tmp_path, "memory.max", "1048576\n")) == 2**20
    assert usable_memory_bytes(group(tmp_path, "memory.max", "max\n")) > 2**20


def test_default_budgets():
    cpu = detect()
    assert default_budget_seconds(cpu, Budgets()) == 120
    assert default_budget_seconds(replace(cpu, kind="gpu"), Budgets(gpu=7.5)) == 7.5

"""`swarm doctor`: tries each thing a node needs, by really doing it, and says what to do where one fails.

Owns the checks of this machine and this home; those of the network are node/network_checks.py. None of them changes the
home beyond a file that is made and taken away again.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import trio

from gossip.identity import load_or_create
from gossip.refusal import GossipError
from node import shipped
from node.home import Home
from node.network_checks import (
    Seen,
    check_bootstrap,
    check_clock,
    check_listen_port,
    check_mesh,
    check_reachability,
    check_topic,
)
from node.proposers.availability import answers
from node.proposers.port import ProposerFailed
from node.sandbox.advice import advice
from node.sandbox.policy import Backend
from node.sandbox.probe import probe
from node.topics.loading import describe_topic, shipped_topics
from node.trials.hardware import detect
from swarm.words import SwarmError

ENOUGH_DISK_BYTES = 1 << 30  # results, journal and scratch of a night; guess with room
TORCH_SECONDS = 120.0  # a cold import from a slow disk


@dataclass(frozen=True)
class Check:
    name: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def examine(home: Home, env: Mapping[str, str]) -> Iterator[Check]:
    """Every check in turn, as soon as it is done."""
    steps: tuple[Callable[[], Check], ...] = (
        check_python,
        check_git,
        lambda: check_home(home),
        lambda: check_key(home),
        lambda: check_disk(home),
        check_topics,
        check_torch,
        check_hardware,
        check_sandbox,
        lambda: _of_network("clock", check_clock(home)),
        lambda: _of_network("listen port", check_listen_port(home)),
        lambda: _of_network("reachability", check_reachability(home)),
        lambda: _of_network("bootstrap", check_bootstrap(home)),
        lambda: _of_network("mesh", check_mesh(home)),
        lambda: _of_network("topic", check_topic(home)),
        lambda: check_model(env),
    )
    for step in steps:
        yield step()


def _of_network(name: str, seen: Seen) -> Check:
    return Check(name, seen.state, seen.found, seen.advice)


def report(checks: list[Check]) -> dict[str, Any]:  # Any: a JSON document
    return {"ok": all(check.state != "problem" for check in checks), "checks": [asdict(check) for check in checks]}


def check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", "ok", f"{version} at {sys.executable}")


def check_git() -> Check:
    path = shutil.which("git")
    if path is None:
        return Check("git", "problem", "git is not on the PATH", "install git: results are kept in it")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return Check("git", "ok", done.stdout.strip() or path)


def check_home(home: Home) -> Check:
    place = nearest_existing(home.path)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor"):
            pass
    except OSError as error:
        return Check("home", "problem", f"{place} cannot be written: {error.strerror}", "choose another --home")
    state = "a node is running in it" if home.running() else "no node is running in it"
    return Check("home", "ok", f"{home.path}, {state}" if home.path.exists() else f"{home.path} will be made")


def check_key(home: Home) -> Check:
    if not home.key.exists():
        return Check("key", "ok", "none yet; the first start makes one")
    try:
        return Check("key", "ok", f"peer id {load_or_create(home.key).peer_id}")
    except GossipError as error:
        return Check("key", "problem", str(error), "restore the key file from a backup, or move it away")


def check_disk(home: Home) -> Check:
    place = nearest_existing(home.path)
    free = shutil.disk_usage(place).free
    found = f"{free / 2**30:.1f} GiB free at {place}"
    if free < ENOUGH_DISK_BYTES:
        return Check("disk", "warning", found, "a night of results wants about 1 GiB: free some space")
    return Check("disk", "ok", found)


def check_topics() -> Check:
    problems: list[str] = []
    for name in shipped_topics():
        try:
            describe_topic(name)
        except SwarmError as error:
            problems.append(str(error))
    if problems:
        return Check("topics", "problem", "; ".join(problems), "reinstall research-swarm")
    return Check("topics", "ok", ", ".join(shipped_topics()))


def check_torch() -> Check:
    """In its own process, as a trial would: the node itself never imports torch."""
    script = "import torch; x = torch.ones(8, 8, requires_grad=True); (x @ x).sum().backward()"
    script += "; print(torch.__version__)"
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=TORCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Check("torch", "problem", f"does not start within {TORCH_SECONDS:.0f} s", "run: make setup")
    if done.returncode != 0:
        line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Check("torch", "problem", f"does not work: {line[:200]}", "run: make setup")
    return Check("torch", "ok", f"{done.stdout.strip()} trains; train.py at {shipped.experiments() / 'train.py'}")


def check_hardware() -> Check:
    found = detect()
    gpu_seen = shutil.which("nvidia-smi") is not None
    if found.kind == "cpu" and gpu_seen:
        return Check(
            "hardware", "warning", f"{found.hardware_class}: {found.description}", "install the CUDA build of torch"
        )
    return Check("hardware", "ok", f"{found.hardware_class}: {found.description}")


def check_sandbox() -> Check:
    """What holds the code of a trial here, found by running something in it."""
    found = probe(detect())
    state = "warning" if found.backend is Backend.NONE else "ok"
    return Check("sandbox", state, found.describe(), advice(found))


def check_model(env: Mapping[str, str]) -> Check:
    from node.proposers.llm import LanguageModel, endpoint_from  # openai takes half a second to import

    try:
        endpoint = endpoint_from(None, env)
    except SwarmError as error:
        return Check("model", "problem", str(error))
    if endpoint is None:
        return Check("model", "ok", "no language model is configured; the classic proposer has the ideas")
    model = LanguageModel(endpoint)
    try:
        trio.run(answers, model.check, model.name)
    except ProposerFailed as failure:
        return Check("model", "problem", str(failure), "until it answers, the classic proposer has the ideas")
    return Check("model", "ok", f"{endpoint.host} answers; {endpoint.model} will be asked")


def nearest_existing(path: Path) -> Path:
    return path if path.exists() else next(p for p in path.parents if p.exists())

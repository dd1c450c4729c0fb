"""What is in force on this machine, and what a trainer asks of it: the request for a child, the launcher of its parent.

Owns how the found means become requests and words. Found by node/sandbox/probe.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.sandbox import bubblewrap
from node.sandbox.policy import COVERED, GAPS, UNSAFE, Backend, code_may_change
from node.sandbox.spec import Access, Limits, Means, request


@dataclass(frozen=True)
class Confinement:
    backend: Backend
    means: Means
    limits: Limits
    landlock_version: int = 0
    unsafe: bool = False  # the person said that code may run although nothing holds it
    problems: tuple[str, ...] = ()  # why no stronger one works here, one sentence each

    def request(self, access: Access) -> dict[str, Any] | None:  # Any: JSON
        """For one child; None where nothing holds it."""
        return None if self.backend is Backend.NONE else request(access, self.limits, self.means)

    def launcher(self, read: Iterable[Path], write: Iterable[Path]) -> list[str]:
        """What to put before the command of the process that trials are forked from."""
        if self.backend is not Backend.BUBBLEWRAP:
            return []
        return bubblewrap.command(read, write, gpu=self.means.gpu) or []

    @property
    def code_may_change(self) -> bool:
        return code_may_change(self.backend, unsafe=self.unsafe)

    def describe(self) -> str:
        """One line for people."""
        if self.backend is Backend.NONE:
            return UNSAFE if self.unsafe else f"none: {COVERED[Backend.NONE]}"
        user = f", as user {self.means.uid}" if self.means.uid is not None else ""
        return f"{self.backend}: {COVERED[self.backend]} (Landlock {self.landlock_version}{user})"

    def gaps(self) -> tuple[str, ...]:
        gpu_words = () if self.means.gpu else ("the GPU driver's own calls and GPU memory",)
        return tuple(gap for gap in GAPS[self.backend] if gap not in gpu_words)


def unconfined(limits: Limits, *, unsafe: bool = False) -> Confinement:
    """Nothing holds a child: what a machine without any sandbox has."""
    return Confinement(
        Backend.NONE, Means(landlock=False, uid=None, kept_capability=None, gpu=False), limits, 0, unsafe
    )

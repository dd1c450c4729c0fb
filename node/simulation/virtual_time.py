"""Virtual time: runs trio so that hours pass in seconds and the same seed gives the same run.

The only place that touches private names of trio. Two things make a run depend on chance: the order in which trio wakes
tasks that are ready at once (its own generator, made deterministic here as trio's own tests do), and the wall clock,
which node/clock.py lets a simulation replace. A library that is part of a run asks neither: `library_time` answers it.
Threads and subprocesses are not part of virtual time: nothing that is simulated may use them.
"""

import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

import trio
import trio.testing

from node.clock import wall_clock, wall_clock_of

EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z: where virtual wall clocks begin
T = TypeVar("T")


def run_virtually(main: Callable[[], Awaitable[T]], seed: int) -> T:
    """Run `main` from virtual time 0 until it ends."""
    with _deterministic_order(seed):
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def virtual_wall_clock() -> float:
    return EPOCH + trio.current_time()


@contextlib.contextmanager
def library_time(seed: int) -> Generator[None]:
    """Around a run: `time` and `random`, as libraries use them, follow virtual time and the seed; each task's own wall
    clock, where it has one. Outside of the run, in other threads too, they are what they always are."""
    draws, clocks = random.getstate(), {"time": wall_clock, "monotonic": trio.current_time}
    real = {name: getattr(time, name) for name in clocks}
    for name, virtual in clocks.items():
        setattr(time, name, _inside(virtual, real[name]))
    random.seed(seed)
    try:
        with wall_clock_of(virtual_wall_clock):
            yield
    finally:
        for name, clock in real.items():
            setattr(time, name, clock)
        random.setstate(draws)


def _inside(virtual: Callable[[], float], real: Callable[[], float]) -> Callable[[], float]:
    def read() -> float:
        return virtual() if trio.lowlevel.in_trio_run() else real()

    return read


@contextlib.contextmanager
def _deterministic_order(seed: int) -> Generator[None]:
    scheduler: Any = trio._core._run  # type: ignore[attr-defined]
    draws: random.Random = scheduler._r
    before, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, draws.getstate()
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    draws.seed(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before
        draws.setstate(state)

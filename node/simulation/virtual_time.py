"""Virtual time: runs trio so that hours pass in seconds and the same seed gives the same run.

The only place that touches private names of trio. Two things make a run depend on chance: the order in which trio wakes
tasks that are ready at once (its own generator, made deterministic here as trio's own tests do), and the wall clock,
which node/clock.py lets a simulation replace. Threads and subprocesses are not part of virtual time: nothing that is
simulated may use them.
"""

import contextlib
import random
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

import trio
import trio.testing

EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z: where virtual wall clocks begin
T = TypeVar("T")


def run_virtually(main: Callable[[], Awaitable[T]], seed: int) -> T:
    """Run `main` from virtual time 0 until it ends."""
    with _deterministic_order(seed):
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def virtual_wall_clock() -> float:
    return EPOCH + trio.current_time()


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

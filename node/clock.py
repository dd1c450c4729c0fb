"""The one place that reads the wall clock. Durations come from trio.current_time() instead."""

import contextlib
import time
from collections.abc import Callable, Generator
from contextvars import ContextVar
from datetime import UTC, datetime

_clock: ContextVar[Callable[[], float]] = ContextVar("wall clock", default=time.time)  # noqa: TID251 - this is the place


def wall_clock() -> float:
    """Seconds since the epoch, UTC. May jump: for timestamps people see, never for durations."""
    return _clock.get()()


@contextlib.contextmanager
def wall_clock_of(clock: Callable[[], float]) -> Generator[None]:
    """Another clock for what runs inside, and for tasks started there: in a simulation each node has one of its own."""
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)


def rfc3339(seconds: float) -> str:
    """'2026-11-21T08:00:00.123Z'"""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

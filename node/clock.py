"""The one place that reads the wall clock. Durations come from trio.current_time() instead."""

import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

_clock: ContextVar[Callable[[], float]] = ContextVar("wall clock", default=time.time)  # noqa: TID251 - this is the place


def wall_clock() -> float:
    """Seconds since the epoch, UTC. May jump: for timestamps people see, never for durations."""
    return _clock.get()()


class wall_clock_of:  # noqa: N801 - used as a function; a class because a simulation enters it at each frame
    """Another clock for what runs inside, and for tasks started there: in a simulation each node has one of its own."""

    __slots__ = ("_clock_inside", "_token")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock_inside = clock

    def __enter__(self) -> None:
        self._token = _clock.set(self._clock_inside)

    def __exit__(self, *_: object) -> None:
        _clock.reset(self._token)


def rfc3339(seconds: float) -> str:
    """'2026-11-21T08:00:00.123Z'"""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""The one place that reads the wall clock. Durations come from trio.current_time() instead."""

import time
from datetime import UTC, datetime


def wall_clock() -> float:
    """Seconds since the epoch, UTC. May jump: for timestamps people see, never for durations."""
    return time.time()  # noqa: TID251 - this is the place


def rfc3339(seconds: float) -> str:
    """'2026-11-21T08:00:00.123Z'"""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

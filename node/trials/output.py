"""What a running script says: its log, kept small, and its progress lines, believed only for show.

Owns the caps. A script may print anything, megabytes of it or lies: nothing here decides an outcome or a number that is
compared.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from node.trials.gradients import MAX_NORM
from swarm.finding import CURVE_POINTS, CurvePoint

LOG_BYTES = 32 * 1024  # kept of the beginning, and as much of the end
MAX_LINE_BYTES = 4096  # of a progress line; ours have about 200
MAX_POINTS = 20_000  # of a curve
MIN_GAP_SECONDS = 0.25  # between two points; ours come once a second
CURVE_BITS = 13  # of a number in a record's curve: 0.0005 nats at a loss of 2, where replays are allowed 0.02
_MAX_COUNT = 2**53  # integers that every JSON reader keeps exact
_EVENT = re.compile(rb'^\{ ?"event":[^\n]{1,%d}\}\r?$' % MAX_LINE_BYTES, re.MULTILINE)


@dataclass(frozen=True)
class Progress:
    """Where a trial stands, for people who watch."""

    step: int
    seconds: float  # the node's clock since the hand-over
    budget_seconds: float
    tokens: int
    train_loss: float  # nats per token, smoothed, as the script says
    tokens_per_second: float


class TrialLog:
    """The first and the last bytes of an output, whatever its length."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def feed(self, chunk: bytes) -> None:
        self._total += len(chunk)
        room = LOG_BYTES - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:][-LOG_BYTES:] if room < len(chunk) else b""
        del self._tail[:-LOG_BYTES]

    def text(self) -> str:
        cut = self._total - len(self._head) - len(self._tail)
        note = f"\n[... {cut} bytes cut here ...]\n".encode() if cut else b""
        return bytes(self._head + note + self._tail).decode("utf-8", errors="replace")

    def last_words(self) -> str:
        """The last line that is no progress line: for a crash, the exception."""
        lines = bytes(self._tail or self._head)[-MAX_LINE_BYTES:].decode("utf-8", errors="replace").splitlines()
        spoken = (one_line(line) for line in reversed(lines) if not line.startswith("{"))
        return next((line for line in spoken if line), "")


class TrialEvents:
    """The events in a script's output: live progress, the loss curve, and counts that are only shown."""

    def __init__(
        self,
        clock: Callable[[], float],
        budget_seconds: float,
        on_progress: Callable[[Progress], None],
        wanted: frozenset[int] = frozenset(),  # steps whose points are kept however close they come
    ) -> None:
        self._wanted = wanted
        self._clock, self._budget_seconds, self._on_progress = clock, budget_seconds, on_progress
        self._started = clock()
        self._gap_seconds = max(MIN_GAP_SECONDS, budget_seconds / MAX_POINTS)
        self._partial = b""
        self._points: list[CurvePoint] = []
        self._held: CurvePoint | None = None  # came too soon after the one before; the last word of a script counts
        self.parameters = self.steps = self.tokens = self.peak_memory_bytes = 0
        self.gradient_norms: list[float] = []  # of the points of the curve, as far as the script says
        self.reason = ""

    def feed(self, chunk: bytes) -> None:
        text = self._partial + chunk
        end = text.rfind(b"\n") + 1
        self._partial = text[end:] if len(text) - end <= MAX_LINE_BYTES else b""
        for match in _EVENT.finditer(text, 0, end):
            self._line(match.group())

    def curve(self) -> tuple[CurvePoint, ...]:
        return (*self._points, self._held) if self._held else tuple(self._points)

    def _line(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        fields = cast("dict[str, Any]", event)  # Any: whatever the script wrote; each field is checked when read
        self.parameters = _count(fields.get("parameters"), self.parameters)
        self.peak_memory_bytes = _count(fields.get("peak_memory_bytes"), self.peak_memory_bytes)
        if fields.get("event") == "progress":
            self._progress(fields)
        elif fields.get("event") == "end":
            self.reason = one_line(str(fields.get("reason") or ""))

    def _progress(self, fields: dict[str, Any]) -> None:
        step, loss = _count(fields.get("step"), -1), _number(fields.get("train_loss"))
        if step < self.steps or loss is None:
            return
        self.steps, self.tokens = step, _count(fields.get("tokens"), self.tokens)
        seconds = self._clock() - self._started
        share = _number(fields.get("progress"))
        progress = share if share is not None and 0 <= share <= 1 else None
        point = CurvePoint(step=step, seconds=round(seconds, 3), train_loss=loss, progress=progress)
        if self._points and seconds - self._points[-1].seconds < self._gap_seconds:
            if step not in self._wanted:
                self._held = point
            elif step != self._points[-1].step:  # a script that repeats itself fills nothing
                self._points.append(point)
                self._held = None
            return
        self._points.append(point)
        self._held = None
        norm = _number(fields.get("gradient_norm"))
        if norm is not None and 0 <= norm <= MAX_NORM:
            self.gradient_norms.append(norm)
        speed = _number(fields.get("tokens_per_second")) or 0.0
        self._on_progress(Progress(step, seconds, self._budget_seconds, self.tokens, loss, speed))


def thin(curve: tuple[CurvePoint, ...], points: int = CURVE_POINTS) -> tuple[CurvePoint, ...]:
    """At most `points` points, evenly chosen, with the first and the last."""
    if len(curve) <= points:
        return curve
    return tuple(curve[round(i * (len(curve) - 1) / (points - 1))] for i in range(points))


def coarse(curve: tuple[CurvePoint, ...]) -> tuple[CurvePoint, ...]:
    """For a record: as exact as anybody compares. The bits that are left out were most of a compressed finding."""
    return tuple(
        replace(
            point,
            seconds=_rounded(point.seconds),
            train_loss=_rounded(point.train_loss),
            progress=None if point.progress is None else _rounded(point.progress),
        )
        for point in curve
    )


def _rounded(number: float) -> float:
    """Its first CURVE_BITS binary digits: in msgpack the rest of the eight bytes is zeros. Order is kept."""
    mantissa, exponent = math.frexp(number)
    return math.ldexp(math.trunc(math.ldexp(mantissa, CURVE_BITS)), exponent - CURVE_BITS)


def one_line(text: str, length: int = 300) -> str:
    """Text of a stranger for a person's screen: one line, no control characters, not long."""
    return "".join(c if c.isprintable() else " " for c in text[: 4 * length]).strip()[:length]


def _count(value: object, otherwise: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return otherwise
    return value if 0 <= value < _MAX_COUNT else otherwise


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None

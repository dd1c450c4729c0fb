"""What is due when on a network in memory. One task wakes for all of it, once for each moment when something is due.

Owns the order: by time, and what is due at the same moment as it was put in. Calls are synchronous, short, and keep
what they raise to themselves.
"""

import heapq
import math
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar, cast

import outcome
import trio

T = TypeVar("T")
Call = Callable[[], None]


class Agenda:
    def __init__(self) -> None:
        self._moments: list[float] = []  # a heap, each once
        self._calls: dict[float, list[Call]] = {}  # by moment
        self._sooner = trio.Event()
        self._turn = trio.Lock()

    def at(self, moment: float, call: Call) -> None:
        """`moment`: on trio's clock."""
        calls = self._calls.get(moment)
        if calls is not None:
            calls.append(call)
            return
        self._calls[moment] = [call]
        heapq.heappush(self._moments, moment)
        if self._moments[0] == moment:
            self._sooner.set()

    async def run(self) -> None:
        """Until cancelled. May run any number of times at once: one does the work, and another one once that ends."""
        async with self._turn:
            while True:
                self._sooner = trio.Event()
                with trio.move_on_at(self._moments[0] if self._moments else math.inf):
                    await self._sooner.wait()
                self._call_due(trio.current_time())

    def _call_due(self, now: float) -> None:
        while self._moments and self._moments[0] <= now:
            for call in self._calls.pop(heapq.heappop(self._moments)):
                call()

    async def wait_until(self, moment: float) -> None:
        """As trio.sleep_until, for less."""
        waiting = Waiting[None]()
        self.at(moment, partial(waiting.wake, outcome.Value(None)))
        await waiting.wait()


class Waiting(Generic[T]):
    """One task that waits for something that a call of the agenda brings. To be made by that task."""

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = trio.lowlevel.current_task()

    def wake(self, brought: "outcome.Outcome[T]") -> None:
        """Once. Nothing happens if the task was cancelled."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task, cast("outcome.Outcome[object]", brought))

    async def wait(self) -> T:
        def give_up(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(give_up)

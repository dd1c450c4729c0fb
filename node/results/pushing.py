"""Pushes the branch to a git remote after each finding, for those who asked. A dead remote costs only the push."""

import trio

from node.events import Events
from node.results.git import ResultsError
from node.results.repository import Results

PUSH_SECONDS = 120.0
RETRY_SECONDS = 300.0
FLUSH_SECONDS = 10.0  # at most, at the end of a run, for the last finding to reach the remote


class Pusher:
    def __init__(self, results: Results, remote: str, events: Events) -> None:
        self._results = results
        self._remote = remote
        self._events = events
        self._wanted = trio.Event()
        self._failing = False
        self._pushing = False

    def wake(self) -> None:
        self._wanted.set()

    async def flush(self) -> None:
        """Give what is not pushed yet a moment to leave, if pushing works at all."""
        with trio.move_on_after(FLUSH_SECONDS):
            while not self._failing and (self._pushing or self._wanted.is_set()):  # noqa: ASYNC110 - git wakes nobody
                await trio.sleep(0.05)

    async def run(self) -> None:
        if await self._results.head() is not None:
            self.wake()  # the last start may have ended before its last push
        while True:
            await self._wanted.wait()
            self._wanted, self._pushing = trio.Event(), True
            pushed = await self._push()
            self._pushing = False
            if not pushed:
                with trio.move_on_after(RETRY_SECONDS):
                    await self._wanted.wait()
                self._wanted.set()

    async def _push(self) -> bool:
        try:
            with trio.fail_after(PUSH_SECONDS):
                await self._results.push(self._remote)
        except (ResultsError, trio.TooSlowError) as error:
            if not self._failing:
                reason = str(error) or f"pushing took longer than {PUSH_SECONDS:.0f} s"
                self._events.notice(f"{reason}; tried again after the next finding", warning=True)
            self._failing = True
            return False
        if self._failing:
            self._events.notice("pushing to the remote works again")
        self._failing = False
        return True

"""A bell for one waiting task: rung any number of times, it wakes the waiter once."""

import trio


class Wake:
    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        """Returns when the bell was rung since the last return."""
        await self._event.wait()
        self._event = trio.Event()

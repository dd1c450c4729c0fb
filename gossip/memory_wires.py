"""A stream in one process: two ends, whose bytes come in order or not at all. For the bus in memory, and tests."""

import trio


class MemoryWire:
    """One end of a stream in memory."""

    def __init__(self, give: trio.MemorySendChannel[bytes], take: trio.MemoryReceiveChannel[bytes]) -> None:
        self._give, self._take = give, take
        self._left = b""

    async def write(self, data: bytes) -> None:
        await self._give.send(data)

    async def read(self, n: int) -> bytes:
        try:
            piece = self._left or await self._take.receive()
        except trio.EndOfChannel:
            return b""
        self._left = piece[n:]
        return piece[:n]

    async def close(self) -> None:
        await self._give.aclose()

    async def reset(self) -> None:
        await self._give.aclose()
        await self._take.aclose()


def memory_wires() -> tuple[MemoryWire, MemoryWire]:
    to_there, from_here = trio.open_memory_channel[bytes](64)
    to_here, from_there = trio.open_memory_channel[bytes](64)
    return MemoryWire(to_there, from_there), MemoryWire(to_here, from_here)

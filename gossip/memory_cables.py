"""Connections in one process that behave as TCP's: bytes in order, late, bounded, cut off, ended with their process.

Owns what a connection does to bytes and when it breaks; libp2p is put on top in gossip/libp2p_memory.py. A lost packet
is a late one here, as TCP sends it again, and so is everything behind it. Not modelled: slow start and congestion, and
that what several connections of one peer send shares its line.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from gossip.network_model import NetworkModel, next_retry_seconds

WINDOW_BYTES = 256 * 1024  # under way and unread, in each direction; then who writes waits
SILENCE_SECONDS = 15.0  # unacknowledged for so long, a connection breaks; gossip/libp2p_tcp.py has it for real ones
IDLE_SECONDS = 25.0  # the same of one on which nothing is said: until the last of the system's probes
_BACKLOG = 128  # connections that nobody has accepted yet


class CableBroken(Exception):
    """The other side has closed the connection, or has not been heard of for too long."""


class _Way:
    """One direction of a cable: what is under way, what has arrived, and when the end comes."""

    def __init__(self) -> None:
        self.under_way: deque[tuple[float, bytes]] = deque()  # when it is there, what
        self.arrived = bytearray()
        self.unread_bytes = 0
        self.busy_until = -math.inf  # when the last byte that was sent is there
        self.ends_at = math.inf  # when the reader learns that there is no more
        self.waiting = trio.lowlevel.ParkingLot()  # for bytes, room, the end, or another moment at which they come

    def land(self, now: float) -> None:
        while self.under_way and self.under_way[0][0] <= now:
            self.arrived += self.under_way.popleft()[1]

    def resume(self, cut_at: float, at: float) -> None:
        """What has not arrived when the cable was cut is there `at` the soonest."""
        if self.under_way:
            self.under_way = deque((max(due, at), data) for due, data in self.under_way)
            self.busy_until = max(self.busy_until, at)
        if cut_at < self.ends_at < math.inf:
            self.ends_at = max(self.ends_at, at)
        self.waiting.unpark_all()


class Cable:
    """What lies between two peers. `one` has dialled."""

    def __init__(self, network: "CabledNetwork", one: str, other: str) -> None:
        self._network = network
        self.peers = (one, other)
        self._ways = (_Way(), _Way())  # from one to other, from other to one
        self._closed = [False, False]
        self._cut_at = math.inf
        self._breaks_at = math.inf

    def ends(self) -> "tuple[End, End]":
        return End(self, 0), End(self, 1)

    async def write(self, end: int, data: bytes) -> None:
        """Raises CableBroken. What is written after one's own closing is lost."""
        way = self._ways[end]
        while way.unread_bytes >= WINDOW_BYTES and not self._closed[end]:
            self._check(end)
            with trio.move_on_at(self._breaks_at):
                await way.waiting.park()
        if self._closed[end]:
            return
        self._check(end)
        here, there = self.peers[end], self.peers[1 - end]
        seconds = self._network.travel_seconds(here, there, len(data)) + self._network.retry_seconds(here, there)
        after_the_last = way.busy_until + self._network.sending_seconds(here, there, len(data))
        way.busy_until = max(self._network.arrival(seconds), after_the_last)
        way.under_way.append((way.busy_until, data))
        way.unread_bytes += len(data)
        if self._cut_at < math.inf:
            self._breaks_at = min(self._breaks_at, trio.current_time() + SILENCE_SECONDS)
            self._tell()
        else:
            way.waiting.unpark_all()

    async def read(self, end: int, limit_bytes: int) -> bytes:
        """What has arrived, as soon as anything has; nothing at the end. Raises CableBroken."""
        way = self._ways[1 - end]
        while not way.arrived:
            if self._closed[end]:
                return b""
            now = trio.current_time()
            if self._cut_at == math.inf:
                way.land(now)
                if way.arrived:
                    break
                if way.ends_at <= now:
                    return b""
            self._check(end)
            with trio.move_on_at(self._next_at(way)):
                await way.waiting.park()
        taken = bytes(way.arrived[:limit_bytes])
        del way.arrived[:limit_bytes]
        if way.unread_bytes >= WINDOW_BYTES:
            way.waiting.unpark_all()  # there is room again
        way.unread_bytes -= len(taken)
        return taken

    def close(self, end: int) -> None:
        """The other side reads what is under way, and then the end."""
        if self._closed[end]:
            return
        self._closed[end] = True
        way = self._ways[end]
        seconds = self._network.travel_seconds(self.peers[end], self.peers[1 - end])
        way.ends_at = max(self._network.arrival(seconds), way.busy_until)
        self._tell()
        if all(self._closed):
            self._network.forget(self)

    def cut(self) -> None:
        if self._cut_at == math.inf:
            self._cut_at = now = trio.current_time()
            for way in self._ways:
                way.land(now)
            unanswered = any(way.under_way for way in self._ways)
            self._breaks_at = now + (SILENCE_SECONDS if unanswered else IDLE_SECONDS)
            self._tell()

    def mend(self) -> None:
        """What is held up goes on at TCP's next try, unless the connection has broken."""
        now = trio.current_time()
        if self._cut_at == math.inf or now >= self._breaks_at:
            return
        cut_at, self._cut_at, self._breaks_at = self._cut_at, math.inf, math.inf
        travel_seconds = self._network.travel_seconds(*self.peers)
        for way in self._ways:
            way.resume(cut_at, self._network.arrival(next_retry_seconds(now - cut_at) + travel_seconds))

    def _next_at(self, way: _Way) -> float:
        if self._cut_at < math.inf:
            return self._breaks_at
        return way.under_way[0][0] if way.under_way else way.ends_at

    def _check(self, end: int) -> None:
        now = trio.current_time()
        if now >= self._breaks_at:
            self._network.forget(self)
            raise CableBroken(f"nothing was heard of {self.peers[1 - end]} for too long")
        if self._ways[1 - end].ends_at <= now:
            raise CableBroken(f"{self.peers[1 - end]} has closed the connection")

    def _tell(self) -> None:
        for way in self._ways:
            way.waiting.unpark_all()


@dataclass(frozen=True, eq=False)
class End:
    """One peer's end of a cable."""

    cable: Cable
    number: int

    @property
    def other(self) -> str:
        return self.cable.peers[1 - self.number]

    async def write(self, data: bytes) -> None:
        await self.cable.write(self.number, data)

    async def read(self, limit_bytes: int) -> bytes:
        return await self.cable.read(self.number, limit_bytes)

    def close(self) -> None:
        self.cable.close(self.number)


@dataclass
class CabledNetwork(NetworkModel):
    """Who listens, and all cables that lie."""

    _listening: dict[str, trio.MemorySendChannel[End]] = field(
        default_factory=dict[str, trio.MemorySendChannel[End]], init=False
    )
    _cables: dict[Cable, None] = field(default_factory=dict[Cable, None], init=False)  # in the order of their making

    def listen(self, peer: str) -> trio.MemoryReceiveChannel[End]:
        """Where connections to a peer come in. Until it is closed."""
        send, receive = trio.open_memory_channel[End](_BACKLOG)
        self._listening[peer] = send
        return receive

    async def connect(self, one: str, other: str) -> End:
        """Raises ConnectionRefusedError. Through a partition nothing is heard: time is the caller's."""
        await self._travel(one, other)
        if not self.together(one, other):
            await trio.sleep_forever()
        here, there = Cable(self, one, other).ends()
        try:
            self._listening[other].send_nowait(there)
        except (KeyError, trio.WouldBlock, trio.BrokenResourceError):
            await self._travel(other, one)
            raise ConnectionRefusedError(f"nobody listens as {other}") from None
        self._cables[here.cable] = None
        try:
            await self._travel(other, one)
        except BaseException:
            here.close()
            raise
        return here

    def partition(self, *groups: Iterable[str]) -> None:
        """Cables across are cut: nothing comes through, and after a while both ends notice."""
        super().partition(*groups)
        self._lay()

    def heal(self) -> None:
        super().heal()
        self._lay()

    def forget(self, cable: Cable) -> None:
        self._cables.pop(cable, None)

    def _lay(self) -> None:
        for cable in self._cables:
            (cable.mend if self.together(*cable.peers) else cable.cut)()

    async def _travel(self, one: str, other: str) -> None:
        await trio.sleep_until(self.arrival(self.travel_seconds(one, other)))

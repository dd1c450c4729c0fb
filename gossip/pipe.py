"""A local byte stream and one of a peer's, joined over a stream that must never wait long.

The library under us resets a stream whose reader pauses for five seconds, and git pauses for as long as it likes. So
both sides frame what they send, and nobody sends more than the other side said it has room for: whoever reads always
has room, and takes what comes at once. How fast room is given is how fast the other side may send.

Owns frames, room and pace. What the bytes mean is of no concern here. docs/protocol.md has the frames.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from typing import Protocol

import trio

from gossip.bus import PeerUnreachable, in_short, innermost
from gossip.refusal import GossipError

HEAD_BYTES = 5  # kind, length
ROOM_BYTES = 4 << 20  # that each side has at the beginning, and never more
PIECE_BYTES = 256 * 1024  # in one frame
ROOM_SECONDS = 120.0  # that are waited for the peer to take more
WRITE_SECONDS = 15.0  # for one frame; never cancelled sooner, see _write
PART_SECONDS = 3.0  # for the peer to close its end
RESET_SECONDS = 2.0
_GRANT_BYTES = 512 * 1024  # room is given back in such portions
_READ_BYTES = 1 << 20
_HAND_OVER_BYTES = 512 * 1024
_TALK_BYTES = 4096  # git says more at one time only in a pack
_GATHER_SECONDS = 0.005
_FRAMES_AT_ONCE = 256  # then others have their turn
SLOW_SECONDS = 60.0  # before a peer counts as slow
_HURRY_SECONDS = 0.2  # of sending ahead of the pace: fewer, larger pauses


class Frame(IntEnum):
    """First byte of a frame."""

    BYTES = 0
    ROOM = 1  # for so many bytes more, 4 bytes big-endian
    END = 2  # no more bytes come


_LONGEST = {int(Frame.BYTES): PIECE_BYTES, int(Frame.ROOM): 4, int(Frame.END): 0}


class TooMuch(GossipError):
    """A peer sent more than it was allowed to."""


class TooSlow(PeerUnreachable):
    """A peer sent less than it had to."""


class LocalEnd(GossipError):
    """The local side ended before the peer had said everything."""


class Wire(Protocol):
    async def read(self, n: int, /) -> bytes: ...
    async def write(self, data: bytes, /) -> object: ...

    async def close(self) -> object:
        """Nothing more is written."""
        ...

    async def reset(self) -> object:
        """Neither read nor written: a read that waits ends."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    bytes_in: int  # more end it
    bytes_per_second_in: float = float("inf")
    silence_seconds: float = 120.0  # without any frame of the peer's, before its end
    least_bytes_per_second: float = 0  # that come, in the mean


class Pace:
    """So many bytes a second in the long run, of all who share it. `credit_bytes`: so far ahead of it after a rest."""

    def __init__(self, bytes_per_second: float, credit_bytes: int = 0) -> None:
        self._rate, self._credit_seconds = bytes_per_second, credit_bytes / bytes_per_second
        self._free_at = -float("inf")

    async def spend(self, size_bytes: int) -> None:
        now = trio.current_time()
        self._free_at = max(self._free_at, now - self._credit_seconds) + size_bytes / self._rate
        if self._free_at - now > _HURRY_SECONDS:
            await trio.sleep_until(self._free_at)


class Pipe:
    """`outlives`: the peer may go on sending when the local side has stopped reading; what comes then is thrown away,
    up to the limit. `pace_out`: of what is sent, by others too."""

    def __init__(
        self,
        wire: Wire,
        local: trio.abc.HalfCloseableStream,
        limits: Limits,
        count: Callable[[int, int], None] = lambda _in, _out: None,
        *,
        outlives: bool = False,
        pace_out: Pace | None = None,
    ) -> None:
        self._pace_out = pace_out
        self._wire, self._local, self._limits, self._count, self._outlives = wire, local, limits, count, outlives
        self._writing = trio.Lock()
        self._room, self._more_room = ROOM_BYTES, trio.Event()
        self._given = ROOM_BYTES  # room that the peer has not used
        self._heard_all, self._heard_end = False, trio.Event()
        self._came, self._news = bytearray(), trio.Event()  # not handed over; bounded by room
        self._began = trio.current_time()
        self.bytes_in = 0

    async def run(self) -> None:
        """Until both sides have said everything. Raises PeerUnreachable, TooMuch, LocalEnd."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive)
                try:
                    async with trio.open_nursery() as both:
                        both.start_soon(self._send)
                        both.start_soon(self._feed)
                    await self._part()
                finally:  # reading is not interrupted otherwise
                    if not self._heard_end.is_set():
                        with trio.move_on_after(RESET_SECONDS, shield=True), suppress(Exception):
                            await self._wire.reset()
        except BaseExceptionGroup as group:
            _, errors = group.split(trio.Cancelled)
            cause = innermost(errors or group)
            if errors is None or not isinstance(cause, Exception):
                raise
            raise cause if isinstance(cause, GossipError) else PeerUnreachable(in_short(cause)) from None

    async def _part(self) -> None:
        """Both have said everything. What is still on the way comes to an end, then both ends close."""
        with trio.move_on_after(WRITE_SECONDS, shield=True), suppress(Exception):
            await self._wire.close()
        with trio.move_on_after(PART_SECONDS):
            await self._heard_end.wait()

    # --- out ---

    async def _send(self) -> None:
        while True:
            await self._wait_for_room()
            piece = await self._gather(min(PIECE_BYTES, self._room))
            if not piece:
                await self._write(Frame.END)
                return
            self._room -= len(piece)
            await self._write(Frame.BYTES, piece)
            self._count(0, len(piece))
            if self._pace_out is not None:
                await self._pace_out.spend(len(piece))

    async def _gather(self, most: int) -> bytes:
        """Talk goes out at once; of a pack, more is waited for: small pieces halve the speed."""
        piece = await self._listen(most)
        if len(piece) < _TALK_BYTES:
            return piece
        gathered = bytearray(piece)
        with trio.move_on_after(_GATHER_SECONDS):
            while piece and len(gathered) < most:
                piece = await self._listen(most - len(gathered))
                gathered += piece
        return bytes(gathered)

    async def _listen(self, most: int) -> bytes:
        try:
            return bytes(await self._local.receive_some(most))
        except trio.BrokenResourceError:
            return b""

    async def _wait_for_room(self) -> None:
        with trio.move_on_after(ROOM_SECONDS):
            while self._room <= 0:
                self._more_room = trio.Event()
                await self._more_room.wait()
            return
        raise PeerUnreachable(f"took nothing for {ROOM_SECONDS:.0f} s")

    async def _write(self, kind: Frame, content: bytes = b"") -> None:
        frame = bytes([kind]) + len(content).to_bytes(HEAD_BYTES - 1, "big") + content
        async with self._writing:
            # A write that is cancelled half-way spoils the whole connection for everybody (measured).
            with trio.move_on_after(WRITE_SECONDS, shield=True) as scope:
                await self._wire.write(frame)
            if scope.cancelled_caught:
                raise PeerUnreachable(f"took nothing for {WRITE_SECONDS:.0f} s")

    # --- in ---

    async def _receive(self) -> None:
        try:
            await self._receive_frames()
        except Exception:  # whatever the library raises for a stream that was closed, which is right by now
            await trio.lowlevel.checkpoint_if_cancelled()  # given up from outside: then that is why
            if not self._heard_all:
                raise
        finally:
            self._heard_end.set()

    async def _receive_frames(self) -> None:
        """Room is still given after the last bytes."""
        buffer = bytearray()
        for number in count(1):
            kind, content = await self._frame(buffer)
            if kind is Frame.ROOM:
                self._gain(int.from_bytes(content, "big"))
            elif self._heard_all:
                raise PeerUnreachable("it goes on after its end")
            elif kind is Frame.END:
                self._heard_all = True
                self._news.set()
            else:
                self._take(content)
            if number % _FRAMES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def _take(self, content: bytes) -> None:
        self._given -= len(content)
        self.bytes_in += len(content)
        self._count(len(content), 0)
        if self._given < 0 or not content:
            raise PeerUnreachable("it sends what there is no room for")
        if self.bytes_in > self._limits.bytes_in:
            raise TooMuch(f"more than {self._limits.bytes_in} bytes were sent")
        seconds = trio.current_time() - self._began
        if seconds > SLOW_SECONDS and self.bytes_in < self._limits.least_bytes_per_second * seconds:
            raise TooSlow(f"it sent {self.bytes_in} bytes in {seconds:.0f} s, which is too slow")
        self._came += content
        self._news.set()

    async def _frame(self, buffer: bytearray) -> tuple[Frame, bytes]:
        await self._fill(buffer, HEAD_BYTES)
        kind, length = buffer[0], int.from_bytes(buffer[1:HEAD_BYTES], "big")
        if length > _LONGEST.get(kind, -1):
            raise PeerUnreachable(f"frame of kind {kind} and {length} bytes, which is none")
        await self._fill(buffer, HEAD_BYTES + length)
        content = bytes(buffer[HEAD_BYTES : HEAD_BYTES + length])
        del buffer[: HEAD_BYTES + length]
        return Frame(kind), content

    async def _fill(self, buffer: bytearray, wanted: int) -> None:
        while len(buffer) < wanted:
            seconds = float("inf") if self._heard_all else self._limits.silence_seconds
            # Reading writes, too: the library tells the peer that there is room. So it is not cancelled either.
            with trio.move_on_after(seconds, shield=True) as scope:
                piece = await self._wire.read(_READ_BYTES)
                if not piece:
                    raise PeerUnreachable("the stream was cut")
                buffer += piece
            if scope.cancelled_caught:
                raise PeerUnreachable(f"silent for {self._limits.silence_seconds:.0f} s")

    def _gain(self, room: int) -> None:
        if not room or self._room + room > ROOM_BYTES:
            raise PeerUnreachable("it gives room for what was not sent")
        self._room += room
        self._more_room.set()

    async def _feed(self) -> None:
        pace, owed, reading = Pace(self._limits.bytes_per_second_in), 0, True
        while piece := await self._next():
            if reading:
                reading = await self._hand_over(piece)
            owed += len(piece)
            if owed >= _GRANT_BYTES or not self._came:
                await pace.spend(owed)
                self._given += owed
                if not self._heard_all:
                    await self._write(Frame.ROOM, owed.to_bytes(4, "big"))
                owed = 0
        try:
            await self._local.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _next(self) -> bytes:
        """What came and was not handed over; b"" after the last."""
        while not self._came and not self._heard_all:
            self._news = trio.Event()
            await self._news.wait()
        piece = bytes(self._came[:_HAND_OVER_BYTES])
        del self._came[:_HAND_OVER_BYTES]
        return piece

    async def _hand_over(self, piece: bytes) -> bool:
        try:
            await self._local.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if not self._outlives:
                raise LocalEnd("git stopped reading") from None
            return False
        return True

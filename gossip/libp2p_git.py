"""git's own protocol over libp2p streams: which branches, one byte, then a pipe. One of the files that import libp2p.

Serving is bounded in streams, for each peer too, in how often a peer may ask, and in time. The process behind a stream
ends with it. What it is and what branches mean is the source's business (gossip/branches.py).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio
from libp2p.abc import IHost, INetStream

from gossip.branches import (
    MAX_REQUEST_BYTES,
    PROTOCOL,
    BranchSource,
    BranchStatus,
    decode_request,
    encode_request,
)
from gossip.budgets import Budgets, Rate
from gossip.bus import BlobAbsent, PeerUnreachable, in_short
from gossip.libp2p_messages import LENGTH_BYTES, framed, let_go, open_stream, read_exactly, read_message
from gossip.pipe import Limits, Pace, Pipe, TooMuch, TooSlow
from gossip.places import Places
from gossip.refusal import GossipError
from gossip.traffic import Kind, Traffic

MAX_SERVED = 4  # at one time; a git process each; guess, as all below
MAX_SERVED_TO_ONE = 2
ASKER_RATE = Rate(per_second=0.5, burst=60)  # a look and a fetch for each finding of a busy swarm
REQUEST_SECONDS = 20.0  # for the request, and for the answer's first byte
MAX_SERVING_SECONDS = 1800.0
_SETTLE_SECONDS = 0.05
# All peers together are given 16 MB/s in the long run, a sixth of a core; a night's branches as fast as the line is.
BYTES_PER_SECOND = 16e6
CREDIT_BYTES = 256 << 20
# What a peer says to upload-pack is what it wants and has: 50 bytes a commit.
# It may be silent while it waits for the pack; upload-pack itself does not wait long for a word.
SERVING = Limits(bytes_in=16 << 20, silence_seconds=MAX_SERVING_SECONDS)


class _Wire:
    """A stream as a pipe needs it: a read that waits ends with a reset, which the library does not see to."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream
        self._reading: trio.CancelScope | None = None
        self._over = False
        self.write, self.close = stream.write, stream.close

    async def read(self, n: int) -> bytes:
        if self._over:
            return b""
        with trio.CancelScope() as self._reading:
            piece = await self._stream.read(n)
            self._reading = None
            return piece
        return b""

    async def reset(self) -> None:
        """The read ends in any case: a peer that takes nothing holds the reset, too."""
        self._over = True
        try:
            with suppress(Exception):
                await self._stream.reset()
                await trio.sleep(_SETTLE_SECONDS)  # a read that was just writing is done, and only waits if it goes on
        finally:
            if self._reading is not None:
                self._reading.cancel()


class GitStreams:
    def __init__(
        self,
        host: IHost,
        source: BranchSource,
        counts: Counter[str],
        traffic: Traffic,
        admits: Callable[[str], bool],
    ) -> None:
        """`admits`: whether a peer is given anything, and asked for anything."""
        self._host, self._source, self._counts, self._traffic, self._admits = host, source, counts, traffic, admits
        self._places = Places(MAX_SERVED, MAX_SERVED_TO_ONE, crowd=4 * MAX_SERVED)
        self._askers = Budgets(ASKER_RATE)
        self._pace = Pace(BYTES_PER_SECOND, CREDIT_BYTES)

    # --- giving ---

    async def answer(self, stream: INetStream) -> None:
        """For an inbound stream. What it raises resets the stream."""
        peer = stream.muxed_conn.peer_id.to_base58()
        if not self._admits(peer):
            self._counts["git_barred"] += 1
            await stream.reset()
            return
        full = self._places.is_full(peer)
        busy = full or not self._askers.take(peer, trio.current_time())
        if self._places.is_crowded(peer):
            self._counts["git_refused"] += 1
            await stream.reset()
            return
        with self._places.taken(peer), trio.fail_after(MAX_SERVING_SECONDS):
            await self._answer(stream, peer, busy=busy)

    async def _answer(self, stream: INetStream, peer: str, *, busy: bool) -> None:
        with trio.fail_after(REQUEST_SECONDS):
            message = await read_message(stream, MAX_REQUEST_BYTES)
        self._traffic.received(peer, Kind.GIT, LENGTH_BYTES + len(message), 1)
        names = decode_request(message)
        opened = None if busy else await self._source.open(names)
        if opened is None:
            self._counts["git_refused" if busy else "git_absent"] += 1
            await stream.write(bytes([BranchStatus.BUSY if busy else BranchStatus.ABSENT]))
        else:
            async with opened as local:
                await stream.write(bytes([BranchStatus.HERE]))
                await Pipe(_Wire(stream), local, SERVING, self._counter(peer), outlives=True, pace_out=self._pace).run()
            self._counts["git_served"] += 1
            return
        await stream.close()

    # --- getting ---

    async def join(self, peer: str, names: Sequence[str], local: trio.abc.HalfCloseableStream, limits: Limits) -> int:
        """Let `local`, git's side, talk with a peer's upload-pack. Returns how many bytes came.

        Raises PeerUnreachable, PeerIncompatible, BlobAbsent, TooMuch, LocalEnd. Time is the caller's.
        """
        if not self._admits(peer):
            raise PeerUnreachable(f"peer {peer} is not asked: it is denied, not allowed or banned")
        stream = await open_stream(self._host, peer, PROTOCOL, REQUEST_SECONDS)
        try:
            await self._ask(stream, peer, names)
            pipe = Pipe(_Wire(stream), local, limits, self._counter(peer))
            await pipe.run()
        except BaseException as error:
            await let_go(stream)
            raise _told(peer, error) from None
        return pipe.bytes_in

    async def _ask(self, stream: INetStream, peer: str, names: Sequence[str]) -> None:
        message = encode_request(names)
        with trio.CancelScope(shield=True), trio.fail_after(REQUEST_SECONDS):
            await stream.write(framed(message))
        self._traffic.sent(peer, Kind.GIT, LENGTH_BYTES + len(message), 1)
        with trio.fail_after(REQUEST_SECONDS):
            status = (await read_exactly(stream, 1))[0]
        if status == BranchStatus.ABSENT:
            raise BlobAbsent(peer)
        if status != BranchStatus.HERE:
            raise PeerUnreachable(f"peer {peer} is busy")

    def _counter(self, peer: str) -> Callable[[int, int], None]:
        def count(bytes_in: int, bytes_out: int) -> None:
            self._counts["git_bytes_in"] += bytes_in
            self._counts["git_bytes_out"] += bytes_out
            self._traffic.received(peer, Kind.GIT, bytes_in)
            self._traffic.sent(peer, Kind.GIT, bytes_out)

        return count


def _told(peer: str, error: BaseException) -> BaseException:
    """The sentence names the peer; what is no Exception, and what names it already, stays."""
    if isinstance(error, TooMuch):
        return TooMuch(f"peer {peer}: {error}")
    if not isinstance(error, Exception) or (isinstance(error, GossipError) and peer in str(error)):
        return error
    if isinstance(error, GossipError) and not isinstance(error, PeerUnreachable):
        return error
    if isinstance(error, TooSlow):
        return TooSlow(f"peer {peer}: {error}")
    return PeerUnreachable(f"peer {peer} broke off: {in_short(error)}")

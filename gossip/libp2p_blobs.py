"""Blobs over libp2p streams: one request and one answer on each. One of the files that import libp2p.

What they say is gossip/blobs.py's. Serving is bounded in streams, for each peer too, and in the time that a piece may
take; reading a file happens in a thread. A reader that pauses for 5 s loses the stream (the library's window timeout),
so what comes is taken off the stream at once and handed on through a queue of a few megabytes.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import trio
from libp2p.abc import IHost, INetStream

from gossip.blob_budget import BlobBudget
from gossip.blobs import (
    HEAD_BYTES,
    MAX_REQUEST_BYTES,
    PROTOCOL,
    BlobHead,
    BlobRequest,
    BlobSource,
    BlobStatus,
    decode_head,
    decode_request,
    encode_head,
    encode_request,
)
from gossip.bus import BlobAbsent, BlobTooLarge, Keep, PeerUnreachable, in_short, innermost
from gossip.libp2p_messages import LENGTH_BYTES, framed, let_go, open_stream, read_exactly, read_message
from gossip.places import Places
from gossip.traffic import Kind, Traffic

PIECE_BYTES = 1 << 20  # written at one time; 64 KB halve the speed (measured)
MAX_SERVED = 8  # streams at one time; guess: more only share the line
MAX_SERVED_TO_ONE = 2
REQUEST_SECONDS = 20.0  # for the request, and for the head of the answer
PIECE_SECONDS = 60.0  # to write one; who takes less than 17 KB/s is not waited for
SILENCE_SECONDS = 15.0  # a peer that sends nothing for so long has gone
_QUEUED_PIECES = 8  # read and not yet kept: a disk may hold its breath without the stream noticing
_READ_BYTES = 1 << 20


class BlobStreams:
    def __init__(
        self, host: IHost, source: BlobSource, counts: Counter[str], traffic: Traffic, admits: Callable[[str], bool]
    ) -> None:
        """`admits`: whether a peer is given anything, and asked for anything."""
        self._host = host
        self._source = source
        self._counts = counts
        self._traffic = traffic
        self._admits = admits
        self._places = Places(MAX_SERVED, MAX_SERVED_TO_ONE, crowd=2 * MAX_SERVED)
        self._budget = BlobBudget()

    # --- giving ---

    async def answer(self, stream: INetStream) -> None:
        """For an inbound stream. What it raises resets the stream."""
        peer = stream.muxed_conn.peer_id.to_base58()
        if not self._admits(peer):
            self._counts["blobs_barred"] += 1
            await stream.reset()
            return
        full = self._places.is_full(peer)
        if self._places.is_crowded(peer):
            self._counts["blobs_refused"] += 1
            await stream.reset()
            return
        with self._places.taken(peer):
            with trio.fail_after(REQUEST_SECONDS):
                message = await read_message(stream, MAX_REQUEST_BYTES)
            self._traffic.received(peer, Kind.BLOB, LENGTH_BYTES + len(message), 1)
            request = decode_request(message)
            await self._give(stream, peer, request, full=full)

    async def _give(self, stream: INetStream, peer: str, request: BlobRequest, *, full: bool) -> None:
        if full:
            await self._refuse(stream, BlobStatus.BUSY, "blobs_refused")
        elif not self._budget.may_ask(peer, trio.current_time()):
            await self._refuse(stream, BlobStatus.BUSY, "blobs_over_rate")
        elif (blob := self._source.find(request.sha256)) is None:
            await self._refuse(stream, BlobStatus.ABSENT, "blobs_absent")
        else:
            opened = await trio.to_thread.run_sync(_open, blob, request.offset)
            try:
                await self._give_opened(stream, peer, request, opened)
            finally:
                opened.file.close()
        with trio.fail_after(PIECE_SECONDS):
            await stream.close()

    async def _refuse(self, stream: INetStream, status: BlobStatus, counted: str) -> None:
        self._counts[counted] += 1
        await _write(stream, encode_head(BlobHead(status)))

    async def _give_opened(self, stream: INetStream, peer: str, request: BlobRequest, opened: "_Opened") -> None:
        left = max(0, opened.size_bytes - request.offset)
        if not self._budget.may_take(peer, request.sha256, left, opened.size_bytes, trio.current_time()):
            await self._refuse(stream, BlobStatus.BUSY, "blobs_over_budget")
            return
        await _write(stream, encode_head(BlobHead(BlobStatus.HERE, opened.size_bytes)))
        await self._pour(stream, peer, request.sha256, opened, left)

    async def _pour(self, stream: INetStream, peer: str, sha256: str, opened: "_Opened", left: int) -> None:
        """Exactly as many bytes as the head announced: a file that has become shorter ends in a reset."""
        while left > 0:
            piece = await trio.to_thread.run_sync(opened.file.read, min(PIECE_BYTES, left))
            if not piece:
                raise PeerUnreachable("a blob's file has become shorter")
            self._budget.given(peer, sha256, len(piece), opened.size_bytes, trio.current_time())
            await _write(stream, piece)
            left -= len(piece)
            self._counts["blob_bytes_out"] += len(piece)
            self._traffic.sent(peer, Kind.BLOB, len(piece))
        self._traffic.sent(peer, Kind.BLOB, messages=1)
        self._counts["blobs_served"] += 1

    # --- getting ---

    async def fetch(self, peer: str, request: BlobRequest, limit_bytes: int, keep: Keep) -> int:
        """Raises PeerUnreachable, and whatever `keep` raises. Returns the size of the whole blob."""
        if not self._admits(peer):
            raise PeerUnreachable(f"peer {peer} is not asked: it is denied, not allowed or banned")
        stream = await open_stream(self._host, peer, PROTOCOL, REQUEST_SECONDS)
        try:
            size_bytes = await self._fetch_on(stream, peer, request, limit_bytes, keep)
            with trio.move_on_after(1), suppress(Exception):
                await stream.close()
        except BaseException:
            await let_go(stream)
            raise
        return size_bytes

    async def _fetch_on(self, stream: INetStream, peer: str, request: BlobRequest, limit_bytes: int, keep: Keep) -> int:
        try:
            with trio.fail_after(REQUEST_SECONDS):
                message = encode_request(request)
                await stream.write(framed(message))
                self._traffic.sent(peer, Kind.BLOB, LENGTH_BYTES + len(message), 1)
                head = decode_head(await read_exactly(stream, HEAD_BYTES))
        except Exception as error:
            raise _broke_off(peer, error) from None
        if head.status is not BlobStatus.HERE:
            raise BlobAbsent(peer) if head.status is BlobStatus.ABSENT else PeerUnreachable(f"peer {peer} is busy")
        if head.size_bytes > limit_bytes or head.size_bytes < request.offset:
            raise BlobTooLarge(peer, head.size_bytes, limit_bytes)
        await self._take(stream, peer, head.size_bytes - request.offset, keep)
        return head.size_bytes

    async def _take(self, stream: INetStream, peer: str, left: int, keep: Keep) -> None:
        """Reading goes on while `keep` works. What was read before a peer broke off is kept."""
        give, take = trio.open_memory_channel[bytes](_QUEUED_PIECES)
        failure: list[PeerUnreachable] = []
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, stream, peer, left, give, failure)
                async with take:
                    async for piece in take:
                        await keep(piece)
        except BaseExceptionGroup as group:
            raise _cause(group) from None
        if failure:
            raise failure[0]

    async def _read(
        self,
        stream: INetStream,
        peer: str,
        left: int,
        give: trio.MemorySendChannel[bytes],
        failure: list[PeerUnreachable],
    ) -> None:
        async with give:
            while left > 0:
                try:
                    with trio.fail_after(SILENCE_SECONDS):
                        piece = await stream.read(min(_READ_BYTES, left))
                    if not piece:
                        raise PeerUnreachable("the stream ended early")
                except Exception as error:
                    failure.append(_broke_off(peer, error))
                    return
                left -= len(piece)
                self._counts["blob_bytes_in"] += len(piece)
                self._traffic.received(peer, Kind.BLOB, len(piece))
                await give.send(piece)
            self._traffic.received(peer, Kind.BLOB, messages=1)


@dataclass(frozen=True)
class _Opened:
    file: IO[bytes]
    size_bytes: int


def _open(blob: Path | bytes, offset: int) -> _Opened:
    """Raises OSError when the file has gone."""
    file: IO[bytes] = BytesIO(blob) if isinstance(blob, bytes) else blob.open("rb")
    size_bytes = file.seek(0, 2)
    file.seek(min(offset, size_bytes))
    return _Opened(file, size_bytes)


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong in a group, rather than that the rest of it was cancelled for that."""
    _, errors = group.split(trio.Cancelled)
    return innermost(errors or group)


def _broke_off(peer: str, error: Exception) -> PeerUnreachable:
    return PeerUnreachable(f"peer {peer} broke off: {in_short(error)}")


async def _write(stream: INetStream, piece: bytes) -> None:
    with trio.fail_after(PIECE_SECONDS):
        await stream.write(piece)

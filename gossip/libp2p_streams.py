"""Catch-up requests over libp2p streams: one request and one answer on each. One of the files that import libp2p.

Both are messages of gossip/libp2p_messages.py. What they say is gossip/catchup.py's.
"""

from collections import Counter

import trio
from libp2p.abc import IHost, INetStream

from gossip.bus import PeerUnreachable, Serve, in_short
from gossip.catchup import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, PROTOCOL
from gossip.libp2p_messages import LENGTH_BYTES, framed, let_go, open_stream, read_message
from gossip.places import Places
from gossip.traffic import Kind, Traffic

REQUEST_SECONDS = 20.0  # guess: a page of 512 KiB over a slow line
_MAX_SERVED = 32  # requests answered at one time
_MAX_SERVED_PER_PEER = 4  # of them; who asks in order needs one


class CatchupStreams:
    def __init__(self, host: IHost, serve: Serve, counts: Counter[str], traffic: Traffic) -> None:
        self._host = host
        self._serve = serve
        self._counts = counts
        self._traffic = traffic
        self._places = Places(_MAX_SERVED, _MAX_SERVED_PER_PEER)

    async def request(self, peer: str, message: bytes) -> bytes:
        """Raises PeerUnreachable, PeerIncompatible. Time is the caller's."""
        stream = await open_stream(self._host, peer, PROTOCOL)
        try:
            await self._write(stream, peer, message)
            reply = await self._read(stream, peer, MAX_RESPONSE_BYTES)
            await stream.close()
        except BaseException as error:
            await let_go(stream)
            if not isinstance(error, Exception):
                raise
            raise PeerUnreachable(f"peer {peer} broke off: {in_short(error)}") from None
        return reply

    async def answer(self, stream: INetStream) -> None:
        """For an inbound stream. What it raises resets the stream."""
        peer = stream.muxed_conn.peer_id.to_base58()
        if self._places.is_full(peer):
            self._counts["requests_refused"] += 1
            await stream.reset()
            return
        with self._places.taken(peer), trio.fail_after(REQUEST_SECONDS):
            message = await self._read(stream, peer, MAX_REQUEST_BYTES)
            await self._write(stream, peer, self._serve(peer, message))
            await stream.close()
        self._counts["requests_served"] += 1

    async def _write(self, stream: INetStream, peer: str, message: bytes) -> None:
        await stream.write(framed(message))
        self._traffic.sent(peer, Kind.CATCHUP, LENGTH_BYTES + len(message), 1)

    async def _read(self, stream: INetStream, peer: str, limit_bytes: int) -> bytes:
        message = await read_message(stream, limit_bytes)
        self._traffic.received(peer, Kind.CATCHUP, LENGTH_BYTES + len(message), 1)
        return message

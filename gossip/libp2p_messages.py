"""What is the same for every request on a libp2p stream of ours. One of the files that import libp2p.

A message is a 4-byte big-endian length and so many bytes. What they say is of no concern here, nor is time.
"""

import math
from contextlib import suppress

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError

from gossip.bus import PeerIncompatible, PeerUnreachable, in_short

LENGTH_BYTES = 4
_OURS = "/swarm/"  # protocols
_MAX_NAMED = 8
_MAX_NAME_CHARACTERS = 64


async def open_stream(host: IHost, peer: str, protocol: str, seconds: float = math.inf) -> INetStream:
    """Raises PeerUnreachable, PeerIncompatible."""
    try:
        with trio.fail_after(seconds):
            return await host.new_stream(ID.from_base58(peer), [TProtocol(protocol)])
    except Exception as error:  # negotiation, reset, connection gone: one of many classes
        check_speaks(host, peer, protocol)
        raise PeerUnreachable(f"no stream to peer {peer}: {in_short(error)}") from None


async def let_go(stream: INetStream) -> None:
    """Of one that broke off, whatever state it is in; also when we are cancelled."""
    with trio.CancelScope(shield=True), trio.move_on_after(1), suppress(Exception):
        await stream.reset()


async def close_stream(stream: INetStream) -> None:
    """Of one that has done its work, or is given up in order; also when we are cancelled."""
    with trio.CancelScope(shield=True), trio.move_on_after(1), suppress(Exception):
        await stream.close()


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(LENGTH_BYTES, "big") + message


async def read_message(stream: INetStream, limit_bytes: int) -> bytes:
    """Raises PeerUnreachable for a longer one, before it is read, and for half a one."""
    length = int.from_bytes(await read_exactly(stream, LENGTH_BYTES), "big")
    if length > limit_bytes:
        raise PeerUnreachable(f"message of {length} bytes announced, at most {limit_bytes} are read")
    return await read_exactly(stream, length)


async def read_exactly(stream: INetStream, count: int) -> bytes:
    """Raises PeerUnreachable when there are fewer."""
    got = bytearray()
    while len(got) < count:
        piece = await stream.read(count - len(got))
        if not piece:
            raise PeerUnreachable("stream ended inside a message")
        got += piece
    return bytes(got)


def check_speaks(host: IHost, peer: str, protocol: str) -> None:
    """After a stream was not opened: raises PeerIncompatible if the peer is known to speak others of ours only."""
    try:
        spoken = host.get_peerstore().get_protocols(ID.from_base58(peer))
    except PeerStoreError:
        return
    if spoken and protocol not in spoken:
        ours = sorted(name[:_MAX_NAME_CHARACTERS] for name in spoken if name.startswith(_OURS))
        raise PeerIncompatible(peer, tuple(ours)[:_MAX_NAMED])

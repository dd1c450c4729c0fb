"""libp2p over cables in memory: everything above a socket is real, time may be virtual. One that imports libp2p.

For simulations and tests. A peer listens at the address that the network gives it, whatever it is asked to listen on.
What a cable does to bytes is gossip/memory_cables.py's. Private swarms and hole punching are not for here: both are
about what lies below libp2p.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from zlib import crc32

import trio
from libp2p.abc import IListener, IRawConnection
from libp2p.custom_types import THandler
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from gossip.addresses import Address, parse_address, parse_dialable
from gossip.bus import ListenError
from gossip.libp2p_transport import BoundTransport, OpenTransport
from gossip.memory_cables import CableBroken, CabledNetwork, End

_READ_BYTES = 64 * 1024  # where the library does not say how many


def in_memory(network: CabledNetwork, peer: str) -> OpenTransport:
    """For a bus of `peer`."""

    async def open_transport(_listen: Sequence[str], swarm_key: bytes | None) -> BoundTransport:
        if swarm_key is not None:
            raise ListenError("a private swarm cannot be simulated: its key works on sockets, and here are none")
        await trio.lowlevel.checkpoint()
        return MemoryTransport(network, peer)

    return open_transport


@contextmanager
def peers_in_one_order() -> Generator[None]:
    """Inside, sets of peer ids have the same order in every process; as it comes, it is that of the process' salt for
    hashes of bytes, and GossipSub chooses and sends in it. No host may live across the border."""

    def by_bytes(peer: ID) -> int:
        return crc32(peer._bytes)  # type: ignore[attr-defined] # asked a thousand times a second: to_bytes() would double it

    before = ID.__hash__
    ID.__hash__ = by_bytes  # type: ignore[method-assign]
    try:
        yield
    finally:
        ID.__hash__ = before  # type: ignore[method-assign]


class MemoryTransport(BoundTransport):
    def __init__(self, network: CabledNetwork, peer: str) -> None:
        self.counts: Counter[str] = Counter()
        self._network = network
        self._peer = peer
        self._own = parse_dialable(network.address(peer))
        self._coming = network.listen(peer)
        self._ends: dict[End, None] = {}  # in the order of their making

    @property
    def listening(self) -> tuple[str, ...]:
        return (self._own.transport,)

    def ports(self) -> dict[str, int]:
        return {self._own.family: self._own.port}

    def can_dial(self, maddr: Multiaddr) -> bool:
        return not parse_address(str(maddr)).relay

    can_listen = can_dial

    def protocols(self) -> list[str]:
        return ["tcp"]

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        address = parse_dialable(str(maddr))
        try:
            end = await self._network.connect(self._peer, self._network.peer_at(address.transport))
        except ConnectionRefusedError as error:
            raise OpenConnectionError(str(error)) from error
        return RawConnection(self.keep(end), True, addresses=[Multiaddr(address.transport)])

    async def dial_from_port(self, address: Address, *, dialled: bool) -> RawConnection:  # noqa: ARG002 - never comes about
        await trio.lowlevel.checkpoint()
        raise OSError(f"no hole is punched to {address.transport}: nobody is behind a NAT here")

    def keep(self, end: End) -> "CableStream":
        self._ends[end] = None
        return CableStream(
            end, parse_dialable(self._network.address(end.other)).port, lambda: self._ends.pop(end, None)
        )

    def close_sockets(self) -> None:
        self._coming.close()
        for end in list(self._ends):
            end.close()
        self._ends.clear()

    def create_listener(self, handler_function: THandler) -> IListener:
        return _Listener(self, self._coming, handler_function)


class CableStream(ReadWriteCloser):
    """An end of a cable as libp2p reads and writes a socket. Without the locks that a socket needs: a cable takes a
    piece whole, and yamux reads in one task."""

    def __init__(self, end: End, port: int, when_closed: Callable[[], object]) -> None:
        self._end, self._port, self._when_closed = end, port, when_closed

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await self._end.read(_READ_BYTES if n is None else n)
        except CableBroken as error:
            raise ConnectionClosedError(str(error), transport="memory") from error

    async def write(self, data: bytes) -> None:
        try:
            await self._end.write(data)
        except CableBroken as error:
            raise ConnectionClosedError(str(error), transport="memory") from error

    async def close(self) -> None:
        self._end.close()
        self._when_closed()
        await trio.lowlevel.checkpoint()

    def get_remote_address(self) -> tuple[str, int] | None:
        return "127.0.0.1", self._port


class _Listener(IListener):
    def __init__(
        self,
        transport: MemoryTransport,
        coming: trio.MemoryReceiveChannel[End],
        accept: Callable[[ReadWriteCloser], Awaitable[None]],
    ) -> None:
        self._transport, self._coming, self._accept = transport, coming, accept
        self._scope = trio.CancelScope()

    async def listen(self, maddr: Multiaddr) -> None:  # noqa: ARG002 - there is only one
        await self._transport.nursery.start(self._serve)

    async def _serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self._scope:
            task_status.started()
            async with trio.open_nursery() as nursery:
                async for end in self._coming:  # taken here, so that it is this peer's clock that its tasks see
                    self._transport.counts["accepted_memory"] += 1
                    nursery.start_soon(self._welcome, self._transport.keep(end))

    async def _welcome(self, stream: CableStream) -> None:
        with suppress(Exception):  # one stranger's connection; an exception here would end every other one
            await self._accept(stream)
        await stream.close()

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        return tuple(Multiaddr(address) for address in self._transport.listening)

    async def close(self) -> None:
        self._scope.cancel()
        self._coming.close()
        await trio.lowlevel.checkpoint()

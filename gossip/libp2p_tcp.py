"""TCP for libp2p: sockets bound before the host starts, and connections that notice a dead other side.

The library's listener shares its port with any other process of the same user (SO_REUSEPORT), so a second node would
silently steal half of the connections; and a peer that vanished without a word is never noticed.
"""

import errno
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from weakref import WeakSet

import trio
from libp2p.abc import IListener, IRawConnection
from libp2p.custom_types import THandler
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr

from gossip.addresses import Address, AddressError, parse_address
from gossip.bus import ListenError
from gossip.libp2p_private import WrongSwarm, enter
from gossip.libp2p_transport import BoundTransport

MAX_AT_THE_WALL = 256  # inbound connections that have not shown the key of a private swarm
SILENCE_MS = 15_000  # unacknowledged data for so long: the other side is gone (measured: dropped after 15.6 s)


async def bind(texts: Sequence[str]) -> dict[str, trio.SocketListener]:
    """Bound and listening sockets by transport address with its real port. Raises ListenError."""
    bound: dict[str, trio.SocketListener] = {}
    port = 0
    try:
        for text in texts:
            address, listener = await _bind_one(text, port)
            bound[str(Multiaddr(address))] = listener  # the library asks for it by its own spelling
            port = int(listener.socket.getsockname()[1])
    except ListenError:
        for listener in bound.values():
            await listener.aclose()
        raise
    return bound


async def _bind_one(text: str, liked_port: int) -> tuple[str, trio.SocketListener]:
    """`liked_port`: for an address with port 0, if it is free there. One port for IPv4 and IPv6 is one to remember."""
    try:
        address = parse_address(text)
    except AddressError as error:
        raise ListenError(f"cannot listen: {error}") from None
    if address.relay:
        raise ListenError(f"cannot listen on {text}: relays are chosen while running; name an address of this machine")
    if address.family not in ("ip4", "ip6"):
        raise ListenError(f"cannot listen on {text}: name an IP address of this machine, not a host name")
    family = trio.socket.AF_INET if address.family == "ip4" else trio.socket.AF_INET6
    listening = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == "ip6":
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            await listening.bind((address.host, address.port or liked_port))
        except OSError:
            if address.port or not liked_port:
                raise
            await listening.bind((address.host, 0))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ListenError(_why_not(address, error)) from None
    port = int(listening.getsockname()[1])
    return Address(address.family, address.host, port).transport, trio.SocketListener(listening)


def _why_not(address: Address, error: OSError) -> str:
    at = address.transport
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {at}: port in use by another program; choose another with --listen"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {at}: this machine does not have that address; choose another with --listen"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"cannot listen on {at}: the system does not allow that port; choose one above 1023 with --listen"
    return f"cannot listen on {at}: {error.strerror}; choose another with --listen"


async def open_tcp(listen: Sequence[str], swarm_key: bytes | None) -> BoundTransport:
    """Raises ListenError."""
    return BoundTcp(await bind(listen), swarm_key)


class BoundTcp(TCP, BoundTransport):
    """A transport that listens on sockets made by `bind` and watches the health of every connection.

    With a swarm key nobody without that key gets as far as libp2p, in neither direction.
    """

    def __init__(self, bound: Mapping[str, trio.SocketListener], swarm_key: bytes | None = None) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._bound = bound
        self._swarm_key = swarm_key
        self._at_the_wall = 0
        self._dialled: WeakSet[trio.SocketStream] = WeakSet()

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        connection = await super().dial(maddr)
        if isinstance(connection, RawConnection) and isinstance(connection.stream, TrioTCPStream):
            _watch(connection.stream.stream.socket)
            self._dialled.add(connection.stream.stream)
            if self._swarm_key is not None:
                connection.stream = await self._enter(connection.stream, self._swarm_key)
            return connection
        if self._swarm_key is not None:
            raise AssertionError(f"a connection that no key protects: {type(connection)}")
        return connection

    async def _enter(self, stream: TrioTCPStream, key: bytes, *, dialled: bool = True) -> ReadWriteCloser:
        try:
            return await enter(stream, key, dialled=dialled)
        except WrongSwarm as error:
            self.counts["private_not_let_in"] += 1
            raise OpenConnectionError(str(error)) from error

    @property
    def listening(self) -> tuple[str, ...]:
        return tuple(self._bound)

    def ports(self) -> dict[str, int]:
        return {name.split("/")[1]: int(name.split("/")[4]) for name in self._bound}

    async def dial_from_port(self, address: Address, *, dialled: bool) -> RawConnection:
        for listener in self._bound.values():
            _share_port(listener.socket)
        connection = await _open_from(self.ports()[address.family], address)
        _watch(connection.socket)
        self._dialled.add(connection)
        stream: ReadWriteCloser = TrioTCPStream(connection)
        if self._swarm_key is not None:
            stream = await self._enter(TrioTCPStream(connection), self._swarm_key, dialled=dialled)
        return RawConnection(stream, dialled)

    def close_sockets(self) -> None:
        for stream in self._dialled:
            stream.socket.close()
        for listener in self._bound.values():
            listener.socket.close()

    def create_listener(self, handler_function: THandler) -> "_Listener":  # type: ignore[override] # the port's type is IListener
        async def accept(stream: TrioTCPStream) -> None:
            self.counts[f"accepted_{_from_where(stream.stream)}"] += 1
            if self._swarm_key is None:
                await handler_function(stream)
            elif (inside := await self._let_in(stream, self._swarm_key)) is not None:
                await handler_function(inside)

        return _Listener(self.nursery, self._bound, accept)

    async def _let_in(self, stream: TrioTCPStream, key: bytes) -> ReadWriteCloser | None:
        """None: closed, and nothing was said that tells a stranger what this is."""
        if self._at_the_wall >= MAX_AT_THE_WALL:
            self.counts["private_wall_full"] += 1
            await stream.close()
            return None
        self._at_the_wall += 1
        try:
            return await enter(stream, key, dialled=False)
        except WrongSwarm:
            self.counts["private_refused"] += 1
            return None
        finally:
            self._at_the_wall -= 1


class _Listener(IListener):
    def __init__(
        self,
        nursery: trio.Nursery,
        bound: Mapping[str, trio.SocketListener],
        accept: Callable[[TrioTCPStream], Awaitable[None]],
    ) -> None:
        self._nursery = nursery
        self._bound = bound
        self._accept = accept
        self._open: dict[str, trio.CancelScope] = {}

    async def listen(self, maddr: Multiaddr) -> None:
        name = str(maddr)
        self._open[name] = trio.CancelScope()
        await self._nursery.start(self._serve, name)

    async def _serve(self, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        with self._open[name]:
            task_status.started()
            await trio.serve_listeners(self._welcome, [self._bound[name]])

    async def _welcome(self, stream: trio.SocketStream) -> None:
        try:
            _watch(stream.socket)
            await self._accept(TrioTCPStream(stream))
        except Exception:  # one stranger's connection; an exception here would end every other one
            with suppress(Exception):
                await stream.aclose()

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        return tuple(Multiaddr(name) for name in self._open)

    async def close(self) -> None:
        for name, scope in self._open.items():
            scope.cancel()
            await self._bound[name].aclose()
        self._open.clear()


def _from_where(stream: trio.SocketStream) -> str:
    """From how far somebody reached us."""
    try:
        ip = ip_address(str(stream.socket.getpeername()[0]).split("%")[0])
    except (OSError, ValueError):
        return "unknown"
    return "loopback" if ip.is_loopback else "global" if ip.is_global else "private"


def _watch(connection: trio.socket.SocketType) -> None:
    options = (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),  # seconds
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),  # seconds
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", SILENCE_MS),  # Linux only
    )
    for level, name, value in options:
        if hasattr(socket, name):
            with suppress(OSError):
                connection.setsockopt(level, getattr(socket, name), value)


def _share_port(listening: trio.socket.SocketType) -> None:
    """With our own dialling sockets. Only once it is bound: a second node still cannot listen there (measured), as it
    asks for the port without this."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


async def _open_from(port: int, address: Address) -> trio.SocketStream:
    """A TCP connection that leaves from a port of ours that is listened on. Raises OSError."""
    family = trio.socket.AF_INET if address.family == "ip4" else trio.socket.AF_INET6
    dialling = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    try:
        dialling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        dialling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        await dialling.bind(("", port))
        await dialling.connect((address.host, address.port))
    except BaseException:
        dialling.close()
        raise
    return trio.SocketStream(dialling)

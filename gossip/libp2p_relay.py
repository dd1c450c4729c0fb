"""Circuit relay v2: nodes that nobody can dial meet through one that everybody can. One of those that import libp2p.

The messages are libp2p's, the service is ours: the library's lets a stranger reserve in the names of others until no
place is left, and mixes up two circuits of one source (measured). What a relay carries is encrypted end to end.
What comes of a meeting through a relay is libp2p_punch's.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import trio
from libp2p.abc import IHost, INetStream
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, Limit, Reservation, Status, StopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as PbPeer
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from multiaddr import Multiaddr

from gossip.libp2p_messages import close_stream

HOP = TProtocol("/libp2p/circuit/relay/0.2.0/hop")
STOP = TProtocol("/libp2p/circuit/relay/0.2.0/stop")
MAX_RESERVATIONS = 64
MAX_CIRCUITS = 64
MAX_CIRCUITS_OF_A_PEER = 8  # on either end
RESERVED_SECONDS = 3600.0
CIRCUIT_SECONDS = 3600.0
CIRCUIT_BYTES = 1 << 28  # both ways together; records of a night, not a corpus for everyone
WANTED_RELAYS = 2
_REFUSED_SECONDS = 120.0  # until a relay that said no is asked again
_MESSAGE_SECONDS = 10.0
_LAST_FRAMES_SECONDS = 0.5  # nothing flows any more after a reset
_PIECE_BYTES = 64 * 1024


class RelayRefused(Exception):
    """A relay said no, or said nonsense."""


@dataclass
class _Budget:
    bytes_left: int

    def spend(self, count: int) -> None:
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise RelayRefused("this circuit has carried all that one may")


class Relay:
    """Both sides of it: what this node does for others, and what it asks of them."""

    def __init__(
        self,
        host: IHost,
        counts: Counter[str],
        wall_clock: Callable[[], float],
        met: Callable[[ID], None] = lambda _peer: None,  # told who has reached us through a relay
    ) -> None:
        self._met = met
        self._host = host
        self._counts = counts
        self._wall_clock = wall_clock
        self._reservations: dict[ID, float] = {}  # until when, of trio's clock
        self._circuits: Counter[ID] = Counter()
        self._reserved: dict[ID, float] = {}  # since when
        self._refused: dict[ID, float] = {}
        host.set_stream_handler(HOP, self._serve)
        host.set_stream_handler(STOP, self._welcome)

    # --- as a relay ---

    async def _serve(self, stream: INetStream) -> None:
        with trio.fail_after(_MESSAGE_SECONDS):
            asked = await read_delimited_msg(stream, HopMessage)
        asker = stream.muxed_conn.peer_id
        if is_relayed(stream.muxed_conn.get_transport_addresses()):
            await _answer(stream, Status.PERMISSION_DENIED)
        elif asked.type == HopMessage.RESERVE:
            await self._reserve_for(asker, stream)
        elif asked.type == HopMessage.CONNECT:
            await self._connect(asker, ID(asked.peer.id), stream)
        else:
            await _answer(stream, Status.MALFORMED_MESSAGE)

    async def _reserve_for(self, asker: ID, stream: INetStream) -> None:
        """For whoever asks, whatever name is in the message: nobody reserves for others."""
        now = trio.current_time()
        self._reservations = {peer: until for peer, until in self._reservations.items() if until > now}
        if asker not in self._reservations and len(self._reservations) >= MAX_RESERVATIONS:
            self._counts["relay_full"] += 1
            await _answer(stream, Status.RESERVATION_REFUSED)
            return
        self._reservations[asker] = now + RESERVED_SECONDS
        own = Multiaddr(f"/p2p/{self._host.get_id().to_base58()}")
        addresses = [Multiaddr(str(a).split("/p2p/")[0]).encapsulate(own).to_bytes() for a in self._host.get_addrs()]
        until = int(self._wall_clock() + RESERVED_SECONDS)
        await _answer(stream, Status.OK, Reservation(expire=until, addrs=addresses[:8]))

    async def _connect(self, source: ID, target: ID, stream: INetStream) -> None:
        if self._reservations.get(target, 0.0) <= trio.current_time() or target not in self._host.get_connected_peers():
            await _answer(stream, Status.NO_RESERVATION)
            return
        busy = max(self._circuits[source], self._circuits[target])
        if self._circuits.total() >= 2 * MAX_CIRCUITS or busy >= MAX_CIRCUITS_OF_A_PEER:
            self._counts["relay_busy"] += 1
            await _answer(stream, Status.RESOURCE_LIMIT_EXCEEDED)
            return
        ends = (source, target)
        self._circuits.update(ends)
        try:
            await self._carry(source, target, stream)
        finally:
            self._circuits.subtract(ends)
            self._circuits += Counter()  # forgets those that have none

    async def _carry(self, source: ID, target: ID, stream: INetStream) -> None:
        try:
            with trio.fail_after(_MESSAGE_SECONDS):
                onward = await self._host.new_stream(target, [STOP])
                limit = Limit(duration=int(CIRCUIT_SECONDS), data=CIRCUIT_BYTES)
                hello = StopMessage(type=StopMessage.CONNECT, peer=PbPeer(id=source.to_bytes()), limit=limit)
                await write_delimited_msg(onward, hello)
                said = await read_delimited_msg(onward, StopMessage)
        except Exception:  # gone, or speaks no relay: many classes
            await _answer(stream, Status.CONNECTION_FAILED)
            return
        try:
            await _answer(stream, said.status, close=False)
            if said.status == Status.OK:
                self._counts["relayed"] += 1
                await _pump_both_ways(stream, onward)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                for one in (stream, onward):
                    with suppress(Exception):
                        await one.reset()

    # --- as one who is behind a NAT, and one who dials such ---

    async def reserve(self, relay: ID) -> None:
        """Be reachable through `relay` for RESERVED_SECONDS. Raises RelayRefused or what the library raises."""
        stream = await self._host.new_stream(relay, [HOP])
        try:
            await write_delimited_msg(stream, HopMessage(type=HopMessage.RESERVE))
            await _expect_ok(stream)
        finally:
            await close_stream(stream)

    @property
    def reserved(self) -> tuple[ID, ...]:
        """The relays that this node can be reached through."""
        connected = self._host.get_connected_peers()
        return tuple(relay for relay in self._reserved if relay in connected)

    def offered_by(self, peers: Sequence[ID]) -> list[ID]:
        """Those that say they are relays."""
        return [peer for peer in peers if HOP in _protocols(self._host, peer)]

    async def keep_reserved(self, relays: Sequence[ID]) -> None:
        """With a few of `relays`, and renewed in time. Never raises."""
        now, connected = trio.current_time(), self._host.get_connected_peers()
        self._reserved = {relay: since for relay, since in self._reserved.items() if relay in connected}
        self._refused = {relay: since for relay, since in self._refused.items() if now - since < _REFUSED_SECONDS}
        for relay in relays:
            since = self._reserved.get(relay)
            enough = since is None and len(self._reserved) >= WANTED_RELAYS
            fresh = since is not None and now - since < RESERVED_SECONDS / 2
            if enough or fresh or relay in self._refused:
                continue
            try:
                with trio.fail_after(_MESSAGE_SECONDS):
                    await self.reserve(relay)
                self._reserved[relay] = now
            except Exception:  # full, gone, hangs: many classes
                self._reserved.pop(relay, None)
                self._refused[relay] = now

    async def dial(self, relay: ID, target: ID) -> None:
        """Connect to `target` through a connected relay. Raises RelayRefused or what the library raises."""
        stream = await self._host.new_stream(relay, [HOP])
        try:
            asked = HopMessage(type=HopMessage.CONNECT, peer=PbPeer(id=target.to_bytes()))
            await write_delimited_msg(stream, asked)
            await _expect_ok(stream)
            await self._host.upgrade_outbound_connection(_circuit(stream, relay, target, dialled=True), target)
        except BaseException:
            await close_stream(stream)
            raise

    async def _welcome(self, stream: INetStream) -> None:
        """A circuit that ends here. Who is at its other end is shown by the handshake inside it, not by the relay."""
        with trio.fail_after(_MESSAGE_SECONDS):
            asked = await read_delimited_msg(stream, StopMessage)
            accepted = asked.type == StopMessage.CONNECT and not is_relayed(stream.muxed_conn.get_transport_addresses())
            status = Status.OK if accepted else Status.PERMISSION_DENIED
            await write_delimited_msg(stream, StopMessage(type=StopMessage.STATUS, status=status))
            if accepted:
                circuit = _circuit(stream, stream.muxed_conn.peer_id, ID(asked.peer.id), dialled=False)
                muxed = await self._host.upgrade_inbound_connection(circuit, circuit.get_transport_addresses()[0])
                self._met(muxed.peer_id)


async def _pump_both_ways(one: INetStream, other: INetStream) -> None:
    """Until either ends, or the circuit has had its share or its time. Nothing is cancelled while bytes flow: half of a
    frame on a connection that carries other streams, too, would break that connection (measured)."""
    budget, ended = _Budget(CIRCUIT_BYTES), trio.Event()

    async def pump(source: INetStream, target: INetStream) -> None:
        with suppress(Exception):  # closed, reset, over budget: the circuit ends
            while piece := await source.read(_PIECE_BYTES):
                budget.spend(len(piece))
                await target.write(piece)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, one, other)
        nursery.start_soon(pump, other, one)
        with trio.move_on_after(CIRCUIT_SECONDS):
            await ended.wait()
        for stream in (one, other):
            with suppress(Exception):
                await stream.reset()
        await trio.sleep(_LAST_FRAMES_SECONDS)
        nursery.cancel_scope.cancel()  # a reader of a stream that we reset ourselves is not woken by the library


class _CircuitStream(ReadWriteCloser):
    """A stream as the bottom of a connection, which knows other exceptions than a stream raises."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await self._stream.read(n)
        except StreamEOF:
            return b""
        except Exception as error:
            raise ConnectionClosedError(f"the circuit ended: {type(error).__name__}") from None

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except Exception as error:
            raise ConnectionClosedError(f"the circuit ended: {type(error).__name__}") from None

    async def close(self) -> None:
        await close_stream(self._stream)

    def get_remote_address(self) -> tuple[str, int] | None:
        return None


def _circuit(stream: INetStream, relay: ID, other: ID, *, dialled: bool) -> RawConnection:
    address = Multiaddr(f"/p2p/{relay.to_base58()}/p2p-circuit/p2p/{other.to_base58()}")
    return RawConnection(_CircuitStream(stream), dialled, ConnectionType.RELAYED, [address])


def _protocols(host: IHost, peer: ID) -> Sequence[str]:
    try:
        return host.get_peerstore().get_protocols(peer)
    except PeerStoreError:
        return ()


def is_relayed(addresses: Sequence[Multiaddr]) -> bool:
    """Whether a connection with these transport addresses leads through a relay."""
    return any("/p2p-circuit" in str(address) for address in addresses)


async def _answer(
    stream: INetStream, status: Status.ValueType, reservation: Reservation | None = None, *, close: bool = True
) -> None:
    with trio.fail_after(_MESSAGE_SECONDS):
        limit = Limit(duration=int(CIRCUIT_SECONDS), data=CIRCUIT_BYTES)
        said = HopMessage(type=HopMessage.STATUS, status=status, reservation=reservation, limit=limit)
        await write_delimited_msg(stream, said)
        if close:
            await stream.close()


async def _expect_ok(stream: INetStream) -> None:
    said = await read_delimited_msg(stream, HopMessage)
    if said.type != HopMessage.STATUS or said.status != Status.OK:
        name = Status.Name(said.status) if said.status in Status.values() else str(said.status)
        raise RelayRefused(f"the relay says {name}")

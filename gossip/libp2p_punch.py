"""Hole punching: two who met through a relay come to a connection of their own. One of those that import libp2p.

libp2p's DCUtR: they tell each other over the relay where the internet sees them, and dial at the same moment, each from
the port it listens on, so that both NATs take what comes for an answer. Which addresses those are is a guess that holds
where a NAT keeps port numbers: what a relay sees of our address, and our own listening port. Where it does not hold the
two stay on the relay. Dialling is all that a stranger can make us do here, and only few addresses, seldom.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.dcutr_pb2 import HolePunch
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from multiaddr import Multiaddr

from gossip.addresses import Address, AddressError, parse_address
from gossip.libp2p_host import swarm_of
from gossip.libp2p_messages import close_stream
from gossip.libp2p_relay import is_relayed
from gossip.libp2p_transport import BoundTransport

DCUTR = TProtocol("/libp2p/dcutr")
ATTEMPTS = 3  # libp2p's
MAX_ADDRESSES = 4  # dialled of those that a peer tells
MAX_AT_ONCE = 4
MAX_ASKING = 64  # peers, within REST_SECONDS
REST_SECONDS = 300.0  # with one peer, after an attempt that came to nothing
_DIAL_SECONDS = 5.0  # libp2p's
_MESSAGE_SECONDS = 10.0
_MAX_IDENTIFY_BYTES = 8192
_PAUSE_SECONDS = 0.5  # between attempts; theirs, when both begin at once, has come by then
_AGAIN_SECONDS = 0.1  # a NAT may say "refused" until the other side's first packet has gone out
_LINGER_SECONDS = 5.0  # what is under way through the relay arrives


class PunchFailed(Exception):
    """No connection came about. Says why."""


class Puncher:
    """Both sides of it. `relays`: connected peers that the internet reaches, who see our address as it does."""

    def __init__(
        self, host: IHost, transport: BoundTransport, counts: Counter[str], relays: Callable[[], Sequence[ID]]
    ) -> None:
        self._host = host
        self._transport = transport
        self._counts = counts
        self._relays = relays
        self._busy: set[ID] = set()
        self._answering: dict[ID, trio.Event] = {}  # of those busy with: set when their attempt is over
        self._asked: dict[ID, list[float]] = {}  # when each made us dial, of trio's clock
        self._rests_until: dict[ID, float] = {}  # of trio's clock
        host.set_stream_handler(DCUTR, self._answer)

    async def punch(self, peer: ID) -> None:
        """With a peer that has dialled us through a relay; that role begins, says libp2p. Never raises."""
        if not self._begin(peer):
            return
        try:
            for _ in range(ATTEMPTS):
                if await self._has_direct(peer) or not swarm_of(self._host).get_connections(peer):
                    break
                with suppress(Exception):  # gone, refused, speaks no such thing: many classes; there is the relay
                    await self._attempt(peer)
                await trio.sleep(_PAUSE_SECONDS)
                if theirs := self._answering.get(peer):
                    await theirs.wait()
            await self._finish(peer)
        finally:
            self._busy.discard(peer)

    async def _attempt(self, peer: ID) -> None:
        with trio.fail_after(_MESSAGE_SECONDS):
            stream = await self._host.new_stream(peer, [DCUTR])
        try:
            with trio.fail_after(_MESSAGE_SECONDS):
                own = await self._own_addresses()
                asked_at = trio.current_time()
                await write_delimited_msg(stream, HolePunch(type=HolePunch.CONNECT, ObsAddrs=own))
                said = await read_delimited_msg(stream, HolePunch)
                round_trip_seconds = trio.current_time() - asked_at
                await write_delimited_msg(stream, HolePunch(type=HolePunch.SYNC))
            await trio.sleep(round_trip_seconds / 2)
        finally:
            await close_stream(stream)
        await self._dial_at_once(peer, _reachable(said), dialled=False)

    async def _answer(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        relayed = is_relayed(stream.muxed_conn.get_transport_addresses())
        leading = peer in self._busy and peer not in self._answering
        if not relayed or not self._may_ask(peer) or not (self._gives_way(peer) if leading else self._begin(peer)):
            await stream.reset()
            return
        over = self._answering[peer] = trio.Event()
        try:
            with trio.fail_after(_MESSAGE_SECONDS):
                asked = await read_delimited_msg(stream, HolePunch)
                own = await self._own_addresses()
                await write_delimited_msg(stream, HolePunch(type=HolePunch.CONNECT, ObsAddrs=own))
                await read_delimited_msg(stream, HolePunch)  # SYNC
            with suppress(PunchFailed):
                await self._dial_at_once(peer, _reachable(asked), dialled=True)
        finally:
            over.set()
            del self._answering[peer]
            if not leading:
                self._busy.discard(peer)
            await close_stream(stream)

    def _gives_way(self, peer: ID) -> bool:
        """Each has dialled the other through the relay and begins: the lower id's attempt is the one."""
        return peer.to_bytes() < self._host.get_id().to_bytes()

    def _begin(self, peer: ID) -> bool:
        now = trio.current_time()
        self._rests_until = {one: until for one, until in self._rests_until.items() if until > now}
        if peer in self._busy or peer in self._rests_until or len(self._busy) >= MAX_AT_ONCE:
            return False
        self._busy.add(peer)
        return True

    def _may_ask(self, peer: ID) -> bool:
        oldest = trio.current_time() - REST_SECONDS
        self._asked = {
            one: recent for one, times in self._asked.items() if (recent := [t for t in times if t > oldest])
        }
        times = self._asked.setdefault(peer, [])
        if len(times) >= ATTEMPTS or len(self._asked) > MAX_ASKING:
            return False
        times.append(trio.current_time())
        return True

    async def _finish(self, peer: ID) -> None:
        """Off the relay, or left alone for a while."""
        if not await self._has_direct(peer):
            self._counts["punch_failed"] += 1
            self._rests_until[peer] = trio.current_time() + REST_SECONDS
            return
        self._counts["punched"] += 1
        await trio.sleep(_LINGER_SECONDS)
        for connection in swarm_of(self._host).get_connections(peer):
            if is_relayed(connection.get_transport_addresses()):
                with trio.move_on_after(_MESSAGE_SECONDS), suppress(Exception):
                    await connection.close()

    async def _has_direct(self, peer: ID) -> bool:
        await trio.lowlevel.checkpoint()
        connections = swarm_of(self._host).get_connections(peer)
        return any(not c.is_closed and not is_relayed(c.get_transport_addresses()) for c in connections)

    async def _own_addresses(self) -> list[bytes]:
        """Where a relay sees us, with the port we listen on."""
        hosts: dict[str, None] = {}
        for relay in self._relays():
            with trio.move_on_after(_MESSAGE_SECONDS / 2), suppress(Exception):
                hosts[await self._seen_by(relay)] = None
        found = [
            Multiaddr(f"/{family}/{host}/tcp/{port}")
            for family, port in self._transport.ports().items()
            for host in hosts
            if (":" in host) == (family == "ip6")
        ]
        return [address.to_bytes() for address in found[:MAX_ADDRESSES]]

    async def _seen_by(self, relay: ID) -> str:
        stream = await self._host.new_stream(relay, [IDENTIFY])
        try:
            told = bytearray()
            with suppress(StreamEOF):
                while len(told) < _MAX_IDENTIFY_BYTES:
                    told += await stream.read(_MAX_IDENTIFY_BYTES)
        finally:
            await close_stream(stream)
        seen = parse_identify_response(bytes(told)).observed_addr
        return parse_address(str(Multiaddr(seen))).host

    async def _dial_at_once(self, peer: ID, addresses: Sequence[Address], *, dialled: bool) -> None:
        """`dialled`: our part in the handshakes; who dialled first has it. Raises PunchFailed."""
        if not addresses:
            raise PunchFailed("no address that could be dialled")

        async def one(address: Address, nursery: trio.Nursery) -> None:
            with suppress(Exception):  # refused, unreachable, somebody else: many classes
                await self._dial(peer, address, dialled=dialled)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + _DIAL_SECONDS
            for address in addresses:
                nursery.start_soon(one, address, nursery)
        if not await self._has_direct(peer):
            raise PunchFailed("no answer")

    async def _dial(self, peer: ID, address: Address, *, dialled: bool) -> None:
        raw = None
        while raw is None:
            try:
                raw = await self._transport.dial_from_port(address, dialled=dialled)
            except ConnectionRefusedError:
                await trio.sleep(_AGAIN_SECONDS)
        try:
            if dialled:
                await self._host.upgrade_outbound_connection(raw, peer)
                return
            there = Multiaddr(f"{address.transport}/p2p/{peer.to_base58()}")
            muxed = await self._host.upgrade_inbound_connection(raw, there)
            if muxed.peer_id != peer:
                await muxed.close()
                raise PunchFailed("somebody else answered")
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(1), suppress(Exception):
                await raw.close()
            raise


def _reachable(said: HolePunch) -> list[Address]:
    """Of what a stranger told: only addresses of the internet, so that nobody makes us knock at doors around us."""
    found: dict[str, Address] = {}
    for octets in said.ObsAddrs[: 4 * MAX_ADDRESSES]:
        with suppress(AddressError, Exception):  # the library's parser raises many classes
            address = parse_address(str(Multiaddr(octets)))
            if address.family in ("ip4", "ip6") and address.is_global and address.port and not address.relay:
                found[address.transport] = address
    return list(found.values())[:MAX_ADDRESSES]

"""The bus over py-libp2p: GossipSub for broadcasts, a stream per catch-up request. One of the files that import libp2p.

Owns the host's configuration and the translation between the library and the port in gossip/bus.py. Who is dialled,
what a frame means and what is kept are none of its business. docs/protocol.md has the parameters that matter to peers.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache

import trio
from libp2p.abc import IHost
from libp2p.custom_types import TProtocol
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from libp2p.pubsub.pb import rpc_pb2
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from gossip.addresses import Address, AddressError, dialable, parse_address, parse_dialable
from gossip.blobs import PROTOCOL as BLOB_PROTOCOL
from gossip.blobs import BlobRequest, BlobSource, OfferedBlobs
from gossip.branches import PROTOCOL as GIT_PROTOCOL
from gossip.branches import BranchSource, NoBranches
from gossip.bus import (
    CLAIMS,
    BusFailed,
    Deliver,
    Keep,
    ListenError,
    PeerDown,
    PeerUnreachable,
    PeerUp,
    Serve,
    in_short,
)
from gossip.catchup import PROTOCOL
from gossip.envelope import MAX_FRAME_BYTES
from gossip.identity import Identity
from gossip.interfaces import ip4_addresses, ip6_addresses
from gossip.libp2p_blobs import BlobStreams
from gossip.libp2p_git import GitStreams
from gossip.libp2p_hardening import SafeGossipSub, SafePubsub, keep_quiet, leave_out_peer_records, tell_new_addresses
from gossip.libp2p_host import build_host, build_pubsub, build_router, swarm_of
from gossip.libp2p_private import WrongSwarm
from gossip.libp2p_punch import Puncher
from gossip.libp2p_relay import Relay
from gossip.libp2p_streams import REQUEST_SECONDS, CatchupStreams
from gossip.libp2p_tcp import open_tcp
from gossip.libp2p_transport import BoundTransport, OpenTransport
from gossip.pipe import Limits
from gossip.refusal import Answer
from gossip.traffic import Traffic

_DIAL_SECONDS = 10.0  # guess
_SILENT_REQUESTS = 2  # so many unanswered in a row: the peer hangs, though its system still acknowledges
_UPKEEP_SECONDS = 5.0
_CLOSE_SECONDS = 3.0  # closing a hung peer can block for ever
_CHANGES_KEPT = 256


class Libp2pBus:
    def __init__(
        self,
        identity: Identity,
        topic: str,
        listen: Sequence[str],
        deliver: Deliver,
        serve: Serve,
        *,
        wall_clock: Callable[[], float],
        blobs: BlobSource | None = None,  # what is given to whoever asks by hash
        branches: BranchSource | None = None,  # what is given to whoever speaks git
        swarm_key: bytes | None = None,  # of a private swarm: nobody without it is talked to
        admits: Callable[[str], bool] = lambda _peer: True,  # who is given blobs, and asked for them
        traffic: Traffic | None = None,  # of the bus before this one, to count on
        open_transport: OpenTransport = open_tcp,
    ) -> None:
        self._identity = identity
        self._topic = topic
        self._listen = tuple(listen)
        self._deliver = deliver
        self._deliver_claim: Deliver | None = None
        self._serve = serve
        self._wall_clock = wall_clock
        self._blobs = blobs or OfferedBlobs()
        self._branches = branches or NoBranches()
        self._swarm_key = swarm_key
        self._admits = admits
        self.traffic = traffic or Traffic()
        self._open_transport = open_transport
        self._transport: BoundTransport | None = None
        self._relay: Relay | None = None
        self._reached: dict[str, str] = {}  # where a connected peer was dialled
        self._send_change, self.changes = trio.open_memory_channel[PeerUp | PeerDown](_CHANGES_KEPT)
        self._listening: tuple[str, ...] = ()
        self._peers: tuple[str, ...] = ()
        self._counts: Counter[str] = Counter()
        self._silent: Counter[str] = Counter()
        self._host: IHost | None = None
        self._pubsub: SafePubsub | None = None
        self._streams: CatchupStreams | None = None
        self._blob_streams: BlobStreams | None = None
        self._git_streams: GitStreams | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def peer_id(self) -> str:
        return self._identity.peer_id

    @property
    def listening(self) -> tuple[str, ...]:
        """The addresses that were bound, with their real ports, wildcards as they are."""
        return self._listening

    def hear_claims(self, deliver: Deliver) -> None:
        self._deliver_claim = deliver

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        keep_quiet()
        leave_out_peer_records()
        self._transport = transport = await self._open_transport(self._listen, self._swarm_key)
        self._listening = transport.listening
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = transport.nursery = nursery
                await self._run_host(transport, task_status)
        except BaseExceptionGroup as group:
            _, not_errors = group.split(Exception)
            if not_errors is not None:  # we were cancelled; what else broke on the way out does not matter
                raise not_errors from None
            raise BusFailed(f"networking broke: {in_short(group)}") from group
        except (ListenError, BusFailed):
            raise
        except Exception as error:  # anything the library raises ends the bus, and only the bus
            raise BusFailed(f"networking broke: {in_short(error)}") from error
        finally:
            self._close()
            transport.close_sockets()

    async def publish(self, frame: bytes) -> None:
        if len(frame) > MAX_FRAME_BYTES:
            raise ValueError(f"frame of {len(frame)} bytes; more than {MAX_FRAME_BYTES} would be dropped in silence")
        if self._pubsub is None:
            raise BusFailed("networking is not running")
        self._counts["published"] += 1
        await self._pubsub.publish(self._topic, frame)

    async def publish_claim(self, frame: bytes) -> None:
        if self._pubsub is None:
            raise BusFailed("networking is not running")
        if self._deliver_claim is not None:
            await self._pubsub.publish(self._topic + CLAIMS, frame)

    async def request(self, peer: str, message: bytes) -> bytes:
        with trio.move_on_after(REQUEST_SECONDS):
            if self._streams is None or peer not in self.connected():
                raise PeerUnreachable(f"peer {peer} is not connected")
            reply = await self._streams.request(peer, message)
            self._silent.pop(peer, None)
            return reply
        self._silent[peer] += 1
        if self._silent[peer] >= _SILENT_REQUESTS:
            self._counts["dropped_silent"] += 1
            self.drop(peer)
        raise PeerUnreachable(f"peer {peer} did not answer within {REQUEST_SECONDS:.0f} s")

    async def fetch(self, peer: str, blob: BlobRequest, limit_bytes: int, keep: Keep) -> int:
        if self._blob_streams is None or peer not in self.connected():
            raise PeerUnreachable(f"peer {peer} is not connected")
        return await self._blob_streams.fetch(peer, blob, limit_bytes, keep)

    async def join(self, peer: str, names: Sequence[str], local: trio.abc.HalfCloseableStream, limits: Limits) -> int:
        if self._git_streams is None or peer not in self.connected():
            raise PeerUnreachable(f"peer {peer} is not connected")
        return await self._git_streams.join(peer, names, local, limits)

    async def dial(self, address: str) -> None:
        try:
            target = parse_dialable(address)
        except AddressError as error:
            raise PeerUnreachable(str(error)) from None
        if target.peer == self.peer_id or target.peer in self.connected():
            return
        with trio.move_on_after(_DIAL_SECONDS):
            try:
                await self._connect(target)
            except Exception as error:  # the library's dial raises many classes; all mean "not now"
                raise PeerUnreachable(f"no connection to {address}: {_why_not(error)}") from None
            self._counts["dialled"] += 1
            return
        raise PeerUnreachable(f"no connection to {address} within {_DIAL_SECONDS:.0f} s")

    async def _connect(self, target: Address) -> None:
        peer = ID.from_base58(target.peer)
        if target.relay and self._relay is not None:
            await self.dial(target.relay)
            await self._relay.dial(ID.from_base58(parse_dialable(target.relay).peer), peer)
            return
        # One address, straight: dial_peer would wait 250 ms after success and refuse for 60 s after a failure.
        await self._swarm().dial_addr(Multiaddr(str(target)), peer)
        self._reached[target.peer] = str(target)

    def drop(self, peer: str) -> None:
        async def close() -> None:
            with trio.move_on_after(_CLOSE_SECONDS), suppress(Exception):
                await self._swarm().close_peer(ID.from_base58(peer))

        self._silent.pop(peer, None)
        if self._nursery is not None and peer in self.connected():
            self._counts["dropped"] += 1
            self._nursery.start_soon(close)

    def peers(self) -> tuple[str, ...]:
        return self._peers

    def connected(self) -> tuple[str, ...]:
        if self._host is None:
            return ()
        return tuple(sorted(peer.to_base58() for peer in self._host.get_connected_peers()))

    def peer_addresses(self, peer: str) -> tuple[str, ...]:
        if self._host is None:
            return ()
        try:
            known = self._host.get_peerstore().addrs(ID.from_base58(peer))
        except PeerStoreError:
            return ()
        plain = [_text(address).removesuffix(f"/p2p/{peer}") for address in known[:16]]
        return dialable([f"{address}/p2p/{peer}" for address in plain])

    def addresses(self) -> tuple[str, ...]:
        return tuple(f"{transport}/p2p/{self.peer_id}" for transport in self._transports())

    def statistics(self) -> dict[str, int]:
        counts = Counter(self._counts)
        if self._transport is not None:
            counts.update(self._transport.counts)
        counts.update(self._of_pubsub())
        return dict(sorted(counts.items()))

    def _of_pubsub(self) -> dict[str, int]:
        pubsub = self._pubsub
        if pubsub is None:
            return {}
        counts = {f"survived_{name}": number for name, number in pubsub.survived.items()}
        return counts | {"claims_in": pubsub.messages_in[self._topic + CLAIMS]}

    # --- the host ---

    async def _run_host(self, transport: BoundTransport, task_status: trio.TaskStatus[None]) -> None:
        router = build_router()
        seed = self._identity.seed
        host = build_host(seed, transport, lambda: [Multiaddr(address) for address in self._transports()])
        self._host = host
        hears = {self._topic: self._deliver}
        if self._deliver_claim is not None:
            hears[self._topic + CLAIMS] = self._deliver_claim
        self._pubsub = pubsub = build_pubsub(host, router, hears, self._compare_peers, self.traffic)
        pubsub.counter = int(self._wall_clock() * 1e9)  # from seconds, a restart would repeat sequence numbers
        for topic, deliver in hears.items():
            pubsub.set_topic_validator(topic, self._validator(deliver), is_async_validator=False)  # async: twice
        self._streams = CatchupStreams(host, self._serve, self._counts, self.traffic)
        host.set_stream_handler(TProtocol(PROTOCOL), self._streams.answer)
        punch = Puncher(host, transport, self._counts, self._relays).punch
        self._relay = Relay(
            host, self._counts, self._wall_clock, lambda peer: transport.nursery.start_soon(punch, peer)
        )
        self._blob_streams = BlobStreams(host, self._blobs, self._counts, self.traffic, self._admits)
        host.set_stream_handler(TProtocol(BLOB_PROTOCOL), self._blob_streams.answer)
        self._git_streams = GitStreams(host, self._branches, self._counts, self.traffic, self._admits)
        host.set_stream_handler(TProtocol(GIT_PROTOCOL), self._git_streams.answer)
        # Pubsub first: a stream that arrives before it runs ends the host.
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            async with host.run(listen_addrs=[Multiaddr(address) for address in self._listening]):
                for topic in hears:
                    await pubsub.subscribe(topic)
                task_status.started()
                async with trio.open_nursery() as nursery:
                    await self._keep_up(host, nursery, pubsub, router)

    async def _keep_up(self, host: IHost, nursery: trio.Nursery, pubsub: SafePubsub, router: SafeGossipSub) -> None:
        told = self.addresses()
        while True:
            await trio.sleep(_UPKEEP_SECONDS)
            router.recent_message_deliveries.clear()  # grows for ever otherwise
            pubsub.seen.sweep()
            for peer in self._swarm().get_connections_map():
                pubsub.register_again(peer)
            self._compare_peers()
            if self._relay is not None:
                nursery.start_soon(self._keep_reserved, self._relay)
            before, told = told, self.addresses()
            if set(told) != set(before):
                self._counts["addresses_changed"] += 1
                nursery.start_soon(tell_new_addresses, host)

    async def _keep_reserved(self, relay: Relay) -> None:
        """Behind a NAT: a place at peers that everybody can dial."""
        connected = self.connected()
        self._reached = {peer: address for peer, address in self._reached.items() if peer in connected}
        if any(everybody_reaches(parse_address(transport)) for transport in self._listened()):
            return
        await relay.keep_reserved(relay.offered_by(self._relays()))

    def _relays(self) -> list[ID]:
        """Connected peers that everybody can dial."""
        return [ID.from_base58(peer) for peer in self.connected() if self._relay_addresses(peer)]

    def _relay_addresses(self, peer: str) -> list[str]:
        """Where everybody can dial `peer`, so that it can introduce others."""
        known = [*([self._reached[peer]] if peer in self._reached else []), *self.peer_addresses(peer)]
        return [text for text in dict.fromkeys(known) if everybody_reaches(parse_dialable(text))][:2]

    def _close(self) -> None:
        self._counts.update(self._of_pubsub())  # it is asked what it counted after its end, too
        self._host = self._relay = self._pubsub = self._streams = self._nursery = None
        self._blob_streams = self._git_streams = None
        self._peers = ()

    def _validator(self, deliver: Deliver) -> Callable[[ID, rpc_pb2.Message], bool]:
        def passes(forwarder: ID, message: rpc_pb2.Message) -> bool:
            sender = forwarder.to_base58()
            if sender == self.peer_id:
                return True
            try:
                return deliver(sender, message.data) is Answer.ACCEPT
            except Exception:  # an exception in a validator ends the host
                self._counts["deliver_failed"] += 1
                return False

        return passes

    def _compare_peers(self) -> None:
        pubsub = self._pubsub
        if pubsub is None:
            return
        subscribed = pubsub.peer_topics.get(self._topic, set[ID]())
        now = tuple(sorted(peer.to_base58() for peer in subscribed if peer in pubsub.peers))
        before, self._peers = self._peers, now
        for peer in before:
            if peer not in now:
                self._tell(PeerDown(peer))
        for peer in now:
            if peer not in before:
                self._tell(PeerUp(peer))

    def _tell(self, change: PeerUp | PeerDown) -> None:
        try:
            self._send_change.send_nowait(change)
        except trio.WouldBlock:
            with suppress(trio.WouldBlock):
                self.changes.receive_nowait()
            self._send_change.send_nowait(change)

    def _transports(self) -> tuple[str, ...]:
        """Where others can dial us now: where we listen, and through the relays that keep a place for us."""
        relays = self._relay.reserved if self._relay is not None else ()
        circuits = (f"{a}/p2p-circuit" for relay in relays for a in self._relay_addresses(relay.to_base58()))
        return (*self._listened(), *circuits)

    def _listened(self) -> tuple[str, ...]:
        """A wildcard address becomes the addresses the machine has now."""
        return tuple(concrete for listening in self._listening for concrete in _concrete(parse_address(listening)))

    def _swarm(self) -> Swarm:
        if self._host is None:
            raise BusFailed("networking is not running")
        return swarm_of(self._host)


@lru_cache(maxsize=1024)
def _text(address: Multiaddr) -> str:
    """The library makes it anew each time, and every few seconds all of them are looked at (measured: a tenth of an
    idle node's computing)."""
    return str(address)


def _why_not(error: BaseException) -> str:
    """Why a dial failed. The library wraps what the transport said into words that say nothing."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, WrongSwarm):
            return str(inner)
        inner = inner.__cause__
    return in_short(error)


def everybody_reaches(address: Address) -> bool:
    return not address.relay and address.is_global


def _concrete(listening: Address) -> tuple[str, ...]:
    if not listening.is_wildcard:
        return (listening.transport,)
    hosts = ip4_addresses() if listening.family == "ip4" else ip6_addresses()
    return tuple(Address(listening.family, host, listening.port).transport for host in hosts)

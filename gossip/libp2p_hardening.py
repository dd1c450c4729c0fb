"""What py-libp2p 0.8.1 needs before strangers may talk to it. One of the files that import libp2p.

As it comes, one malformed frame from a connected peer ends the process, inbound slots are never given back, and every
RPC carries a signed peer record that is built and verified anew. Each change here names what breaks without it. Knows
nothing of topics or records.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import trio
from libp2p.abc import IHost, INetStream
from libp2p.identity.identify_push.identify_push import ID_PUSH as PUSH
from libp2p.identity.identify_push.identify_push import identify_push_handler_for, push_identify_to_peers
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from libp2p.pubsub import gossipsub as gossipsub_module
from libp2p.pubsub import pubsub as pubsub_module
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from gossip.libp2p_seen import SeenMessages
from gossip.traffic import Kind, Traffic

OUT_QUEUE_RPCS = 256  # per peer; the library's 32 drops two thirds of a burst of 50 in silence (measured)
MAX_HANDSHAKES = 256  # inbound connections that have not proven who they are
MAX_ADDRESSES_OF_A_PEER = 32
_ADDRESS_SECONDS = 3600  # the address book keeps them longer
_TELL_SECONDS = 20.0
_READ_BYTES = 64 * 1024
_GOODBYE_SECONDS = 2.0  # for the last bytes of a connection that is closing


def keep_quiet() -> None:
    """Nothing of the library may print: ordinary dial races are errors to it, and it logs some of them to the root
    logger, whose first message would otherwise install a handler that writes to the terminal."""
    library = logging.getLogger("libp2p")
    library.setLevel(logging.ERROR)
    library.propagate = False
    for logger in (library, logging.getLogger()):
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def leave_out_peer_records() -> None:
    """The library builds and signs a peer record for every RPC it sends: half of its CPU time (measured). We exchange
    addresses otherwise. `SafePubsub.write_msg` takes the empty record off again."""

    def no_record(_host: IHost) -> tuple[bytes, bool]:
        return b"", False

    for module in (gossipsub_module, pubsub_module):
        vars(module)["env_to_send_in_RPC"] = no_record


class SafePubsub(Pubsub):
    """Pubsub that survives what peers send. Without it any undecodable RPC ends host and process."""

    def __init__(
        self, host: IHost, router: "SafeGossipSub", *, on_change: Callable[[], None], traffic: Traffic, **options: Any
    ) -> None:
        super().__init__(host, router, **options)
        self.seen_messages.stop()
        self.seen_messages = self.seen = SeenMessages(self.seen_messages.ttl)
        self._traffic = traffic
        self.survived: Counter[str] = Counter()
        self.messages_in: Counter[str] = Counter()  # by topic of ours, each time that one comes
        self._on_change = on_change

    async def continuously_read_stream(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id.to_base58()
        try:
            await super().continuously_read_stream(cast("INetStream", _BufferedStream(stream, peer, self._traffic)))
        except Exception:  # whatever a stranger's bytes make the library raise ends his stream and nothing else
            self.survived["pubsub_stream"] += 1
            with suppress(Exception):
                await stream.reset()
            self._handle_dead_peer(stream.muxed_conn.peer_id)

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        if msg_forwarder != self.my_id:
            self._traffic.received(msg_forwarder.to_base58(), Kind.BROADCAST, messages=1)
            self.messages_in.update(topic for topic in msg.topicIDs if topic in self.topic_validators)
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception:  # for example a message whose key does not decode: fatal to the library
            self.survived["pubsub_message"] += 1

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Nothing: the validator delivers. The library's channel holds 32 and drops the newest in silence."""

    def get_hello_packet(self) -> rpc_pb2.RPC:
        packet = super().get_hello_packet()
        packet.ClearField("senderRecord")  # an empty record is an invalid one to the reader
        return packet

    async def write_msg(self, stream: INetStream, rpc_msg: rpc_pb2.RPC) -> bool:
        rpc_msg.ClearField("senderRecord")
        written = await super().write_msg(stream, rpc_msg)
        if written:
            peer = stream.muxed_conn.peer_id.to_base58()
            self._traffic.sent(peer, Kind.BROADCAST, rpc_msg.ByteSize(), len(rpc_msg.publish))
        return written

    async def _handle_new_peer(self, peer_id: ID) -> None:
        if self._left_dead_stream(peer_id):
            return
        await super()._handle_new_peer(peer_id)
        queue = self.peer_queues.get(peer_id)
        if queue is not None:
            cast("Any", queue)._queue.max_size = OUT_QUEUE_RPCS  # Any: private, and there is no argument for it
            self._traffic.sent(peer_id.to_base58(), Kind.BROADCAST, self.get_hello_packet().ByteSize())
        self._on_change()

    def handle_subscription(self, origin_id: ID, sub_message: rpc_pb2.RPC.SubOpts) -> None:
        super().handle_subscription(origin_id, sub_message)
        self._on_change()

    def _handle_dead_peer(self, peer_id: ID) -> None:
        super()._handle_dead_peer(peer_id)
        self._on_change()

    def register_again(self, peer_id: ID) -> None:
        """For a connected peer whose stream could not be opened at first; the library gives up on some errors."""
        if not self._left_dead_stream(peer_id) and peer_id not in self.peers:
            self._schedule_peer_stream_retry(peer_id)

    async def handle_dead_peer_queue(self) -> None:
        """A connection has ended. As it comes, nothing is done while the peer has another one, not even if the stream
        that we write to was on the one that ended."""
        async with self.dead_peer_receive_channel:
            self.event_handle_dead_peer_queue_started.set()
            async for peer_id in self.dead_peer_receive_channel:
                if not self._peer_is_connected(peer_id):
                    self._handle_dead_peer(peer_id)
                else:
                    self._left_dead_stream(peer_id)

    def _left_dead_stream(self, peer_id: ID) -> bool:
        """Whether the stream to a peer was on a connection that has ended; then a new one is opened on a live one.

        A peer that was killed and is back at once, before its old connection is cleared away, would never hear us
        again: the library keeps the old stream (measured: restarts within 0.3 s)."""
        stream = self.peers.get(peer_id)
        if stream is None or not stream.muxed_conn.is_closed:
            return False
        topics = [topic for topic, peers in self.peer_topics.items() if peer_id in peers]
        self._handle_dead_peer(peer_id)  # which has a new stream opened if the peer is connected
        for topic in topics:  # said on a live connection, perhaps; it would not be said again
            self.peer_topics.setdefault(topic, set()).add(peer_id)
        self.survived["stream_left_behind"] += 1
        return True


class SafeGossipSub(GossipSub):
    """The router's hooks run as tasks of the pubsub service, where an exception ends everything."""

    async def flush_pending_messages(self, peer_id: ID) -> None:
        with suppress(Exception):
            await super().flush_pending_messages(peer_id)

    async def on_peer_subscribed(self, peer_id: ID, topic: str) -> None:
        with suppress(Exception):
            await super().on_peer_subscribed(peer_id, topic)


class _BufferedStream:
    """A stream read in large pieces. The library reads length prefixes byte by byte, a window update for each."""

    def __init__(self, stream: INetStream, peer: str, traffic: Traffic) -> None:
        self._stream = stream
        self._peer, self._traffic = peer, traffic
        self._buffer = bytearray()

    async def read(self, n: int) -> bytes:
        if not self._buffer:
            self._buffer += await self._stream.read(_READ_BYTES)
            self._traffic.received(self._peer, Kind.BROADCAST, len(self._buffer))
        taken = bytes(self._buffer[:n])
        del self._buffer[:n]
        return taken

    def __getattr__(self, name: str) -> Any:  # Any: stands in for every other part of the stream
        return getattr(self._stream, name)


def guard_streams(swarm: Swarm, serve: Callable[[INetStream], Awaitable[None]], survived: Counter[str]) -> None:
    """Install `serve` for inbound streams of any protocol. An exception in it would end the host."""

    async def guarded(stream: INetStream) -> None:
        try:
            await serve(stream)
        except Exception:
            survived["stream"] += 1
            with suppress(Exception):
                await stream.reset()

    swarm.set_stream_handler(guarded)


def free_inbound_slots(swarm: Swarm, survived: Counter[str]) -> None:
    """As it comes, every inbound connection holds its slot and a task until the host stops, so that after 250 of them
    no peer gets in any more. Here a slot is held for the handshake only; live connections are bounded by the
    connection config."""
    handshakes = 0

    async def accept(stream: ReadWriteCloser, address: Multiaddr) -> None:
        nonlocal handshakes
        connection = RawConnection(stream, False)
        if handshakes >= MAX_HANDSHAKES:
            survived["handshakes_full"] += 1
            await connection.close()
            return
        handshakes += 1
        try:
            muxed = await swarm.upgrade_inbound_raw_conn(connection, address)
        except Exception:  # a stranger who speaks no libp2p, or left
            survived["handshake"] += 1
            with suppress(Exception):
                await connection.close()
            return
        finally:
            handshakes -= 1
        await _until_closed(cast("Yamux", muxed))  # trio closes the socket when the one who accepted it returns

    swarm._handle_inbound_connection = accept  # type: ignore[method-assign]


async def _until_closed(muxed: Yamux) -> None:
    await muxed.event_shutting_down.wait()
    with trio.move_on_after(_GOODBYE_SECONDS):
        await muxed.event_closed.wait()


def bound_pushed_addresses(host: IHost) -> None:
    """A peer that tells its addresses again replaces what it said before. As it comes, the new ones are added to the
    old ones, and a peer that goes on telling fills the memory."""
    receive = identify_push_handler_for(host)

    async def replace(stream: INetStream) -> None:
        store, peer = host.get_peerstore(), stream.muxed_conn.peer_id
        before = _addresses_of(host, peer)
        with suppress(PeerStoreError):
            store.clear_addrs(peer)
        await receive(stream)
        said = _addresses_of(host, peer)
        with suppress(PeerStoreError):
            store.clear_addrs(peer)
        store.add_addrs(peer, (said or before)[:MAX_ADDRESSES_OF_A_PEER], _ADDRESS_SECONDS)

    host.set_stream_handler(PUSH, replace)


async def tell_new_addresses(host: IHost) -> None:
    """To everyone who is connected; the library does not by itself."""
    with trio.move_on_after(_TELL_SECONDS), suppress(Exception):
        await push_identify_to_peers(host)


def _addresses_of(host: IHost, peer: ID) -> list[Multiaddr]:
    try:
        return list(host.get_peerstore().addrs(peer))
    except PeerStoreError:
        return []

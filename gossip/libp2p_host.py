"""A libp2p host and its pubsub, configured so that both can be trusted with strangers. One of those that import libp2p.

Every setting that differs from the library's default says what the default does. docs/protocol.md has those that peers
have to agree on.
"""

from collections.abc import Callable, Collection

from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_new_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.swarm import Swarm
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from gossip.libp2p_connections import never_dial_by_itself, prefer_newest
from gossip.libp2p_hardening import (
    SafeGossipSub,
    SafePubsub,
    bound_pushed_addresses,
    free_inbound_slots,
    guard_streams,
)
from gossip.libp2p_transport import BoundTransport
from gossip.traffic import Traffic

_MESHSUB = [TProtocol("/meshsub/1.1.0"), TProtocol("/meshsub/1.0.0")]  # 1.2 costs twice the CPU (measured)
_MAX_CONNECTIONS = 1000


def swarm_of(host: IHost) -> Swarm:
    swarm = host.get_network()
    assert isinstance(swarm, Swarm)
    return swarm


def build_host(seed: bytes, transport: BoundTransport, addresses: Callable[[], list[Multiaddr]]) -> IHost:
    keys = create_new_key_pair(seed)
    host = new_host(
        key_pair=keys,
        # Noise alone: the default also offers plaintext, where anyone can claim any peer id (measured).
        sec_opt={NOISE: NoiseTransport(keys, noise_privkey=create_new_x25519_key_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
        transports=[transport],
        connection_config=ConnectionConfig(
            min_connections=0,
            low_watermark=0,
            high_watermark=_MAX_CONNECTIONS,
            max_connections=_MAX_CONNECTIONS,
            max_connections_per_peer=2,  # both sides may dial at once
        ),
        addrs_factory=lambda _candidates: addresses(),
        disable_identify_address_discovery=True,  # what strangers say of our address is not passed on
    )
    swarm_of(host).retry_config = RetryConfig(max_retries=0)  # the service decides when to dial again
    never_dial_by_itself(swarm_of(host))
    prefer_newest(swarm_of(host))
    bound_pushed_addresses(host)
    own = Multiaddr(f"/p2p/{host.get_id().to_base58()}")
    # As it comes, it takes the relay's /p2p/ out of an address that leads through a relay.
    host.get_addrs = lambda: [address.encapsulate(own) for address in addresses()]  # type: ignore[method-assign]
    return host


def build_router() -> SafeGossipSub:
    return SafeGossipSub(
        protocols=_MESHSUB,
        degree=6,
        degree_low=4,
        degree_high=64,  # a pruned pair is also left out of gossip for the back-off: never prune
        heartbeat_initial_delay=0.1,
        heartbeat_interval=1,
        gossip_window=6,
        gossip_history=12,
        time_to_live=60,
        do_px=False,
        prune_back_off=5,
        unsubscribe_back_off=5,
        adaptive_gossip_enabled=False,  # stretches the heartbeat to 30 s
        spam_protection_enabled=False,  # 10 messages/s per forwarder; admission limits by author
        eclipse_protection_enabled=False,
    )


def build_pubsub(
    host: IHost, router: SafeGossipSub, topics: Collection[str], on_change: Callable[[], None], traffic: Traffic
) -> SafePubsub:
    pubsub = SafePubsub(
        host,
        router,
        on_change=on_change,
        traffic=traffic,
        strict_signing=True,
        seen_ttl=600,  # seconds
        max_inbound_rpc_size=1 << 20,
        allowed_topics=set(topics),
    )
    swarm = swarm_of(host)
    guard_streams(swarm, swarm.common_stream_handler, pubsub.survived)
    free_inbound_slots(swarm, pubsub.survived)
    return pubsub

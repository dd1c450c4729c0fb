"""Buses over py-libp2p, one after another: the service makes a new one when the library has failed."""

from collections.abc import Callable, Sequence

from gossip.blobs import BlobSource
from gossip.branches import BranchSource
from gossip.bus import BusFactory, Deliver, Serve
from gossip.identity import Identity
from gossip.libp2p_bus import Libp2pBus
from gossip.libp2p_tcp import open_tcp
from gossip.libp2p_transport import OpenTransport


def libp2p_bus_factory(
    identity: Identity,
    topic: str,
    listen: Sequence[str],
    *,
    wall_clock: Callable[[], float],
    blobs: BlobSource | None = None,
    branches: BranchSource | None = None,
    swarm_key: bytes | None = None,
    admits: Callable[[str], bool] = lambda _peer: True,
    open_transport: OpenTransport = open_tcp,
) -> BusFactory:
    """Buses one after another. A later one listens where the first did, also if the system chose the port."""
    last: Libp2pBus | None = None

    def make(deliver: Deliver, serve: Serve) -> Libp2pBus:
        nonlocal last
        where = (last.listening if last is not None else ()) or tuple(listen)
        last = Libp2pBus(
            identity,
            topic,
            where,
            deliver,
            serve,
            wall_clock=wall_clock,
            blobs=blobs,
            branches=branches,
            swarm_key=swarm_key,
            admits=admits,
            traffic=None if last is None else last.traffic,
            open_transport=open_transport,
        )
        return last

    return make

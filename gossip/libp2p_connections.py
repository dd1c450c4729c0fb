"""Which connections there are, and which of them is used, is our choice. One of the files that import libp2p.

Each change here names what py-libp2p 0.8.1 does without it.
"""

from libp2p.abc import INetConn
from libp2p.connection_types import ConnectionType
from libp2p.network.swarm import Swarm


def never_dial_by_itself(swarm: Swarm) -> None:
    """The library's auto-connector cannot be turned off by its settings and dials what it likes; the service dials."""

    async def nothing() -> None:
        return

    swarm.auto_connector.maybe_connect = nothing  # type: ignore[method-assign]


def prefer_newest(swarm: Swarm) -> None:
    """Of two equal connections with a peer the newer one is used, as go-libp2p does. As it comes, the one that lies
    higher in memory is, which no run repeats."""

    def best(connections: list[INetConn]) -> INetConn:
        order = range(len(connections))
        return connections[max(order, key=lambda n: (_is_direct(connections[n]), len(connections[n].get_streams()), n))]

    swarm._best_connection = best  # type: ignore[method-assign]


def _is_direct(connection: INetConn) -> bool:
    return connection.get_connection_type() == ConnectionType.DIRECT

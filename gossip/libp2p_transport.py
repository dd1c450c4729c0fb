"""What the bus needs of a transport beyond libp2p's own port. One of the files that import libp2p.

Two are there: TCP (gossip/libp2p_tcp.py), and cables in memory for simulations (gossip/libp2p_memory.py).
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import trio
from libp2p.abc import ITransport
from libp2p.network.connection.raw_connection import RawConnection

from gossip.addresses import Address


class BoundTransport(ITransport):
    """Bound before the host starts, so that its addresses are known; it belongs to one life of one bus."""

    counts: Counter[str]
    nursery: trio.Nursery  # where connections are accepted; set before the host starts

    @property
    @abstractmethod
    def listening(self) -> tuple[str, ...]:
        """Addresses with their real ports, wildcards as they are."""

    @abstractmethod
    def ports(self) -> dict[str, int]:
        """Where we listen, by family: ip4, ip6."""

    @abstractmethod
    async def dial_from_port(self, address: Address, *, dialled: bool) -> RawConnection:
        """As if this came from where we listen, for hole punching. The handshakes' parts are agreed beforehand: with
        `dialled` ours is that of who dials. Raises OSError, and OpenConnectionError for one without the swarm's key."""

    @abstractmethod
    def close_sockets(self) -> None:
        """When the host is gone. A cancelled host leaves the sockets it dialled open."""


OpenTransport = Callable[[Sequence[str], bytes | None], Awaitable[BoundTransport]]
"""(listen addresses, key of a private swarm) -> a transport that is bound there. Raises ListenError."""

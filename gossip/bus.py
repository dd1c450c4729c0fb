"""The port to the network: what the service needs of it, and nothing of how it is done.

A bus belongs to one topic. It runs until cancelled; whatever breaks inside ends `run` with BusFailed, nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import trio

from gossip.refusal import Answer, GossipError

Deliver = Callable[[str, bytes], Answer]
"""(forwarder, frame) -> what becomes of it. Called once for each broadcast frame that arrives; sync, never raises."""

Serve = Callable[[str, bytes], bytes]
"""(peer, request) -> answer to a catch-up request. Raises Refused when there is none; then the stream is reset."""


class BusFailed(GossipError):
    """The bus broke and has to be started anew."""


class ListenError(GossipError):
    """A listen address cannot be used. Trying again does not help; the person has to choose another one."""


class PeerUnreachable(GossipError):
    """A dial or a request came to nothing. Normal life of a network."""


class PeerIncompatible(PeerUnreachable):
    """A peer is there but speaks another version of the protocol."""

    def __init__(self, peer: str, protocols: tuple[str, ...]) -> None:
        self.peer = peer
        self.protocols = protocols
        spoken = ", ".join(protocols) or "none of ours"
        super().__init__(f"peer {peer} speaks another protocol version ({spoken}): update research-swarm on one side")


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A connected peer subscribed to the topic: frames published from now on reach it."""

    peer: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    peer: str


class Bus(Protocol):
    @property
    def peer_id(self) -> str: ...

    @property
    def changes(self) -> trio.MemoryReceiveChannel[PeerUp | PeerDown]:
        """Peers of the topic coming and going. Bounded: the oldest news may be lost, peers() is the truth."""
        ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and take part until cancelled. Raises ListenError or BusFailed."""
        ...

    async def publish(self, frame: bytes) -> None:
        """Broadcast. Best effort: no word on who got it."""
        ...

    async def request(self, peer: str, message: bytes) -> bytes:
        """One catch-up request on a stream of its own. Raises PeerUnreachable, PeerIncompatible."""
        ...

    async def dial(self, address: str) -> None:
        """Connect to a multiaddr with its peer id. Raises PeerUnreachable."""
        ...

    def drop(self, peer: str) -> None:
        """Close whatever connects us with a peer, soon. Nothing happens if nothing does."""
        ...

    def peers(self) -> tuple[str, ...]:
        """Connected peers of the topic, sorted."""
        ...

    def connected(self) -> tuple[str, ...]:
        """All connected peers, of the topic or not, sorted."""
        ...

    def peer_addresses(self, peer: str) -> tuple[str, ...]:
        """Where a peer says that it listens, with its peer id."""
        ...

    def addresses(self) -> tuple[str, ...]:
        """Where we listen, with our peer id. Real ports, also when listening on port 0."""
        ...

    def statistics(self) -> dict[str, int]: ...


BusFactory = Callable[[Deliver, Serve], Bus]


def innermost(error: BaseException) -> BaseException:
    """The first concrete cause inside groups."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def in_short(error: BaseException) -> str:
    cause = innermost(error)
    return f"{type(cause).__name__}: {str(cause)[:200]}" if str(cause) else type(cause).__name__

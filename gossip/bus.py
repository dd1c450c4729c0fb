"""The port to the network: what the service needs of it, and nothing of how it is done.

A bus belongs to one topic. It runs until cancelled; whatever breaks inside ends `run` with BusFailed, nothing else.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import trio

from gossip.blobs import BlobRequest
from gossip.refusal import Answer, GossipError
from gossip.traffic import Traffic

if TYPE_CHECKING:
    from gossip.pipe import Limits  # which raises what is defined here

Deliver = Callable[[str, bytes], Answer]
"""(forwarder, what it sent) -> what becomes of it. Called once for each broadcast that arrives; sync, never raises."""

CLAIMS = "/claims"
"""What follows a topic's name in that of its broadcast of claims: who has no use for them does not subscribe."""

Serve = Callable[[str, bytes], bytes]
"""(peer, request) -> answer to a catch-up request. Raises Refused when there is none; then the stream is reset."""


Keep = Callable[[bytes], Awaitable[None]]
"""Takes the next bytes of a blob. What it raises ends the fetching and comes out of it."""


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


class BlobAbsent(PeerUnreachable):
    """A peer does not have a blob or a branch, or does not offer it."""

    def __init__(self, peer: str) -> None:
        super().__init__(f"peer {peer} does not have it")


class BlobTooLarge(PeerUnreachable):
    """A peer says that a blob has another size than it can have."""

    def __init__(self, peer: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"peer {peer} announces {size_bytes} bytes, at most {limit_bytes} are taken")


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

    def hear_claims(self, deliver: Deliver) -> None:
        """Also take part in the topic's broadcast of claims. Before `run`; without it none come and none are sent."""
        ...

    async def publish_claim(self, frame: bytes) -> None:
        """Broadcast a claim. Best effort."""
        ...

    async def request(self, peer: str, message: bytes) -> bytes:
        """One catch-up request on a stream of its own. Raises PeerUnreachable, PeerIncompatible."""
        ...

    async def fetch(self, peer: str, blob: BlobRequest, limit_bytes: int, keep: Keep) -> int:
        """A blob of a peer from an offset on, given to `keep` as it comes; nothing of it has been verified.

        Returns the size of the whole blob, at most `limit_bytes`. Raises PeerUnreachable, PeerIncompatible, BlobAbsent,
        BlobTooLarge; what came before is kept.
        """
        ...

    async def join(self, peer: str, names: Sequence[str], local: trio.abc.HalfCloseableStream, limits: "Limits") -> int:
        """Let `local`, the side of a git here, talk with a peer's upload-pack about branches, all if none is named.

        Returns how many bytes came. Raises PeerUnreachable, PeerIncompatible, BlobAbsent, TooMuch, LocalEnd. Time is
        the caller's.
        """
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

    @property
    def traffic(self) -> Traffic:
        """What was said with whom, by this bus or by those before it."""
        ...


BusFactory = Callable[[Deliver, Serve], Bus]


def innermost(error: BaseException) -> BaseException:
    """The first concrete cause inside groups."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def in_short(error: BaseException) -> str:
    cause = innermost(error)
    return f"{type(cause).__name__}: {str(cause)[:200]}" if str(cause) else type(cause).__name__

"""A network that is not there: how long bytes are under way between two peers, what is lost, who is cut off from whom.

Owns what both networks in memory have in common, so that the same faults act on either: the bus in gossip/memory_bus.py
and the cables below libp2p in gossip/memory_cables.py. Who runs, and who is connected with whom, is theirs.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import trio

from gossip.addresses import Address

_ADDRESSES_FROM = 10_000  # port of the first peer
_RETRY_SECONDS = 0.2  # Linux: the shortest time until TCP sends again; doubles
_RETRIES = 8  # then it comes anyhow: a connection that gives up is a partition's business


@dataclass(frozen=True, slots=True)
class Line:
    """What joins one peer to the network. A link is as slow, and loses as much, as both its ends together."""

    latency_seconds: float = 0.0
    loss: float = 0.0  # share of broadcast frames; of what libp2p writes, where there are cables
    bytes_per_second: float = math.inf


@dataclass
class NetworkModel:
    rng: Random
    latency_seconds: float = 0.005
    loss: float = 0.0  # share that a link loses, of what Line.loss says
    grid_seconds: float = 0.0  # what is sent arrives at whole multiples of it; 0: whenever it does
    lines: dict[str, Line] = field(default_factory=dict[str, Line])  # of peers that have one of their own
    _group_of: dict[str, int] = field(default_factory=dict[str, int], init=False)
    _addresses: dict[str, str] = field(default_factory=dict[str, str], init=False)

    def address(self, peer_id: str) -> str:
        known = self._addresses.get(peer_id)
        if known is None:
            port = _ADDRESSES_FROM + len(self._addresses)
            known = self._addresses[peer_id] = str(Address("ip4", "127.0.0.1", port, peer_id))
        return known

    def peer_at(self, transport: str) -> str:
        """Whose address that is. Raises ConnectionRefusedError."""
        for address in self._addresses.values():
            if address.startswith(f"{transport}/p2p/"):
                return address.rpartition("/")[2]
        raise ConnectionRefusedError(f"nobody has the address {transport}")

    def partition(self, *groups: Iterable[str]) -> None:
        """Peers of different groups lose each other; a peer in no group is in one of its own with the other unnamed."""
        self._group_of = {peer: number for number, group in enumerate(groups, start=1) for peer in group}

    def heal(self) -> None:
        self._group_of = {}

    def together(self, one: str, other: str) -> bool:
        """Whether no partition is between two peers."""
        return self._group_of.get(one, 0) == self._group_of.get(other, 0)

    def travel_seconds(self, one: str, other: str, size_bytes: int = 0) -> float:
        """How long so many bytes are under way from one peer to another."""
        seconds = self.latency_seconds * (0.5 + self.rng.random())
        if self.lines:
            for line in (self.lines[peer] for peer in (one, other) if peer in self.lines):
                seconds += line.latency_seconds + size_bytes / line.bytes_per_second
        return seconds

    def sending_seconds(self, one: str, other: str, size_bytes: int) -> float:
        """How long a link is busy with so many bytes: of the time they travel, what the next ones have to wait."""
        ends = (self.lines[peer] for peer in (one, other) if peer in self.lines)
        return sum(size_bytes / line.bytes_per_second for line in ends)

    def loses(self, one: str, other: str) -> bool:
        """Whether a link loses the next frame."""
        kept = 1.0 - self.loss
        for peer in (one, other):
            if peer in self.lines:
                kept *= 1.0 - self.lines[peer].loss
        return kept < 1.0 and self.rng.random() >= kept

    def retry_seconds(self, one: str, other: str) -> float:
        """How much later something arrives because a link loses some of what is sent, and TCP sends it again."""
        lost = 0
        while lost < _RETRIES and self.loses(one, other):
            lost += 1
        return _RETRY_SECONDS * (2**lost - 1)

    def arrival(self, seconds: float) -> float:
        """When what takes so long from now on is there, on trio's clock."""
        at = trio.current_time() + seconds
        return math.ceil(at / self.grid_seconds) * self.grid_seconds if self.grid_seconds else at


def next_retry_seconds(silent_seconds: float) -> float:
    """How long after a link came back TCP tries again: the pauses between its tries have doubled all the while."""
    tries = math.ceil(math.log2(silent_seconds / _RETRY_SECONDS + 1.0))
    return _RETRY_SECONDS * (2**tries - 1) - silent_seconds

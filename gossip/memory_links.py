"""A link of a network in memory, one way, and the traffic of a bus that has some.

Frames are counted on the link that carries them, twice as many as any other thing that happens in a large simulation,
and added up when somebody looks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from gossip.traffic import Flow, Kind, Traffic


class End(Protocol):
    """One end of a link."""

    peer_id: str

    def count_frames(self, way: str, peer: str, link: "Link[Self]") -> None:
        """Add what a link has counted since the last time. `way`: "in" or "out"."""
        ...


E = TypeVar("E", bound=End)


@dataclass(slots=True, eq=False)
class Link(Generic[E]):
    sender: E
    receiver: E
    same_topic: bool
    cut: bool = False  # what is under way does not arrive
    frames: int = 0  # and the following: since it was settled last
    bytes: int = 0
    claims: int = 0  # of the frames
    claim_bytes: int = 0

    def settle(self) -> None:
        if self.frames:
            self.sender.count_frames("out", self.receiver.peer_id, self)
            self.receiver.count_frames("in", self.sender.peer_id, self)
            self.frames = self.bytes = self.claims = self.claim_bytes = 0


class LinkedTraffic(Traffic):
    def __init__(self, settle: Callable[[], None]) -> None:
        super().__init__()
        self._settle = settle

    @property
    def totals(self) -> Mapping[Kind, Flow]:
        self._settle()
        return super().totals

    @property
    def peers(self) -> Mapping[str, Mapping[Kind, Flow]]:
        self._settle()
        return super().peers

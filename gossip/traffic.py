"""How much was said with whom: bytes and messages, by peer and by kind. Counted by the bus, where the bytes are.

Pure. Memory is bounded: of very many peers, whoever was silent longest is forgotten; the totals stay.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_PEERS = 1024  # as many as may be connected


class Kind(StrEnum):
    BROADCAST = "broadcast"  # bytes: all of GossipSub's, its control messages too; messages: the records in them
    CATCHUP = "catchup"  # requests and answers
    BLOB = "blob"  # requests and answers; a blob is one message
    GIT = "git"  # branches: requests, and all that git says; a request is one message


@dataclass(slots=True)
class Flow:
    """Of one kind. In: to us."""

    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0


Flows = dict[Kind, Flow]


def _no_flows() -> Flows:
    return {kind: Flow() for kind in Kind}


class Traffic:
    def __init__(self, max_peers: int = MAX_PEERS) -> None:
        self._max_peers = max_peers
        self._totals = _no_flows()
        self._peers: OrderedDict[str, Flows] = OrderedDict()

    def received(self, peer: str, kind: Kind, size_bytes: int = 0, messages: int = 0) -> None:
        for flow in (self._totals[kind], self._flows(peer)[kind]):
            flow.bytes_in += size_bytes
            flow.messages_in += messages

    def sent(self, peer: str, kind: Kind, size_bytes: int = 0, messages: int = 0) -> None:
        for flow in (self._totals[kind], self._flows(peer)[kind]):
            flow.bytes_out += size_bytes
            flow.messages_out += messages

    @property
    def totals(self) -> Mapping[Kind, Flow]:
        """With everybody, since the beginning."""
        return self._totals

    @property
    def peers(self) -> Mapping[str, Mapping[Kind, Flow]]:
        """Who was heard last comes last."""
        return self._peers

    def _flows(self, peer: str) -> Flows:
        flows = self._peers.get(peer)
        if flows is None:
            flows = self._peers[peer] = _no_flows()
            if len(self._peers) > self._max_peers:
                self._peers.popitem(last=False)
        else:
            self._peers.move_to_end(peer)
        return flows

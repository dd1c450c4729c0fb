"""How much of each blob a peer is given: all of it a few times, then slowly. Pure: time is passed in.

Memory is bounded whatever strangers ask. Who joins asks once for each blob, and after a broken connection for the
rest. Who asks for the same large one again and again would have our whole line to itself. Not covered: a peer that
takes a new identity each time, which the number of streams at one time bounds.
"""

from collections import OrderedDict

from gossip.budgets import Budgets, Rate

TIMES_AT_ONCE = 3  # the whole of a blob; once, and twice more after hashes that did not fit or a disk that was full
SECONDS_FOR_ANOTHER = 3600.0  # until it may be taken once more
LEAST_BYTES = 1 << 20  # smaller blobs count as this: a brief is nobody's burden
REQUEST_RATE = Rate(per_second=1, burst=60)  # of one peer, whatever it asks for; a guess
_REMEMBERED = 4096  # peers and blobs


class BlobBudget:
    def __init__(self) -> None:
        self._requests = Budgets(REQUEST_RATE)
        self._given: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        # ^ (peer, blob) -> (bytes given and not yet forgiven, when that was counted)

    def may_ask(self, peer: str, now: float) -> bool:
        """One request more."""
        return self._requests.take(peer, now)

    def may_take(self, peer: str, sha256: str, wanted_bytes: int, size_bytes: int, now: float) -> bool:
        """Whether `wanted_bytes` of a blob of `size_bytes` are within its budget."""
        unit = max(size_bytes, LEAST_BYTES)
        return self._level(peer, sha256, unit, now) + wanted_bytes <= TIMES_AT_ONCE * unit

    def given(self, peer: str, sha256: str, piece_bytes: int, size_bytes: int, now: float) -> None:
        """What was sent counts, not what was asked for."""
        level = self._level(peer, sha256, max(size_bytes, LEAST_BYTES), now)
        self._given[peer, sha256] = (level + piece_bytes, now)
        self._given.move_to_end((peer, sha256))
        while len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)

    def _level(self, peer: str, sha256: str, unit: int, now: float) -> float:
        level, counted_at = self._given.get((peer, sha256), (0.0, now))
        return max(0.0, level - max(0.0, now - counted_at) * unit / SECONDS_FOR_ANOTHER)

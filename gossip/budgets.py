"""Budgets by peer: so much at once and so much per second for ever. Pure: time is passed in. Bounded in memory."""

from collections import OrderedDict
from dataclasses import dataclass

_REMEMBERED_PEERS = 4096


@dataclass(frozen=True, slots=True)
class Rate:
    """A token bucket: `burst` at once, `per_second` for ever."""

    per_second: float
    burst: float


class Budgets:
    """One token bucket per peer, the least recently used forgotten beyond a bound."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # peer -> (tokens, when counted)

    def take(self, peer: str, now: float) -> bool:
        tokens, counted_at = self._levels.get(peer, (self._rate.burst, now))
        tokens = min(self._rate.burst, tokens + max(0.0, now - counted_at) * self._rate.per_second)
        enough = tokens >= 1
        self._levels[peer] = (tokens - 1 if enough else tokens, now)
        self._levels.move_to_end(peer)
        while len(self._levels) > _REMEMBERED_PEERS:
            self._levels.popitem(last=False)
        return enough

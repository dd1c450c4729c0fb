"""What we think of the peers that we are connected with: strikes, and bans that get longer. Pure: time is passed in.

A strike is for the *forwarder*, the connected peer that sent something, never for the author whom a forged frame names.
Only that counts which no honest peer can send whatever others sent to it, because it checks the same before it passes
anything on:

| what came | strikes | why |
|---|---|---|
| `oversize`, `malformed`, `bad_signature`, `wrong_brief` in a broadcast | 1 | nobody passes them on |
| the same, or a page that is none, in a catch-up answer | 4 | it hands out what it keeps, so it kept that |
| `page_endless` | 4 | it says that there is more and brings nothing new |
| `malformed` catch-up request | 1 | it made the request itself |
| `rate_of_forwarder` | 0.001 | an honest peer passes a flood on, for a moment |
| `rate_of_author`, the forwarder being the author | 0.01 | an honest peer gives the author's flood on to nobody |
| `rate_of_asker` | 0.05 | it could wait |
| `unknown_version` | 0 | an honest peer of a newer version passes it on |
| `duplicate`, `known`, `inbox_full` | 0 | the network's doing, or ours; repetitions use up the forwarder's budget |
| `equivocation`, `author_equivocated` | 0 | the second record is the proof, and is to be passed on |
| `content` | 0 | needs the brief's rules, which peers of another version may know otherwise |
| `author_denied`, `author_not_allowed` | 0 | our own taste |
| `wrong_brief` catch-up request | 0 | peers of another topic ask which version we speak |

Strikes fade by half in ten minutes. Ten of them are a ban of a minute; each next ban is four times as long, up to a
day, and a day without one makes the next one the first. Bans are kept over a restart, so their times are wall-clock
times; when the clock goes back a ban is not longer than it was. Not covered: a peer that takes a new identity.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from gossip.identity import public_key_of
from gossip.refusal import RefusalReason

HALF_LIFE_SECONDS = 600.0  # this and the numbers below are guesses
BAN_AT = 10.0  # strikes
FIRST_BAN_SECONDS, LONGEST_BAN_SECONDS = 60.0, 86_400.0
_LONGER_BY = 4.0
_FORGET_BANS_SECONDS = 86_400.0  # after the end of the last one
MAX_PEERS = 1024

_WRONG_BYTES = (
    RefusalReason.OVERSIZE,
    RefusalReason.MALFORMED,
    RefusalReason.BAD_SIGNATURE,
    RefusalReason.WRONG_BRIEF,
)
Strikes = Mapping[RefusalReason, float]
FOR_BROADCAST: Strikes = {
    **dict[RefusalReason, float].fromkeys(_WRONG_BYTES, 1.0),
    RefusalReason.RATE_OF_FORWARDER: 0.001,
}
FOR_OWN_FLOOD: Strikes = {RefusalReason.RATE_OF_AUTHOR: 0.01}  # if the forwarder is the author
FOR_ANSWER: Strikes = dict[RefusalReason, float].fromkeys(
    (*_WRONG_BYTES, RefusalReason.PAGE_MALFORMED, RefusalReason.PAGE_ENDLESS), 4.0
)
FOR_REQUEST: Strikes = {
    RefusalReason.MALFORMED: 1.0,
    RefusalReason.PAGE_MALFORMED: 1.0,
    RefusalReason.RATE_OF_ASKER: 0.05,
}


@dataclass(slots=True)
class Standing:
    """What is held against one peer. Times are unix seconds."""

    peer: str
    strikes: float = 0.0
    counted_at: float = 0.0
    bans: int = 0  # so far, in a row
    banned_at: float = 0.0
    ban_seconds: float = 0.0
    reason: str = ""  # of the last ban

    def strikes_at(self, now: float) -> float:
        return self.strikes * 0.5 ** (max(0.0, now - self.counted_at) / HALF_LIFE_SECONDS)

    def seconds_left(self, now: float) -> float:
        """Of the ban; 0.0 if there is none."""
        if now < self.banned_at:  # the clock went back: as if the ban began now
            self.banned_at = now
        return max(0.0, self.banned_at + self.ban_seconds - now)


class Reputation:
    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}

    def strike(self, peer: str, weight: float, reason: str, now: float) -> float | None:
        """Hold something against a peer. Returns the seconds of the ban if this was too much."""
        standing = self._standings.get(peer)
        if standing is None:
            standing = self._standings[peer] = Standing(peer, counted_at=now, banned_at=now)
        if standing.seconds_left(now) > 0:
            return None
        standing.strikes, standing.counted_at = standing.strikes_at(now) + weight, now
        banned = self._ban(standing, reason, now) if standing.strikes >= BAN_AT else None
        self._bound(now)
        return banned

    def seconds_left(self, peer: str, now: float) -> float:
        """Of a peer's ban; 0.0 if it is not banned."""
        standing = self._standings.get(peer)
        return 0.0 if standing is None else standing.seconds_left(now)

    def __iter__(self) -> Iterator[Standing]:
        return iter(sorted(self._standings.values(), key=lambda standing: standing.peer))

    def __len__(self) -> int:
        return len(self._standings)

    def to_json(self) -> str:
        return json.dumps({"format": 1, "peers": [asdict(standing) for standing in self]}, indent=1)

    def load_json(self, text: str) -> None:
        """What an earlier run wrote. What cannot be read is passed over."""
        try:
            listed: object = json.loads(text)["peers"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if not isinstance(listed, list):
            return
        for item in cast("list[object]", listed)[:MAX_PEERS]:
            standing = _standing_of(cast("dict[str, Any]", item)) if isinstance(item, dict) else None
            if standing is not None:
                self._standings[standing.peer] = standing

    def _ban(self, standing: Standing, reason: str, now: float) -> float:
        if now - (standing.banned_at + standing.ban_seconds) >= _FORGET_BANS_SECONDS:
            standing.bans = 0
        seconds = min(FIRST_BAN_SECONDS * _LONGER_BY ** min(standing.bans, 10), LONGEST_BAN_SECONDS)
        standing.bans += 1
        standing.strikes, standing.banned_at, standing.ban_seconds, standing.reason = 0.0, now, seconds, reason
        return seconds

    def _bound(self, now: float) -> None:
        """Forget whoever has least against it: no ban, few strikes."""
        while len(self._standings) > MAX_PEERS:
            least = min(
                self._standings.values(), key=lambda one: (one.seconds_left(now), one.bans, one.strikes_at(now))
            )
            del self._standings[least.peer]


def _standing_of(item: dict[str, Any]) -> Standing | None:  # Any: checked field by field
    try:
        peer, bans, reason = item["peer"], item["bans"], str(item["reason"])[:64]
        numbers = [float(item[name]) for name in ("strikes", "counted_at", "banned_at", "ban_seconds")]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if not isinstance(peer, str) or public_key_of(peer) is None or type(bans) is not int or bans < 0:
        return None
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        return None
    strikes, counted_at, banned_at, ban_seconds = numbers
    return Standing(
        peer, min(strikes, BAN_AT), counted_at, bans, banned_at, min(ban_seconds, LONGEST_BAN_SECONDS), reason
    )

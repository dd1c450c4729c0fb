"""How far the clocks of others are from ours, as their records tell. Pure.

An author's time that lies in our future is a proof. One that lies in our past is not: the record may have been under
way since, or its author may have been without a network. So a clock is called behind only if broadcasts all say the
same, which those that waited for a network do not. Nothing depends on this: order comes from logs; it is for people,
who then set a clock.
"""

from collections.abc import Iterable

from gossip.heard import Way
from node.topic_journal import Arrival

WORTH_SAYING_SECONDS = 60.0
_LATEST = 8  # records of an author that are looked at
_SAME_SECONDS = 5.0  # apart; a broadcast takes less, guess


def ahead_of_us(arrivals: Iterable[Arrival]) -> dict[str, float]:
    """Author -> seconds that its clock is ahead of ours, negative if it is behind; without those that tell nothing.

    `arrivals`: the latest first.
    """
    by_author: dict[str, list[Arrival]] = {}
    for arrival in arrivals:
        of_author = by_author.setdefault(arrival.author, [])
        if len(of_author) < _LATEST:
            of_author.append(arrival)
    found = ((author, _ahead(of_author)) for author, of_author in by_author.items())
    return {author: seconds for author, seconds in found if seconds is not None}


def _ahead(latest: list[Arrival]) -> float | None:
    most = max(arrival.ahead_seconds for arrival in latest)
    if most > 0:
        return most
    fresh = [arrival.ahead_seconds for arrival in latest if arrival.way is Way.BROADCAST]
    return max(fresh) if len(fresh) >= 2 and max(fresh) - min(fresh) <= _SAME_SECONDS else None


def in_words(seconds: float) -> str:
    """'12 min ahead'; empty if it is not worth saying."""
    if abs(seconds) < WORTH_SAYING_SECONDS:
        return ""
    apart = abs(seconds)
    how_far = (
        f"{apart / 60:.0f} min"
        if apart < 7200
        else f"{apart / 3600:.0f} h"
        if apart < 172_800
        else (f"{apart / 86_400:.0f} days")
    )
    return f"{how_far} {'ahead' if seconds > 0 else 'behind'}"

"""What has been tried on a track, by anybody: the keys by which nothing is tried twice.

Derived from the ledger, whose new findings are read at each question. Owns nothing but what it has worked out of them.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import TypeVar

from swarm.brief import Brief
from swarm.ledger import Entry, Ledger, Newcomers
from swarm.program import canonical_key
from swarm.trial import Track
from swarm.words import BriefError, Outcome

T = TypeVar("T")
SOURCES_AT_ONCE = 4  # read at one question, some 50 ms each; of a restart's hundreds, the newest first, the rest later


class Tried:
    def __init__(self, brief: Brief, ledger: Ledger, track: Track) -> None:
        self._brief, self._track = brief, track
        self._newcomers = Newcomers(ledger)
        self._keys: set[str] = set()
        self._with_source: list[Entry] = []  # whose canonical keys are not known yet

    def keys(self) -> AbstractSet[str]:
        """Of all that was run, cancelled trials apart: the keys of the exact texts, and the canonical ones. Grows as
        more is asked for."""
        anew, fresh = self._newcomers.look()
        if anew:
            self._keys, self._with_source = set(), []
        for entry in fresh:
            if entry.track == self._track and entry.outcome is not Outcome.CANCELLED:
                self._note(entry)
        for _ in range(min(SOURCES_AT_ONCE, len(self._with_source))):
            self._keys.add(key_of(self._brief, self._with_source.pop()))
        return self._keys

    def _note(self, entry: Entry) -> None:
        self._keys.add(entry.key)
        if entry.finding.proposal.source is None:
            self._keys.add(key_of(self._brief, entry))
        else:
            self._with_source.append(entry)


def key_of(brief: Brief, entry: Entry) -> str:
    """A finding's canonical key."""
    try:
        return canonical_key(brief, entry.finding.proposal.config, entry.finding.proposal.source)
    except BriefError:  # a config outside the space, which no proposal of ours can have
        return entry.key


class Together(AbstractSet[str]):
    """Several sets as one, without a copy: a night's keys are tens of thousands."""

    def __init__(self, *parts: AbstractSet[str]) -> None:
        self._parts = parts

    def __contains__(self, key: object) -> bool:
        return any(key in part for part in self._parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> frozenset[str]:
        return frozenset[str]().union(*self._parts)

    @classmethod
    def _from_iterable(cls, it: Iterable[T]) -> frozenset[T]:  # of what comes of |, & and -
        return frozenset(it)

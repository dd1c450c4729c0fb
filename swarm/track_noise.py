"""Run-to-run noise on one track, as each author can know it: own repeats, on top of what others found.

Others' estimate is the median over authors, so that one of them cannot move it far; the brief's guess before anybody
has repeated anything. What each found is worked out once, however many ask: who asks is only left out of the median.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from swarm.brief import Acceptance
from swarm.verdict import Noise, pooled_spreads, prior_noise
from swarm.words import PeerId

CLASS_NOISE_DOF = 4.0  # what others' estimate of a track's noise is worth, in repeats of one's own
_LEAST_DOF = 2.0  # of an author's own repeats, to be heard on a track's noise
Spread = tuple[float, int]  # of one thing that an author repeated: variance, degrees of freedom


class TrackSpreads:
    """What repeats on one track say, kept up to date as they come: what each author found is worked out again only
    when it has found more."""

    def __init__(self, acceptance: Acceptance) -> None:
        self._acceptance = acceptance
        self._found: dict[PeerId, dict[str, Spread]] = {}  # by what was repeated
        self._sds: dict[PeerId, float] = {}  # of those who count
        self._changed: dict[PeerId, None] = {}

    def note(self, author: PeerId, key: str, spread: Spread | None) -> None:
        """How far apart an author's numbers of one thing are now; None of fewer than two."""
        found = self._found.setdefault(author, {})
        if spread is None:
            found.pop(key, None)
        else:
            found[key] = spread
        self._changed[author] = None

    def noise(self) -> "TrackNoise":
        nothing = Noise(self._acceptance.noise_sd, 1e-9)
        for author in self._changed:
            own = pooled_spreads(self._found[author].values(), nothing)
            self._sds.pop(author, None)
            if own.dof >= _LEAST_DOF and own.sd > 0:
                self._sds[author] = own.sd
        self._changed.clear()
        return TrackNoise(self._found, dict(self._sds), self._acceptance)


class TrackNoise:
    def __init__(
        self, found: Mapping[PeerId, Mapping[str, Spread]], sds: Mapping[PeerId, float], acceptance: Acceptance
    ) -> None:
        """`sds`: standard deviation that each author found who counts."""
        self._found, self._sds = found, sds
        self._guess = prior_noise(acceptance)
        self._ordered = sorted(sds.values())

    def known_to(self, author: PeerId) -> Noise:
        own_sd = self._sds.get(author)
        left_out = None if own_sd is None else bisect_left(self._ordered, own_sd)
        others = _median_without(self._ordered, left_out)
        prior = self._guess if others is None else Noise(others, CLASS_NOISE_DOF)
        return pooled_spreads(self._found.get(author, {}).values(), prior)


def _median_without(ordered: Sequence[float], left_out: int | None) -> float | None:
    """Of sorted numbers, one of them not counted."""
    rest = len(ordered) - (left_out is not None)
    if rest == 0:
        return None

    def at(place: int) -> float:
        return ordered[place + (left_out is not None and place >= left_out)]

    middle = rest // 2
    return at(middle) if rest % 2 else (at(middle - 1) + at(middle)) / 2

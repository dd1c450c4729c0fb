"""How many are served at once: of one peer, and of all together."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager


class Places:
    """`most` of all, `of_one` of one peer. Who is over that may be served a refusal, up to `crowd` at once."""

    def __init__(self, most: int, of_one: int, crowd: int = 0) -> None:
        self._most, self._of_one, self._crowd = most, of_one, crowd
        self._taken: Counter[str] = Counter()

    def is_full(self, peer: str) -> bool:
        return self._taken.total() >= self._most or self._taken[peer] >= self._of_one

    def is_crowded(self, peer: str) -> bool:
        """There is no place even for a refusal: somebody opens requests by the hundred."""
        return self.is_full(peer) and self._taken.total() >= self._crowd

    @contextmanager
    def taken(self, peer: str) -> Generator[None]:
        self._taken[peer] += 1
        try:
            yield
        finally:
            self._taken[peer] -= 1
            self._taken += Counter()  # forgets who has none

"""Who may come in: a person's lists of peers, what was held against a peer, and how much each may ask for.

Decides, and counts what it refused; whoever asks drops connections and tells people. Pure: time is passed in.
"""

from collections import Counter
from dataclasses import dataclass

from gossip.budgets import Budgets, Rate
from gossip.refusal import Refusal, RefusalReason
from gossip.reputation import Reputation, Strikes

# Catch-up requests of one peer. A page is up to 512 KiB: 100 MiB at once, then 5 MiB/s. Guess with room: a newcomer
# that keeps 2,000 records of 2 KB a second asks 8 times a second.
ASKER_RATE = Rate(per_second=10, burst=200)


@dataclass(frozen=True, slots=True)
class PeerLists:
    """What a person said of peers, by peer id. An `allow` that is not empty means: nobody else."""

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()

    def bars(self, peer: str) -> str | None:
        """Why a peer is kept out, in a word; None if it is not."""
        if peer in self.deny:
            return "denied"
        return "not allowed" if self.allow and peer not in self.allow else None


@dataclass(frozen=True, slots=True)
class Ban:
    peer: str
    reason: str
    seconds: float


class Doorkeeper:
    def __init__(
        self, own_peer: str = "", lists: PeerLists | None = None, reputation: Reputation | None = None
    ) -> None:
        self._own_peer = own_peer
        self.lists = lists or PeerLists()
        self.reputation = reputation if reputation is not None else Reputation()
        self._askers = Budgets(ASKER_RATE)
        self._counts: Counter[str] = Counter()

    def admits(self, peer: str, now: float) -> bool:
        """Whether a peer may be connected with us. `now`: unix seconds."""
        if peer == self._own_peer:
            return True
        return self.lists.bars(peer) is None and self.reputation.seconds_left(peer, now) <= 0

    def refuse_author(self, author: str) -> Refusal | None:
        """Whether a record is unwanted because of who wrote it. A banned forwarder's own records are wanted: they
        may be good, and come through others. A list is what a person wants, whoever brings it."""
        barred = None if author == self._own_peer else self.lists.bars(author)
        if barred is None:
            return None
        reason = RefusalReason.AUTHOR_DENIED if barred == "denied" else RefusalReason.AUTHOR_NOT_ALLOWED
        return Refusal(reason, f"records of {author} are not taken here: it is {barred}")

    def may_ask(self, peer: str, now: float) -> bool:
        """One catch-up request more. `now`: seconds of a steady clock."""
        return self._askers.take(peer, now)

    def judge(self, peer: str, strikes: Strikes, reason: RefusalReason, now: float) -> Ban | None:
        """Hold a refusal against whoever sent it, by one of the tables of reputation. `now`: unix seconds."""
        weight = strikes.get(reason, 0.0)
        if weight == 0.0 or peer == self._own_peer:
            return None
        self._counts["strikes"] += 1
        seconds = self.reputation.strike(peer, weight, reason.value, now)
        if seconds is None:
            return None
        self._counts["bans"] += 1
        return Ban(peer, reason.value, seconds)

    def count(self, what: str) -> None:
        self._counts[what] += 1

    def statistics(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

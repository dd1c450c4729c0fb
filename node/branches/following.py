"""Keeps peers' branches here up to date by itself: which author has news, whom to ask for it, how often.

Owns the waiting and the backing off; `fetching.py` does the work. Polite: one fetch at a time, at a bounded pace, and
longer pauses after long ones, so that it takes a fifth of the time at most.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import trio

from gossip.branches import MAX_BRANCHES
from gossip.bus import PeerIncompatible, PeerUnreachable
from gossip.pipe import TooSlow
from node.branches.fetching import Fetched, Fetcher
from node.branches.words import Refusal
from node.events import Event, Events, FindingReceived, PeersChanged
from node.results.git import ResultsError
from node.text import clean
from swarm.words import short

Mode = Literal["full", "shallow", "off"]
MODES: tuple[Mode, ...] = ("full", "shallow", "off")
BYTES_PER_SECOND = 4e6  # of automatic fetching: a twenty-fifth of a core for the encryption
SETTLE_SECONDS = 1.0  # after a finding was heard: its author signs its head, more may come
RETRIES_SECONDS = (2.0, 4.0, 8.0, 30.0, 120.0)  # until a branch holds the finding that was heard
LOOK_SECONDS = 120.0  # between two looks at all branches of somebody
BUSY_SHARE = 4  # pauses are so many times as long as what came before
LONGEST_PAUSE_SECONDS = 60.0
FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 5.0, 3600.0  # of a failing peer; all of these are guesses


@dataclass(slots=True)
class _Due:
    """News of one author."""

    seq: int  # of its newest finding that was heard
    at: float
    tries: int = 0


@dataclass(slots=True)
class _Failing:
    times: int
    until: float


class Following:
    def __init__(
        self,
        fetcher: Fetcher,
        me: str,
        peers: Callable[[], Iterable[str]],  # of the topic, connected
        seq_of: Callable[[str], int],  # of a finding's record; 0 if unknown
        events: Events,
        mode: Mode,
        rng: random.Random,
    ) -> None:
        self._fetcher, self._me, self._peers, self._seq_of = fetcher, me, peers, seq_of
        self._events, self._shallow, self._rng = events, mode == "shallow", rng
        self._due: dict[str, _Due] = {}
        self._known_peers: set[str] = set()
        self._unseen: set[str] = set()  # peers whose branches were not looked at since they came
        self._failing: dict[str, _Failing] = {}
        self._news = trio.Event()
        self._said: set[Refusal] = set()
        events.listen(self.hear)

    def hear(self, event: Event) -> None:
        if isinstance(event, FindingReceived):
            known = self._due.get(event.peer)
            seq = max(self._seq_of(event.id), known.seq if known else 0)
            self._due[event.peer] = _Due(seq, trio.current_time() + SETTLE_SECONDS)
            self._news.set()
        elif isinstance(event, PeersChanged):
            self._unseen = {peer for peer in event.peers if peer in self._unseen or peer not in self._known_peers}
            self._known_peers = set(event.peers)
            self._news.set()

    async def run(self) -> None:
        looked_at = trio.current_time()
        while True:
            started = trio.current_time()
            worked = await self._authors(started) | await self._newcomers(started)
            if not worked and started - looked_at >= LOOK_SECONDS:
                looked_at = started
                worked = await self._look_at_somebody(started)
            if worked:
                took = trio.current_time() - started
                await trio.sleep(min(LONGEST_PAUSE_SECONDS, took * BUSY_SHARE))
            else:
                await self._wait()

    async def _wait(self) -> None:
        now = trio.current_time()
        waiting = [now + LOOK_SECONDS, *(due.at for due in self._due.values())]
        waiting += [failing.until for peer, failing in self._failing.items() if peer in self._unseen]
        self._news = trio.Event()
        with trio.move_on_at(min(waiting)):
            await self._news.wait()
        await trio.sleep(0.05)  # never a busy loop, whatever is due

    # --- what is due ---

    async def _authors(self, now: float) -> bool:
        """News of authors that were heard, from themselves or from others."""
        due = [author for author, one in self._due.items() if one.at <= now][:MAX_BRANCHES]
        for peer, authors in self._whom_to_ask(due, now).items():
            await self._fetch(peer, authors)
        for author in due:
            await self._settle(author)
        return bool(due)

    def _whom_to_ask(self, authors: list[str], now: float) -> dict[str, list[str]]:
        asked: dict[str, list[str]] = {}
        free = [peer for peer in self._peers() if self._is_free(peer, now)]
        for author in authors:
            others = [peer for peer in free if peer != author]
            first = author in free and self._due[author].tries % 2 == 0
            peer = author if first or not others else self._rng.choice(others)
            if peer in free:
                asked.setdefault(peer, []).append(author)
        return asked

    async def _settle(self, author: str) -> None:
        """Is it here? If not, later, until it is no use."""
        head, due = await self._fetcher.head(author), self._due[author]
        if head is not None and head.seq >= due.seq:
            del self._due[author]
        elif due.tries >= len(RETRIES_SECONDS):
            del self._due[author]  # a look at somebody finds it, some time
        else:
            due.at = trio.current_time() + RETRIES_SECONDS[due.tries]
            due.tries += 1

    async def _newcomers(self, now: float) -> bool:
        """All that a peer has which was not here before."""
        free = [peer for peer in sorted(self._unseen) if self._is_free(peer, now)]
        for peer in free[:1]:
            self._unseen.discard(peer)
            await self._fetch(peer, ())
        return bool(free)

    async def _look_at_somebody(self, now: float) -> bool:
        free = [peer for peer in self._peers() if self._is_free(peer, now)]
        if free:
            await self._fetch(self._rng.choice(free), ())
        return bool(free)

    def _is_free(self, peer: str, now: float) -> bool:
        failing = self._failing.get(peer)
        return failing is None or failing.until <= now

    # --- asking ---

    async def _fetch(self, peer: str, authors: list[str] | tuple[()]) -> None:
        try:
            found = await self._fetcher.fetch(peer, authors, shallow=self._shallow, bytes_per_second=BYTES_PER_SECOND)
        except PeerUnreachable as error:
            self._back_off(peer, longest=isinstance(error, PeerIncompatible | TooSlow))
        except ResultsError as error:
            self._back_off(peer, longest=True)
            self._events.notice(clean(f"branches of peers cannot be fetched: {error}", 400), warning=True)
        else:
            self._judge(found)

    def _judge(self, found: Fetched) -> None:
        if any(refused.reason is not Refusal.TOO_LARGE for refused in found.refused):
            self._back_off(found.peer, longest=False)
        else:
            self._failing.pop(found.peer, None)
        for refused in found.refused:
            if refused.reason not in self._said:
                self._said.add(refused.reason)
                self._events.notice(
                    clean(f"a branch that {short(found.peer)} gave was refused: {refused}", 500), warning=True
                )

    def _back_off(self, peer: str, *, longest: bool) -> None:
        times = self._failing[peer].times + 1 if peer in self._failing else 1
        pause = min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2 ** min(times - 1, 10))
        until = trio.current_time() + (LONGEST_BACK_OFF_SECONDS if longest else pause)
        self._failing = {one: failing for one, failing in self._failing.items() if one in self._peers()}
        self._failing[peer] = _Failing(times, until)

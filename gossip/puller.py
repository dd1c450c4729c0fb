"""Fetches what we lack from peers: when one joins, and round by round while they stay. One peer at a time.

Owns the pace and when to break off; messages and rules are in gossip/catchup.py. Every page is kept as it comes, so a
session that ends early is simply continued with the next peer.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import trio

from gossip import catchup
from gossip.address_book import AddressBook, Source
from gossip.admission import Admission, Admitted
from gossip.bus import Bus, PeerIncompatible, PeerUnreachable
from gossip.envelope import Record
from gossip.events import CatchupCutOff, CaughtUp, GossipEvent, PeerSpeaksAnotherVersion
from gossip.refusal import Answer, Refusal, RefusalReason, Refused
from gossip.store import RecordStore
from gossip.wake import Wake

EVERY_SECONDS = 10.0  # one peer is asked; a lost broadcast is made good within so long
_SESSION_SECONDS = 60.0  # then the next peer has its turn
_SHUN_SECONDS = 300.0  # a peer whose answers were broken
_YIELD_EVERY = 16  # records between two chances for others to run
_REMEMBERED = 1024


class Puller:
    def __init__(
        self,
        store: RecordStore,
        admission: Admission,
        on_record: Callable[[Record], Refusal | None],
        book: AddressBook,
        on_event: Callable[[GossipEvent], None],
    ) -> None:
        self._store = store
        self._admission = admission
        self._on_record = on_record
        self._book = book
        self._on_event = on_event
        self._due: dict[str, None] = {}  # peers to ask now, in order
        self._asked_at: dict[str, float] = {}
        self._shunned_until: dict[str, float] = {}
        self._said: set[tuple[str, str]] = set()
        self._wake = Wake()
        self._counts: Counter[str] = Counter()

    def soon(self, peer: str) -> None:
        self._due[peer] = None
        self._wake.set()

    def gone(self, peer: str) -> None:
        self._due.pop(peer, None)
        self._asked_at.pop(peer, None)

    def forget_peers(self) -> None:
        self._due.clear()
        self._asked_at.clear()

    def statistics(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

    async def run(self, bus: Bus) -> None:
        while True:
            if not self._due:
                with trio.move_on_after(EVERY_SECONDS):
                    await self._wake.wait()
            peer = self._next(bus)
            if peer is not None:
                await self._ask(bus, peer)

    def _next(self, bus: Bus) -> str | None:
        """A peer that just joined, else the one that was not asked for longest."""
        now = trio.current_time()
        willing = [peer for peer in bus.peers() if self._shunned_until.get(peer, 0.0) <= now]
        joined = next((peer for peer in self._due if peer in willing), None)
        if joined is None:
            self._due.clear()
            return min(willing, key=lambda peer: (self._asked_at.get(peer, 0.0), peer), default=None)
        del self._due[joined]
        return joined

    async def _ask(self, bus: Bus, peer: str) -> None:
        started_at = self._asked_at[peer] = trio.current_time()
        fetched = Counter[str]()
        try:
            with trio.move_on_after(_SESSION_SECONDS) as session:
                for request in catchup.requests(self._admission.brief, self._store.heads()):
                    await self._pull(bus, peer, request, fetched)
            if session.cancelled_caught and fetched["records"]:
                self.soon(peer)
        except Refused as refused:
            self._cut_off(peer, refused)
        except PeerIncompatible as error:
            self._shun(peer)
            self._say((peer, "version"), PeerSpeaksAnotherVersion(peer, error.protocols))
        except PeerUnreachable:
            self._counts["unreachable"] += 1
        if fetched["records"]:
            seconds = trio.current_time() - started_at
            self._on_event(CaughtUp(peer, fetched["records"], seconds))

    async def _pull(self, bus: Bus, peer: str, request: catchup.Request, fetched: Counter[str]) -> None:
        while True:
            self._counts["requests"] += 1
            page = catchup.decode_page(await bus.request(peer, catchup.encode_request(request)))
            self._book.learn(page.addresses, Source.HEARSAY)
            readable = await self._keep(page, fetched)
            if not page.more or not readable:
                return
            heads = self._heads_between(request)
            if heads == request.heads:
                raise Refused(RefusalReason.PAGE_ENDLESS, "it announces more records but sends none that are new")
            request = replace(request, heads=heads)

    async def _keep(self, page: catchup.Page, fetched: Counter[str]) -> bool:
        """False if some of it is of a newer version: then going on would bring the same again."""
        readable = True
        for number, frame in enumerate(page.frames):
            if number % _YIELD_EVERY == 0:
                await trio.lowlevel.checkpoint()
            outcome = self._admission.admit_pulled(frame)
            if isinstance(outcome, Admitted):
                self._count(self._on_record(outcome.record), fetched)
            elif outcome.answer is Answer.REJECT:
                raise Refused(outcome.reason, f"it sent something that is no record of this brief: {outcome.sentence}")
            else:
                readable = False
        return readable

    def _count(self, refusal: Refusal | None, fetched: Counter[str]) -> None:
        if refusal is None:
            fetched["records"] += 1
            self._counts["records"] += 1
        else:
            self._admission.count(refusal)

    def _heads_between(self, request: catchup.Request) -> dict[str, int]:
        heads = self._store.heads()
        inside = {a: s for a, s in heads.items() if request.first <= a and (not request.end or a < request.end)}
        # A page may bring authors we did not know; beyond the cap the next session names them.
        return dict(sorted(inside.items())[: catchup.MAX_AUTHORS])

    def _cut_off(self, peer: str, refused: Refused) -> None:
        self._counts[f"cut_off_{refused.reason}"] += 1
        self._shun(peer)
        self._say((peer, refused.reason), CatchupCutOff(peer, str(refused)))

    def _shun(self, peer: str) -> None:
        if len(self._shunned_until) >= _REMEMBERED:
            self._shunned_until.pop(next(iter(self._shunned_until)))
        self._shunned_until[peer] = trio.current_time() + _SHUN_SECONDS

    def _say(self, key: tuple[str, str], event: GossipEvent) -> None:
        if key not in self._said and len(self._said) < _REMEMBERED:
            self._said.add(key)
            self._on_event(event)

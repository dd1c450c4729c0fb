"""Fetches what we lack from peers: when one joins, and round by round while they stay. One peer at a time.

Owns the pace and when to break off; messages and rules are in gossip/catchup.py. Every page is kept as it comes, so a
session that ends early is simply continued with the next peer.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import trio

from gossip import catchup
from gossip.address_book import AddressBook, Source
from gossip.admission import Admission, Admitted
from gossip.bus import Bus, PeerIncompatible, PeerUnreachable
from gossip.envelope import Record, open_frame
from gossip.events import CatchupCutOff, CaughtUp, GossipEvent, PeerSpeaksAnotherVersion
from gossip.forks import NO_MORE, Forks
from gossip.heard import Heard, RefusedRecords, Way
from gossip.marks import OFFSETS
from gossip.refusal import Answer, Refusal, RefusalReason, Refused
from gossip.store import RecordStore
from gossip.wake import Wake

EVERY_SECONDS = 10.0  # one peer is asked; a lost broadcast is made good within so long
LONGEST_SECONDS = 40.0  # while nothing new is said anywhere: asking is most of what an idle node does
SMALL_SWARM = 32  # authors; up to here everything is broadcast: 12 kB/s a node (docs/log.md)
SECONDS_PER_AUTHOR = 0.02  # a request has 17 bytes for every author: 1,000 of them are asked about every 20 s
_SESSION_SECONDS = 60.0  # then the next peer has its turn
_SHUN_SECONDS = 300.0  # a peer whose answers were broken
_YIELD_EVERY = 16  # records between two chances for others to run
_REMEMBERED = 1024
_LISTED = (RefusalReason.AUTHOR_DENIED, RefusalReason.AUTHOR_NOT_ALLOWED)


class Puller:
    def __init__(
        self,
        store: RecordStore,
        admission: Admission,
        on_record: Callable[[Record, Heard], Refusal | None],
        book: AddressBook,
        on_event: Callable[[GossipEvent], None],
        *,
        forks: Forks,
        admits: Callable[[str], bool],
        on_broken_answer: Callable[[str, RefusalReason], None],
        refused: RefusedRecords,
        wall_clock: Callable[[], float],
    ) -> None:
        """`admits`: whether a peer may be asked. `on_broken_answer`: hears who sent one, and why it is one."""
        self._forks = forks
        self._admits = admits
        self._on_broken_answer = on_broken_answer
        self._refused_authors: dict[str, None] = {}  # whom a list keeps out; not asked for again
        self._store = store
        self._admission = admission
        self._on_record = on_record
        self._refused = refused
        self._wall_clock = wall_clock
        self._book = book
        self._on_event = on_event
        self._due: dict[str, None] = {}  # peers to ask now, in order
        self._asked_at: dict[str, float] = {}
        self._shunned_until: dict[str, float] = {}
        self._said: set[tuple[str, str]] = set()
        self._wake = Wake()
        self._quiet = 0  # rounds in a row that brought nothing
        self._broadcast = 0  # records that had come by themselves in the last round
        self._counts: Counter[str] = Counter()

    def soon(self, peer: str) -> None:
        self._due[peer] = None
        self._wake.set()

    def asked_by(self, peer: str, heads: Mapping[str, int]) -> None:
        """Who asks us says how far it got. If it is ahead, it is asked next: news cross a healed gap in moments."""
        own = self._store.heads()
        ahead = any(seq > own.get(author, 0) for author, seq in heads.items() if seq != NO_MORE)
        if ahead and self._is_cheap():
            self.soon(peer)

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
                with trio.move_on_after(self._pause()):
                    await self._wake.wait()
            peer = self._next(bus)
            if peer is not None:
                await self._ask(bus, peer)

    def _pause(self) -> float:
        accepted = self._admission.statistics().get("accepted", 0)
        if accepted != self._broadcast:  # something is going on, of which we may have missed a part
            self._broadcast, self._quiet = accepted, 0
        often = max(EVERY_SECONDS, SECONDS_PER_AUTHOR * len(self._store.heads()))
        return max(often, min(often * 2**self._quiet, LONGEST_SECONDS))

    def _is_gap(self, records: int) -> bool:
        """Whether so many records came late, so that neighbours may lack them, too. In a large swarm most records come
        round by round, by design: there it takes more than a round's. Where asking everybody is dear, it never is one.
        """
        authors = len(self._store.heads())
        return records > (0 if authors <= SMALL_SWARM else authors) and self._is_cheap()

    def _is_cheap(self) -> bool:
        """Whether asking once more is: some kilobytes."""
        return SECONDS_PER_AUTHOR * len(self._store.heads()) <= EVERY_SECONDS

    def _next(self, bus: Bus) -> str | None:
        """A peer that just joined, else the one that was not asked for longest."""
        now = trio.current_time()
        shunned = self._shunned_until
        there = dict.fromkeys((*bus.peers(), *(peer for peer in self._due if peer in bus.connected())))
        willing = [peer for peer in there if shunned.get(peer, 0.0) <= now and self._admits(peer)]
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
                for request in catchup.requests(self._admission.brief, self._heads()):
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
        self._quiet = 0 if fetched["records"] else min(self._quiet + 1, 8)
        if fetched["records"]:
            if self._is_gap(fetched["records"]):
                for other in bus.peers():
                    if other != peer:
                        self.soon(other)
            seconds = trio.current_time() - started_at
            self._on_event(CaughtUp(peer, fetched["records"], seconds))

    async def _pull(self, bus: Bus, peer: str, request: catchup.Request, fetched: Counter[str]) -> None:
        while True:
            self._counts["requests"] += 1
            offset = self._counts["requests"] % OFFSETS  # of each request another one
            request = replace(request, tips=self._forks.tips(request.heads), deflate=True, offset=offset)
            page = catchup.decode_page(await bus.request(peer, catchup.encode_request(request)))
            self._book.learn(page.addresses, Source.HEARSAY)
            complete = await self._keep(page, Heard(peer, Way.CATCHUP), fetched)
            if not page.more or not complete:
                return
            heads = self._heads_between(request)
            if heads == request.heads:
                raise Refused(RefusalReason.PAGE_ENDLESS, "it announces more records but sends none that are new")
            request = replace(request, heads=heads)

    async def _keep(self, page: catchup.Page, heard: Heard, fetched: Counter[str]) -> bool:
        """False if some of it was good and not kept (a newer version, a full disk): it would come again at once."""
        complete = True
        for number, frame in enumerate(page.frames):
            if number % _YIELD_EVERY == 0:
                await trio.lowlevel.checkpoint()
            outcome = self._admission.admit_pulled(frame)
            refusal = self._on_record(outcome.record, heard) if isinstance(outcome, Admitted) else outcome
            self._note(frame, heard, refusal)
            if isinstance(outcome, Admitted):
                complete &= self._count(refusal, fetched)
            elif outcome.answer is Answer.REJECT:
                raise Refused(outcome.reason, f"it sent something that is no record of this brief: {outcome.sentence}")
            elif outcome.reason in _LISTED:
                self._leave_out(open_frame(frame).author)
            elif outcome.reason is RefusalReason.UNKNOWN_VERSION:
                complete = False
        return complete

    def _note(self, frame: bytes, heard: Heard, refusal: Refusal | None) -> None:
        if refusal is not None:
            self._refused.note(frame, heard, refusal, self._wall_clock())

    def _count(self, refusal: Refusal | None, fetched: Counter[str]) -> bool:
        if refusal is None:
            fetched["records"] += 1
            self._counts["records"] += 1
            return True
        self._admission.count(refusal)
        return refusal.reason is not RefusalReason.INBOX_FULL

    def _leave_out(self, author: str) -> None:
        if len(self._refused_authors) >= _REMEMBERED:
            del self._refused_authors[next(iter(self._refused_authors))]
        self._refused_authors[author] = None

    def _heads(self) -> dict[str, int]:
        """How far we got, and of whom we want nothing more."""
        unwanted = (*self._refused_authors, *self._forks.unwanted())
        return {**self._store.heads(), **dict.fromkeys(unwanted, NO_MORE)}

    def _heads_between(self, request: catchup.Request) -> dict[str, int]:
        heads = self._heads()
        inside = {a: s for a, s in heads.items() if request.first <= a and (not request.end or a < request.end)}
        # A page may bring authors we did not know; beyond the cap the next session names them.
        return dict(sorted(inside.items())[: catchup.MAX_AUTHORS])

    def _cut_off(self, peer: str, refused: Refused) -> None:
        self._counts[f"cut_off_{refused.reason}"] += 1
        self._shun(peer)
        self._on_broken_answer(peer, refused.reason)
        self._say((peer, refused.reason), CatchupCutOff(peer, str(refused)))

    def _shun(self, peer: str) -> None:
        if len(self._shunned_until) >= _REMEMBERED:
            self._shunned_until.pop(next(iter(self._shunned_until)))
        self._shunned_until[peer] = trio.current_time() + _SHUN_SECONDS

    def _say(self, key: tuple[str, str], event: GossipEvent) -> None:
        if key not in self._said and len(self._said) < _REMEMBERED:
            self._said.add(key)
            self._on_event(event)

"""Catch-up between three stores and the ledger, driven by hypothesis through every order of events it can think of."""

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from samples import TRACK, make_brief, make_entry, make_finding, make_trial

from gossip import catchup
from gossip.envelope import Record, open_frame, seal
from node.journal import Journal
from swarm.brief import Acceptance
from swarm.ledger import Entry, Ledger, ReplayEntry
from swarm.replay import Replay
from swarm.trial import Track
from swarm.words import PeerId
from tests.simworld.gossip_world import BRIEF, identity

STORES = st.integers(0, 2)
AUTHORS = [identity(n) for n in (1, 2, 3)]
SMALL_PAGE_BYTES = 700  # two or three records
MAX_PAGES = 200  # of a session that has to end by itself


@contextmanager
def small_pages():
    """Pages of a few records: everything takes several."""
    before = catchup.PAGE_BYTES
    catchup.PAGE_BYTES = SMALL_PAGE_BYTES
    try:
        yield
    finally:
        catchup.PAGE_BYTES = before


class CatchUpOfThree(RuleBasedStateMachine):
    """Each of three nodes writes a log. Broadcasts are lost, pages come late and in any order, sessions are cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.written: list[list[Record]] = [[], [], []]
        self.pages: list[tuple[int, tuple[bytes, ...]]] = []  # fetched by a store, not kept yet
        self.stores = [self._open(number) for number in range(3)]
        self.small = small_pages()
        self.small.__enter__()

    def _open(self, number: int):
        return Journal(Path(self.folder.name) / f"{number}.sqlite").of(BRIEF)

    def _keep(self, number: int, frames: tuple[bytes, ...]) -> None:
        for frame in frames:
            self.stores[number].append(open_frame(frame), received=0.0, own=False)

    def _page(self, asker: int, other: int, request: catchup.Request) -> catchup.Page:
        """As it goes over the wire."""
        asked = catchup.decode_request(catchup.encode_request(request))
        return catchup.decode_page(catchup.encode_page(catchup.answer(self.stores[other], BRIEF, asked, ())))

    def _session(self, asker: int, other: int, pages: int) -> None:
        """The asker's loop, until there is no more or the session is cut off after so many pages."""
        for request in catchup.requests(BRIEF, self.stores[asker].heads()):
            more = True
            while more and pages > 0:
                page = self._page(asker, other, request)
                self._keep(asker, page.frames)
                heads = {a: s for a, s in self.stores[asker].heads().items() if self._in_range(a, request)}
                assert not page.more or heads != request.heads, "more was promised and nothing moved"
                request, more, pages = replace(request, heads=heads), page.more, pages - 1

    @staticmethod
    def _in_range(author: str, request: catchup.Request) -> bool:
        return author >= request.first and (not request.end or author < request.end)

    @rule(author=STORES, size=st.integers(0, 900))
    def write(self, author: int, size: int) -> None:
        log = self.written[author]
        seq, prev = (len(log) + 1, log[-1].id) if log else (1, "")
        log.append(seal(AUTHORS[author], "note", BRIEF, seq, prev, 0, bytes(size)))
        assert self.stores[author].append(log[-1], received=0.0, own=False)

    @precondition(lambda self: any(self.written))
    @rule(to=STORES, draw=st.randoms(use_true_random=False))
    def hear_a_broadcast(self, to: int, draw: Random) -> None:
        """Any record at all: others before it may be missing."""
        record = draw.choice([record for log in self.written for record in log])
        self._keep(to, (record.frame,))

    @rule(asker=STORES, other=STORES)
    def fetch_a_page_and_keep_it_later(self, asker: int, other: int) -> None:
        for request in catchup.requests(BRIEF, self.stores[asker].heads()):
            self.pages.append((asker, self._page(asker, other, request).frames))

    @precondition(lambda self: self.pages)
    @rule(draw=st.randoms(use_true_random=False))
    def keep_a_page(self, draw: Random) -> None:
        self._keep(*self.pages.pop(draw.randrange(len(self.pages))))

    @rule(asker=STORES, other=STORES, pages=st.integers(0, 3))
    def catch_up_until_cut_off(self, asker: int, other: int, pages: int) -> None:
        self._session(asker, other, pages)

    @rule(number=STORES)
    def restart(self, number: int) -> None:
        heads = self.stores[number].heads()
        self.stores[number].journal.close()
        self.stores[number] = self._open(number)
        assert self.stores[number].heads() == heads
        self.pages = [(asker, frames) for asker, frames in self.pages if asker != number]

    @invariant()
    def heads_are_true_and_what_is_given_has_no_gap(self) -> None:
        ends = {who.peer_id: len(log) for who, log in zip(AUTHORS, self.written, strict=True)}
        for store in self.stores:
            heads = store.heads()
            assert all(0 < seq <= ends[author] for author, seq in heads.items())
            given = [open_frame(frame) for frame in store.records_after({}, 10**9)]
            assert [(r.author, r.seq) for r in given] == [(a, n + 1) for a in sorted(heads) for n in range(heads[a])]

    def teardown(self) -> None:
        """Two rounds in which everybody asks everybody: all have everything."""
        for _ in range(2):
            for asker, other in ((0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1)):
                self._session(asker, other, MAX_PAGES)
        ends = {who.peer_id: len(log) for who, log in zip(AUTHORS, self.written, strict=True) if log}
        for store in self.stores:
            assert store.heads() == ends
            assert {record.id for record in store.records()} == {r.id for log in self.written for r in log}
            store.validate()
            store.journal.close()
        self.small.__exit__(None, None, None)
        self.folder.cleanup()


# --- the ledger ---

RULE = Acceptance()
LAB = make_brief()
OTHER = Track(hardware_class="cuda-h100", budget_seconds=300.0)
PEOPLE = [PeerId(f"12D3KooWAuthor{letter}") for letter in "ABC"]


def all_records() -> list[Entry | ReplayEntry]:
    """What three authors found: the same things, others, repeats, crashes, children that ran their parents again."""
    made: list[Entry | ReplayEntry] = []
    for who, shift in zip(PEOPLE, (0.0, 0.004, 0.4), strict=True):
        base = make_entry(make_finding(LAB, 1, 2.0 + shift), who)
        several = make_finding(LAB, 2, 1.9 + shift, base, width=128)
        several = several.model_copy(update={"trials": tuple(make_trial(1.9 + shift + n / 100) for n in range(3))})
        wider = make_entry(several, who)
        again = make_finding(LAB, 3, 1.8, wider, width=96)
        again = again.model_copy(update={"parent_trials": (make_trial(1.91 + shift), make_trial(1.0, OTHER))})
        made += [base, wider, make_entry(again, who), make_entry(make_finding(LAB, 4, None, base, width=256), who)]
        made.append(make_entry(make_finding(LAB, 5, 0.9 + shift, track=OTHER), who))
    for number, entry in enumerate([one for one in made if isinstance(one, Entry)]):
        who = PEOPLE[number % 3]
        for other, change in enumerate(({}, {"steps": 5}, {"key": "f" * 64}, {"of": "9" * 64})):
            replay = Replay(
                of=entry.id,
                key=entry.finding.proposal.key,
                started_at="2026-01-01T00:00:00Z",
                trial=make_trial(1.95 + number / 50, entry.finding.track),
            ).model_copy(update=change)
            made.append(ReplayEntry(f"{number:02}{other}" + "e" * 61, who, 100 + number, 5 + number, replay))
    return made


RECORDS = all_records()


def apply(ledger: Ledger, record: Entry | ReplayEntry) -> bool:
    return ledger.apply(record) if isinstance(record, Entry) else ledger.apply_replay(record)


def view(ledger: Ledger) -> object:
    """Everything that is asked of a ledger."""
    entries, tracks = ledger.entries(), (TRACK, OTHER)
    return (
        entries,
        [ledger.standing(entry) for entry in entries],
        [ledger.score(entry) for entry in entries],
        [ledger.follows(entry) for entry in entries],
        [ledger.replays(entry.id) for entry in entries],
        [ledger.ranked(track) for track in tracks],
        [ledger.measured(track=track) for track in tracks],
        [ledger.tried(track) for track in tracks],
        [ledger.noise(track, who) for track in tracks for who in PEOPLE],
        [ledger.branch_best(who, track) for track in tracks for who in PEOPLE],
        ledger.tracks(),
        ledger.authors(),
    )


def folded(records: list[Entry | ReplayEntry]) -> Ledger:
    ledger = Ledger(RULE)
    for record in records:
        apply(ledger, record)
    return ledger


class LedgerInAnyOrder(RuleBasedStateMachine):
    """Records come in any order and again; questions in between change nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(RULE)
        self.known: dict[str, Entry | ReplayEntry] = {}

    @rule(draw=st.randoms(use_true_random=False), count=st.integers(1, 12))
    def records_come(self, draw: Random, count: int) -> None:
        for record in draw.choices(RECORDS, k=count):
            for who in PEOPLE:
                self.ledger.noise(TRACK, who)  # remembered until the next record comes
            assert apply(self.ledger, record) is (record.id not in self.known)
            self.known[record.id] = record
        same = folded([one for one in RECORDS if one.id in self.known])
        assert [self.ledger.noise(TRACK, who) for who in PEOPLE] == [same.noise(TRACK, who) for who in PEOPLE]

    @precondition(lambda self: self.known)
    @rule(draw=st.randoms(use_true_random=False))
    def somebody_asks(self, draw: Random) -> None:
        """Answers that the ledger remembers must not outlive the next record."""
        for entry in self.ledger.entries()[: draw.randrange(1, 4)]:
            self.ledger.standing(entry), self.ledger.score(entry)

    @rule()
    def everything_comes_again(self) -> None:
        for record in self.known.values():
            assert not apply(self.ledger, record)

    @rule()
    def it_is_the_ledger_of_the_same_set(self) -> None:
        in_order = [record for record in RECORDS if record.id in self.known]
        assert view(self.ledger) == view(folded(in_order)) == view(folded(in_order[::-1]))

    def teardown(self) -> None:
        self.it_is_the_ledger_of_the_same_set()


TestCatchUpOfThree = CatchUpOfThree.TestCase
WITHOUT_SHRINKING = (Phase.explicit, Phase.generate)  # it takes minutes, with a journal on disk at every step
TestCatchUpOfThree.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, phases=WITHOUT_SHRINKING)
TestLedgerInAnyOrder = LedgerInAnyOrder.TestCase
TestLedgerInAnyOrder.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


def test_the_records_tell_orders_apart() -> None:
    """The set is one in which something is confirmed, disputed and claimed, and noise is more than a guess."""
    ledger = folded(RECORDS)
    assert len({ledger.standing(entry) for entry in ledger.entries()}) >= 3
    assert all(ledger.noise(TRACK, who).dof > RULE.noise_dof for who in PEOPLE)
    assert len(ledger) == 15

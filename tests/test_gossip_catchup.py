import contextlib
import tracemalloc
import zlib
from collections.abc import Mapping
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import catchup
from gossip.catchup import Page, Request
from gossip.envelope import open_frame
from gossip.forks import NO_MORE, NoForks
from gossip.identity import Identity
from gossip.refusal import RefusalReason, Refused
from tests.simworld.gossip_world import BRIEF, MemoryStore, identity

AUTHORS = [identity(n) for n in range(1, 6)]


def filled(counts: list[int], size: int = 10) -> MemoryStore:
    store = MemoryStore()
    for author, count in zip(AUTHORS, counts, strict=False):
        for n in range(count):
            store.write(author, bytes([n % 256]) * size)
    return store


def pull(asker: MemoryStore, responder: MemoryStore, offset: int | None = None) -> int:
    """A whole catch-up without a network; returns how many pages it took."""
    pages = 0
    for request in catchup.requests(BRIEF, asker.heads()):
        while True:
            sent = catchup.encode_request(replace(request, offset=offset))
            asked = catchup.named(catchup.decode_request(sent), responder.heads())
            page = catchup.decode_page(catchup.encode_page(catchup.answer(responder, BRIEF, asked, ())))
            pages += 1
            for frame in page.frames:
                asker.add(open_frame(frame))
            if not page.more:
                break
            request = replace(request, heads=asker.heads())
    return pages


def test_a_newcomer_gets_everything() -> None:
    full, new = filled([3, 0, 7, 1]), MemoryStore()
    assert pull(new, full) == 1
    assert new.ids() == full.ids()


def test_what_is_there_is_not_sent_again() -> None:
    full, other = filled([5]), filled([3])
    page = catchup.answer(full, BRIEF, Request(BRIEF, other.heads()), ())
    assert [open_frame(f).seq for f in page.frames] == [4, 5]


def test_large_logs_come_in_bounded_pages() -> None:
    full, new = filled([20, 20], size=60_000), MemoryStore()
    assert pull(new, full) >= 4
    assert new.ids() == full.ids()
    page = catchup.answer(full, BRIEF, Request(BRIEF, {}), ())
    assert len(catchup.encode_page(page)) <= catchup.MAX_RESPONSE_BYTES
    assert page.more


def test_a_record_behind_a_gap_is_not_served_but_the_gap_is_filled() -> None:
    full = filled([5])
    holey = MemoryStore()
    for frame in full.records_after({}, 10**9)[:2] + full.records_after({}, 10**9)[3:]:
        holey.add(open_frame(frame))
    assert holey.heads() == {AUTHORS[0].peer_id: 2}
    assert len(catchup.answer(holey, BRIEF, Request(BRIEF, {}), ()).frames) == 2
    pull(holey, full)
    assert holey.ids() == full.ids()


def test_another_briefs_request_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        catchup.answer(filled([1]), BRIEF, Request("cd" * 32, {}), ())
    assert caught.value.reason is RefusalReason.WRONG_BRIEF


def test_more_authors_than_fit_are_asked_in_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catchup, "MAX_AUTHORS", 2)
    asker, full = filled([1, 1, 1, 1, 1]), filled([3, 3, 3, 3, 3])
    asked = catchup.requests(BRIEF, asker.heads())
    assert len(asked) == 3
    assert all(len(request.heads) <= 2 for request in asked)
    pages = [catchup.answer(full, BRIEF, request, ()) for request in asked]
    frames = [frame for page in pages for frame in page.frames]
    assert len(frames) == len(set(frames)) == 10
    assert not any(page.more for page in pages)


@given(st.lists(st.integers(0, 6), min_size=5, max_size=5), st.lists(st.integers(0, 6), min_size=5, max_size=5))
@settings(max_examples=40, deadline=None)
def test_after_pulling_from_each_other_both_have_the_union(one: list[int], other: list[int]) -> None:
    here, there = filled(one), filled(other)
    union = here.ids() | there.ids()
    pull(here, there, 5)
    pull(there, here)
    assert here.ids() == there.ids() == union


@given(st.binary(max_size=600))
@settings(max_examples=300)
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for decode in (catchup.decode_request, catchup.decode_page):
        with contextlib.suppress(Refused):
            decode(data)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"brief": 5},
        {"brief": "a" * 65},
        {"heads": {"someone": 1}},
        {"heads": {AUTHORS[0].peer_id: 0}},
        {"heads": {AUTHORS[0].peer_id: True}},
        {"heads": {AUTHORS[0].peer_id: 2**60}},
        {"heads": [1]},
        {"first": None},
    ],
)
def test_a_wrong_request_is_refused(change: dict[str, object]) -> None:
    fields = {"v": 1, "brief": BRIEF, "heads": {}, "first": "", "end": ""}
    catchup.decode_request(msgpack.packb(fields))
    with pytest.raises(Refused):
        catchup.decode_request(msgpack.packb({**fields, **change}))


@pytest.mark.parametrize("change", [{"v": 2}, {"records": 5}, {"records": ["text"]}, {"more": 1}, {"records": None}])
def test_a_wrong_page_is_refused(change: dict[str, object]) -> None:
    fields = {"v": 1, "records": [b"x"], "more": False, "peers": []}
    assert catchup.decode_page(msgpack.packb(fields)) == Page((b"x",), False)
    with pytest.raises(Refused):
        catchup.decode_page(msgpack.packb({**fields, **change}))


def test_addresses_in_a_page_are_sifted() -> None:
    good = f"/ip4/192.0.2.1/tcp/1/p2p/{Identity(bytes(32)).peer_id}"
    fields = {"v": 1, "records": [], "more": False, "peers": ["x", 5, good, "/ip4/1.1.1.1/tcp/1"]}
    assert catchup.decode_page(msgpack.packb(fields)).addresses == (good,)
    assert catchup.decode_page(msgpack.packb({**fields, "peers": 7})).addresses == ()


def test_an_oversized_message_is_refused_unread() -> None:
    with pytest.raises(Refused):
        catchup.decode_page(bytes(catchup.MAX_RESPONSE_BYTES + 1))
    with pytest.raises(Refused):
        catchup.decode_request(bytes(catchup.MAX_REQUEST_BYTES + 1))


class Proofs(NoForks):
    """Everything about authors that was ever proven, told to whoever asks."""

    def __init__(self, proofs: list[tuple[str, tuple[bytes, ...]]]) -> None:
        self.proofs = proofs

    def evidence(self, heads: Mapping[str, int], tips: Mapping[str, bytes]) -> list[tuple[str, tuple[bytes, ...]]]:
        return [proof for proof in self.proofs if heads.get(proof[0]) != NO_MORE]


def test_proofs_come_first_whole_in_pairs_and_leave_room_for_records() -> None:
    frames = (bytes(60_000), bytes(60_000))
    names = sorted(author.peer_id for author in AUTHORS)
    forks, full = Proofs([(name, frames) for name in names]), filled([0, 0, 0, 0, 4], size=60_000)
    page = catchup.answer(full, BRIEF, Request(BRIEF, {}), (), forks)
    assert page.frames[:4] == frames * 2
    assert len(page.frames) == 8, "and all four records"
    assert page.more
    told = dict.fromkeys(names[:2], NO_MORE)
    page = catchup.answer(full, BRIEF, Request(BRIEF, {**told, **full.heads()}), (), forks)
    assert (page.frames, page.more) == (frames * 2, True)
    page = catchup.answer(full, BRIEF, Request(BRIEF, dict.fromkeys(names, NO_MORE)), (), forks)
    assert (page.frames, page.more) == ((), False)
    page = catchup.answer(full, BRIEF, Request(BRIEF, {}, first=names[4]), (), forks)
    assert page.frames[:2] == frames
    assert not page.more, "of the authors that were asked about"


def test_tips_travel_with_the_heads_and_wrong_ones_are_none() -> None:
    names = sorted(author.peer_id for author in AUTHORS[:3])
    heads = dict(zip(names, (3, 1, 2), strict=True))
    request = Request(BRIEF, heads, tips={names[0]: b"12345678", names[2]: b"abcdefgh"})
    assert catchup.decode_request(catchup.encode_request(request)) == request
    plain = catchup.encode_request(Request(BRIEF, heads))
    assert b"tips" not in plain
    for wrong in (b"", b"1234567", bytes(25), "x" * 24, 7, None, [b"12345678"] * 3):
        sent = msgpack.packb(msgpack.unpackb(plain) | {"tips": wrong})
        assert catchup.decode_request(sent).tips == {}


def test_records_are_compressed_for_who_reads_them_so() -> None:
    frames = tuple(b"findings are alike " * 20 + bytes([n]) for n in range(50))
    page = Page(frames, more=True)
    small = catchup.encode_page(page, deflate=True)
    assert len(small) < len(catchup.encode_page(page)) / 3
    assert catchup.decode_page(small) == catchup.decode_page(catchup.encode_page(page)) == page
    assert catchup.decode_request(catchup.encode_request(catchup.Request(BRIEF, {}, deflate=True))).deflate
    assert not catchup.decode_request(catchup.encode_request(catchup.Request(BRIEF, {}))).deflate


@pytest.mark.parametrize(
    "deflated",
    [
        5,
        b"no stream",
        zlib.compress(msgpack.packb([b"x"]))[:-1],
        zlib.compress(msgpack.packb([b"x"])) + b"more",
        zlib.compress(msgpack.packb(["text"])),
        zlib.compress(msgpack.packb({})),
        zlib.compress(b"\xc1"),
        zlib.compress(bytes(50_000_000)),  # 50 KB that would become 50 MB
    ],
)
def test_a_wrong_compressed_page_is_refused_within_bounds(deflated: object) -> None:
    fields = {"v": 1, "records": [], "more": False, "peers": [], "deflated": deflated}
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            catchup.decode_page(msgpack.packb(fields))
        assert tracemalloc.get_traced_memory()[1] < 5 * catchup.MAX_RESPONSE_BYTES
    finally:
        tracemalloc.stop()

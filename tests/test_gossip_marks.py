"""Authors named by six bytes in one request: the answerer finds those it knows, and hostile marks find nobody."""

from random import Random

import msgpack
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gossip import catchup
from gossip.catchup import Request
from gossip.forks import NO_MORE
from gossip.marks import MARK_BYTES, OFFSETS, Marked, mark_of
from gossip.memory_bus import MemoryNetwork
from gossip.refusal import RefusalReason, Refused
from tests.simworld.gossip_world import BRIEF, identity, memory_node

NAMES = [identity(n).peer_id for n in range(1, 40)]


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(1, NO_MORE)), st.sets(st.sampled_from(NAMES)), st.booleans())
def test_the_answerer_finds_those_whom_both_know(heads: dict[str, int], known: set[str], with_tips: bool) -> None:
    tips = {author: bytes([n % 255 + 1]) * 8 for n, author in enumerate(heads)} if with_tips else {}
    sent = catchup.encode_request(Request(BRIEF, heads, tips=tips, offset=4, deflate=True))
    found = catchup.named(catchup.decode_request(sent), known)
    assert {author: seq for author, seq in found.heads.items() if author in NAMES} == {
        author: seq for author, seq in heads.items() if author in known
    }
    assert found.tips == {author: tip for author, tip in tips.items() if author in known}
    assert len(found.heads) == len(heads), "that the asker knows of others is seen"
    assert found.deflate


def test_an_author_costs_a_quarter_of_its_name() -> None:
    heads = dict.fromkeys(NAMES, 200)
    tips = dict.fromkeys(NAMES, b"12345678")
    plain, marked = (len(catchup.encode_request(Request(BRIEF, heads, tips=tips, offset=s))) for s in (None, 4))
    assert (marked - 150) / len(NAMES) < 0.25 * plain / len(NAMES)


def test_names_are_not_marked_and_stay_as_they_are() -> None:
    request = catchup.decode_request(catchup.encode_request(Request(BRIEF, {NAMES[0]: 3})))
    assert catchup.named(request, NAMES) == request == Request(BRIEF, {NAMES[0]: 3})


def test_every_offset_gives_whole_marks_of_its_own() -> None:
    marks = {mark_of(NAMES[0], offset) for offset in range(OFFSETS)}
    assert (len(marks), {len(mark) for mark in marks}) == (27, {MARK_BYTES})


async def test_requests_in_a_row_are_cut_at_other_places(autojump_clock) -> None:
    """Or an author whose mark is another's would be hidden for ever."""
    network, offsets = MemoryNetwork(Random(1)), []
    one, two = memory_node(network, 1), memory_node(network, 2, bootstrap=[network.address(identity(1).peer_id)])
    serve = one.service._intake.serve

    def listening(peer: str, message: bytes) -> bytes:
        offsets.append(msgpack.unpackb(message)["offset"])
        return serve(peer, message)

    one.service._intake.serve = listening  # type: ignore[method-assign]
    async with one.running(), two.running():
        await trio.sleep(200)
    assert len(offsets) > 3
    assert len(set(offsets)) == len(offsets)


def test_who_claims_a_mark_of_nobody_is_only_ahead() -> None:
    heads, tips = Marked(4, {b"nobody": 7}, {b"nobody": b"12345678"}).named(NAMES)
    assert (heads, tips) == ({b"nobody".hex(): 7}, {})


@pytest.mark.parametrize(
    "change",
    [
        {"offset": OFFSETS},
        {"offset": -1},
        {"offset": 1.0},
        {"offset": True},
        {"offset": None},
        {"marks": bytes(MARK_BYTES)},
        {"marks": bytes(2 * MARK_BYTES - 1)},
        {"marks": None},
        {"marks": [b"123456", b"123456"]},
        {"seqs": [1]},
        {"seqs": [1, 0]},
        {"seqs": [1, -1]},
        {"seqs": [1, True]},
        {"seqs": [1, 2**53]},
        {"seqs": {"a": 2}},
        {"seqs": None},
        {"marks": bytes(MARK_BYTES * 4097), "seqs": [1] * 4097},
    ],
)
def test_wrong_marks_are_refused(change: dict[str, object]) -> None:
    fields = msgpack.unpackb(catchup.encode_request(Request(BRIEF, dict.fromkeys(NAMES[:2], 1), offset=4)))
    catchup.decode_request(msgpack.packb(fields))
    with pytest.raises(Refused) as caught:
        catchup.decode_request(msgpack.packb(fields | change))
    assert caught.value.reason is RefusalReason.MALFORMED

"""Authors named by six bytes in one request: the answerer finds those it knows, and hostile marks find nobody."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import catchup
from gossip.catchup import Request
from gossip.forks import NO_MORE
from gossip.marks import MARK_BYTES, Marked, mark_of
from gossip.refusal import RefusalReason, Refused
from tests.simworld.gossip_world import BRIEF, identity

NAMES = [identity(n).peer_id for n in range(1, 40)]
SALT = b"8 bytes!"


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(1, NO_MORE)), st.sets(st.sampled_from(NAMES)), st.booleans())
def test_the_answerer_finds_those_whom_both_know(heads: dict[str, int], known: set[str], with_tips: bool) -> None:
    tips = {author: bytes([n % 255 + 1]) * 8 for n, author in enumerate(heads)} if with_tips else {}
    sent = catchup.encode_request(Request(BRIEF, heads, tips=tips, salt=SALT, deflate=True))
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
    plain, marked = (len(catchup.encode_request(Request(BRIEF, heads, tips=tips, salt=s))) for s in (b"", SALT))
    assert (marked - 150) / len(NAMES) < 0.25 * plain / len(NAMES)


def test_names_are_not_marked_and_stay_as_they_are() -> None:
    request = catchup.decode_request(catchup.encode_request(Request(BRIEF, {NAMES[0]: 3})))
    assert catchup.named(request, NAMES) == request == Request(BRIEF, {NAMES[0]: 3})


def test_another_salt_gives_other_marks() -> None:
    assert len({mark_of(bytes([n]) * 8, NAMES[0]) for n in range(100)}) == 100


def test_who_claims_a_mark_of_nobody_is_only_ahead() -> None:
    heads, tips = Marked(SALT, {b"nobody": 7}, {b"nobody": b"12345678"}).named(NAMES)
    assert (heads, tips) == ({b"nobody".hex(): 7}, {})


@pytest.mark.parametrize(
    "change",
    [
        {"salt": b""},
        {"salt": "8 bytes!"},
        {"salt": None},
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
    fields = msgpack.unpackb(catchup.encode_request(Request(BRIEF, dict.fromkeys(NAMES[:2], 1), salt=SALT)))
    catchup.decode_request(msgpack.packb(fields))
    with pytest.raises(Refused) as caught:
        catchup.decode_request(msgpack.packb(fields | change))
    assert caught.value.reason is RefusalReason.MALFORMED

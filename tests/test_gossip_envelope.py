import hashlib

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.envelope import MAX_FRAME_BYTES, SIGNING_PREFIX, open_frame, seal
from gossip.identity import Identity
from gossip.refusal import Answer, RefusalReason, Refused

AUTHOR = Identity(bytes(range(32)))
BRIEF = "ab" * 32
FIELDS = {
    "v": 1,
    "kind": "finding",
    "brief": BRIEF,
    "author": AUTHOR.peer_id,
    "seq": 1,
    "prev": "",
    "at": 1_700_000_000_000,
    "payload": b"payload",
}


def framed(body: bytes, author: Identity = AUTHOR) -> bytes:
    return author.sign(SIGNING_PREFIX + body) + body


def reason_of(frame: bytes) -> RefusalReason:
    with pytest.raises(Refused) as caught:
        open_frame(frame)
    return caught.value.reason


def test_what_was_sealed_is_what_is_opened() -> None:
    record = seal(AUTHOR, "finding", BRIEF, 2, "cd" * 32, 1234, b"hello")
    assert open_frame(record.frame) == record
    assert (record.seq, record.prev, record.at_ms, record.payload) == (2, "cd" * 32, 1234, b"hello")
    assert record.id == hashlib.sha256(record.frame[64:]).hexdigest()


@given(st.binary(max_size=4096))
@settings(max_examples=500)
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        open_frame(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    )
)
@settings(max_examples=300)
def test_any_signed_msgpack_is_a_record_or_refused(value: object) -> None:
    with pytest.raises(Refused):
        open_frame(framed(msgpack.packb(value)))


@given(
    st.sampled_from(sorted(FIELDS)),
    st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.floats() | st.text() | st.binary(),
)
@settings(max_examples=300)
def test_a_field_is_valid_or_the_record_is_refused(name: str, value: object) -> None:
    frame = framed(msgpack.packb({**FIELDS, name: value}))
    try:
        record = open_frame(frame)
    except Refused:
        return
    assert record.frame == frame
    assert type(record.seq) is int
    assert record.seq >= 1


@given(st.data())
@settings(max_examples=200)
def test_flipping_any_bit_refuses(data: st.DataObject) -> None:
    frame = bytearray(seal(AUTHOR, "finding", BRIEF, 1, "", 5, b"some payload").frame)
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Refused):
        open_frame(bytes(frame))


@given(st.integers(0, 400))
def test_a_cut_frame_is_refused(length: int) -> None:
    frame = seal(AUTHOR, "finding", BRIEF, 1, "", 5, b"some payload").frame
    with pytest.raises(Refused):
        open_frame(frame[: min(length, len(frame) - 1)])


def test_trailing_bytes_are_refused() -> None:
    body = msgpack.packb(FIELDS) + b"\x00"
    assert reason_of(framed(body)) is RefusalReason.MALFORMED


def test_unknown_fields_survive_in_the_bytes() -> None:
    frame = framed(msgpack.packb({**FIELDS, "later": {"x": [1, 2.5, "y", b"z"]}}))
    record = open_frame(frame)
    assert record.frame == frame
    assert record.payload == b"payload"


def test_a_key_given_twice_is_refused() -> None:
    body = msgpack.packb(FIELDS)
    twice = bytes([body[0] + 1]) + body[1:] + msgpack.packb("seq") + msgpack.packb(9)
    assert reason_of(framed(twice)) is RefusalReason.MALFORMED


def test_a_deep_body_is_refused() -> None:
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    assert reason_of(framed(msgpack.packb({**FIELDS, "deep": deep}))) is RefusalReason.MALFORMED


def test_an_oversized_frame_is_refused_unread() -> None:
    assert reason_of(bytes(MAX_FRAME_BYTES + 1)) is RefusalReason.OVERSIZE


def test_nobody_signs_for_another() -> None:
    assert reason_of(framed(msgpack.packb(FIELDS), Identity(bytes(32)))) is RefusalReason.BAD_SIGNATURE


def test_a_signature_for_another_purpose_does_not_count() -> None:
    body = msgpack.packb(FIELDS)
    assert reason_of(AUTHOR.sign(body) + body) is RefusalReason.BAD_SIGNATURE


def test_a_newer_version_is_nobodys_fault() -> None:
    with pytest.raises(Refused) as caught:
        open_frame(framed(msgpack.packb({**FIELDS, "v": 2})))
    assert caught.value.reason is RefusalReason.UNKNOWN_VERSION
    assert caught.value.refusal.answer is Answer.IGNORE


@pytest.mark.parametrize(("seq", "prev"), [(1, "cd" * 32), (2, ""), (0, ""), (2, "CD" * 32)])
def test_only_the_first_record_has_none_before_it(seq: int, prev: str) -> None:
    with pytest.raises(Refused):
        seal(AUTHOR, "finding", BRIEF, seq, prev, 1, b"")


def test_what_is_too_large_to_send_cannot_be_sealed() -> None:
    with pytest.raises(Refused, match="larger"):
        seal(AUTHOR, "finding", BRIEF, 1, "", 1, bytes(MAX_FRAME_BYTES))

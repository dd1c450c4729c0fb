"""Broadcasts compressed with a dictionary: what goes in comes out, and hostile bytes cost no more than a frame."""

import tracemalloc
import zlib
from random import Random

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gossip.admission import Admission, Admitted
from gossip.budgets import Rate
from gossip.bus import Deliver, Serve
from gossip.envelope import MAX_FRAME_BYTES, seal
from gossip.heard import Heard, Way
from gossip.memory_bus import MemoryNetwork
from gossip.packing import Packing
from gossip.refusal import Refusal, RefusalReason, Refused
from gossip.traffic import Kind
from tests.simworld.gossip_world import BRIEF, TOPIC, Node, identity, until

DICTIONARY = b"what most records of a brief have in common" * 5
PACKING = Packing(DICTIONARY)
RECORD = seal(identity(1), "finding", BRIEF, 1, "", 0, DICTIONARY)


def packed(plain: bytes, dictionary: bytes = DICTIONARY, level: int = 9) -> bytes:
    stream = zlib.compressobj(level, zdict=dictionary)
    return stream.compress(plain) + stream.flush()


def refusal(data: bytes, packing: Packing = PACKING) -> RefusalReason:
    with pytest.raises(Refused) as caught:
        packing.unpack(data)
    return caught.value.reason


@given(st.binary(max_size=2000))
def test_what_is_packed_comes_out_as_it_went_in_and_never_longer(frame: bytes) -> None:
    data = PACKING.pack(frame)
    assert len(data) <= len(frame)
    assert PACKING.unpack(data) == frame


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_frame_or_refused(data: bytes, begins_right: bool) -> None:
    data = packed(b"x")[:6] + data if begins_right else data
    try:
        frame = PACKING.unpack(data)
    except Refused as refused:
        frame, reason = data, refused.reason
    else:
        reason = RefusalReason.MALFORMED
    assert (len(frame) <= MAX_FRAME_BYTES, reason) == (True, RefusalReason.MALFORMED)
    assert PACKING.plain(data) == frame


@pytest.mark.parametrize("level", range(10))
def test_whatever_the_sender_s_zlib_does_is_read(level: int) -> None:
    data = packed(RECORD.frame, level=level)
    assert data[1] & 0x20
    assert PACKING.unpack(data) == RECORD.frame


def test_a_record_is_much_shorter_and_what_cannot_be_goes_as_it_is() -> None:
    assert len(PACKING.pack(RECORD.frame)) < len(RECORD.frame) * 0.75
    noise = Random(1).randbytes(500)
    assert PACKING.pack(noise) == noise


@pytest.mark.parametrize(
    "data",
    [
        packed(RECORD.frame)[:-1],
        packed(RECORD.frame)[:6],
        packed(RECORD.frame)[:60],
        packed(RECORD.frame) + b"\0",
        packed(RECORD.frame) + packed(RECORD.frame),
        packed(RECORD.frame)[:-1] + b"\xff",
        packed(b"x")[:6] + b"\xff" * 20,
        packed(bytes(MAX_FRAME_BYTES + 1)),
        packed(bytes(50_000_000)),
    ],
    ids=["torn", "head only", "torn early", "a byte after", "two", "sum", "no stream", "a byte too long", "bomb"],
)
def test_hostile_streams_are_malformed_and_take_no_more_memory_than_a_frame(data: bytes) -> None:
    tracemalloc.start()
    try:
        assert refusal(data) is RefusalReason.MALFORMED
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_FRAME_BYTES
    finally:
        tracemalloc.stop()


def test_the_largest_frame_comes_out_whole() -> None:
    frame = bytes(MAX_FRAME_BYTES)
    assert PACKING.unpack(packed(frame)) == frame


def test_another_dictionary_s_stream_is_taken_for_a_frame_and_is_none() -> None:
    data = packed(RECORD.frame, b"the dictionary of another brief")
    assert PACKING.unpack(data) == data
    outcome = Admission(BRIEF, packing=PACKING).admit(data, "peer", 0.0)
    assert isinstance(outcome, Refusal)
    assert outcome.reason is RefusalReason.MALFORMED
    assert PACKING.unpack(zlib.compress(RECORD.frame)) == zlib.compress(RECORD.frame)


def test_who_has_no_dictionary_reads_and_sends_plain_frames_only() -> None:
    bare = Packing()
    assert bare.pack(RECORD.frame) == bare.unpack(RECORD.frame) == RECORD.frame
    assert bare.unpack(packed(RECORD.frame, b"")) == packed(RECORD.frame, b"")


def test_one_record_is_one_record_however_it_is_packed() -> None:
    admission = Admission(BRIEF, packing=PACKING)
    outcomes = [
        admission.admit(data, "peer", 0.0)
        for data in (packed(RECORD.frame), RECORD.frame, packed(RECORD.frame, level=1), packed(packed(RECORD.frame)))
    ]
    assert outcomes[0] == Admitted(RECORD)
    reasons = [one.reason for one in outcomes[1:] if isinstance(one, Refusal)]
    assert reasons == [RefusalReason.DUPLICATE, RefusalReason.DUPLICATE, RefusalReason.MALFORMED], "packed twice: none"


def test_who_sends_too_fast_has_nothing_decompressed() -> None:
    class Counting(Packing):
        unpacked = 0

        def unpack(self, data: bytes) -> bytes:
            self.unpacked += 1
            return super().unpack(data)

    packing = Counting(DICTIONARY)
    admission = Admission(BRIEF, forwarder_rate=Rate(per_second=0, burst=2), packing=packing)
    for _ in range(10):
        admission.admit(packed(bytes(MAX_FRAME_BYTES)), "flooder", 0.0)
    assert packing.unpacked == 2


# --- whole services ---


def packing_node(network: MemoryNetwork, number: int, *known: int) -> Node:
    who = identity(number)

    def bus(deliver: Deliver, serve: Serve):
        return network.bus(who.peer_id, TOPIC, deliver, serve)

    bootstrap = [network.address(identity(n).peer_id) for n in known]
    return Node(who, bus, bootstrap=bootstrap, packing=PACKING)


async def test_a_record_travels_packed_and_is_kept_plain(autojump_clock) -> None:
    network = MemoryNetwork(Random(1))
    one, two, three = packing_node(network, 1), packing_node(network, 2, 1), packing_node(network, 3, 2)
    async with one.running(), two.running(), three.running():
        await until(lambda: len(two.service.snapshot().peers) == 2)
        await trio.sleep(1)
        record = one.write(DICTIONARY * 20)
        await until(lambda: record.id in three.store.ids())
        assert three.kept[-1].frame == record.frame
        sent = one.service.snapshot().traffic.totals[Kind.BROADCAST]
        assert sent.bytes_out <= sent.messages_out * len(record.frame) / 4


async def test_a_bomb_costs_its_sender_a_strike_and_is_remembered_by_its_bytes(autojump_clock) -> None:
    network = MemoryNetwork(Random(1))
    node = packing_node(network, 1)
    async with node.running():
        bomb = packed(bytes(10_000_000))
        for _ in range(9):
            node.service._intake.deliver("mallory", bomb)
        assert node.service.admits("mallory")
        for _ in range(2):
            node.service._intake.deliver("mallory", bomb)
        assert not node.service.admits("mallory"), "ten strikes are a ban"
        assert node.service.snapshot().counters["admission.malformed"] >= 10


async def test_what_was_refused_is_remembered_by_the_record_s_id(autojump_clock) -> None:
    network = MemoryNetwork(Random(1))
    node = packing_node(network, 1)
    forged = bytes(64) + RECORD.frame[64:]
    async with node.running():
        node.service._intake.deliver("liar", packed(forged))
        (entry,) = node.service.refused
        assert (entry.id, entry.heard) == (RECORD.id, Heard("liar", Way.BROADCAST))
        assert entry.reason is RefusalReason.BAD_SIGNATURE

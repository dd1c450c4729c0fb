"""What was refused is remembered for a while: from whom, why, how often; and a stranger cannot make it grow."""

from random import Random

import trio

from gossip import catchup
from gossip.envelope import MAX_FRAME_BYTES, SIGNATURE_BYTES, record_id, seal
from gossip.heard import Heard, RefusedRecords, Way
from gossip.memory_bus import MemoryNetwork
from gossip.refusal import Answer, Refusal, RefusalReason
from tests.simworld.gossip_world import BRIEF, TOPIC, identity, memory_node, until

EVE = Heard("eve", Way.BROADCAST)
FORGED = Refusal(RefusalReason.BAD_SIGNATURE, "record is not signed by its author")


def test_the_same_again_is_counted_and_others_push_it_out():
    refused = RefusedRecords(max_entries=3)
    for at in (10.0, 20.0, 30.0):
        refused.note(b"s" * SIGNATURE_BYTES + b"body", EVE, FORGED, at)
    (one,) = refused
    assert (one.id, one.times, one.first_at, one.last_at) == (record_id(b"body"), 3, 10.0, 30.0)
    for number in range(1000):
        refused.note(bytes(SIGNATURE_BYTES) + bytes([number % 256, number // 256]), EVE, FORGED, 40.0)
    assert len(refused) == 3
    assert record_id(b"body") not in {entry.id for entry in refused}


def test_what_is_ordinary_or_huge_is_not_remembered_and_sentences_are_short():
    refused = RefusedRecords()
    for reason in (RefusalReason.DUPLICATE, RefusalReason.KNOWN, RefusalReason.RATE_OF_FORWARDER):
        refused.note(b"x" * 100, EVE, Refusal(reason, "again"), 1.0)
    refused.note(b"x" * (MAX_FRAME_BYTES + 1), EVE, Refusal(RefusalReason.OVERSIZE, "large"), 1.0)
    assert not len(refused)
    refused.note(b"x" * 100, EVE, Refusal(RefusalReason.CONTENT, "y" * 10_000), 1.0)
    assert len(next(iter(refused)).sentence) == 200


async def test_a_service_tells_who_brought_what_it_refused_and_kept(autojump_clock):
    network = MemoryNetwork(Random(1))
    heard: dict[str, Heard] = {}
    honest = memory_node(network, 1)
    keep = honest.keep

    def note(record, how):
        heard[record.id] = how
        return Refusal(RefusalReason.CONTENT, "no finding") if record.payload == b"bad" else keep(record, how)

    honest.keep = note
    honest.fresh_service()
    early = seal(identity(9), "finding", BRIEF, 1, "", 5, b"early")
    bad = seal(identity(9), "finding", BRIEF, 2, early.id, 5, b"bad")
    frames = catchup.encode_page(catchup.Page((early.frame, bad.frame, b"garbage" * 20), more=False, addresses=()))
    eve_id = identity(66).peer_id
    eve = network.bus(eve_id, TOPIC, lambda *_: Answer.IGNORE, lambda *_: frames)
    async with honest.running(), trio.open_nursery() as nursery:
        await until(lambda: honest.service.snapshot().addresses)
        await nursery.start(eve.run)
        await eve.dial(network.address(honest.peer_id))
        await until(lambda: len(honest.service.refused) == 2)
        fresh = seal(identity(10), "finding", BRIEF, 1, "", 5, b"fresh")
        await eve.publish(fresh.frame)
        await until(lambda: fresh.id in heard)
        nursery.cancel_scope.cancel()
    assert heard[early.id] == heard[bad.id] == Heard(eve_id, Way.CATCHUP)
    assert heard[fresh.id] == Heard(eve_id, Way.BROADCAST)
    content, malformed = honest.service.refused
    assert (content.id, content.reason, content.heard.way) == (bad.id, RefusalReason.CONTENT, Way.CATCHUP)
    assert (malformed.reason, malformed.heard.peer) == (RefusalReason.MALFORMED, eve_id)

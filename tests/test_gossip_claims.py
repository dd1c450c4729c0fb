"""Claims at the door: what is a claim, who may make how many, and that no stranger's bytes do harm."""

import itertools
from random import Random

import msgpack
import pytest
import trio

from gossip.budgets import Rate
from gossip.claims import (
    AUTHOR_RATE,
    CLOCK_SECONDS,
    MAX_CLAIM_BYTES,
    MAX_SECONDS,
    MAX_SLOTS,
    PASSED_ON_RATE,
    SIGNING_PREFIX,
    Claim,
    ClaimAdmission,
    open_claim,
    seal_claim,
)
from gossip.memory_bus import MemoryNetwork
from gossip.refusal import Refusal, RefusalReason, Refused
from tests.simworld.gossip_world import BRIEF, Node, identity, until

ONE, TWO = identity(1), identity(2)
KEY = "ab" * 32
NOW_MS = 1_760_000_000_000


def claim(who=ONE, *, at_ms: int = NOW_MS, **fields) -> Claim:
    return seal_claim(who, BRIEF, KEY, **{"slot": 0, "at_ms": at_ms, "seconds": 300} | fields)


def signed(who=ONE, **changes) -> bytes:
    """A frame with a signature that fits, whatever its fields."""
    fields = {"v": 1, "author": who.public_key, "key": bytes(32), "slot": 0, "at": NOW_MS, "seconds": 5, "begun": False}
    body = msgpack.packb({name: value for name, value in (fields | changes).items() if value is not None})
    return who.sign(SIGNING_PREFIX + bytes.fromhex(BRIEF) + body) + body


def reason(outcome: Claim | Refusal) -> RefusalReason | None:
    return outcome.reason if isinstance(outcome, Refusal) else None


def admit(door: ClaimAdmission, frame: bytes, forwarder: str = "f", now: float = 0.0) -> RefusalReason | None:
    return reason(door.admit(frame, forwarder, now, NOW_MS))


def test_a_claim_says_what_it_was_made_of_and_is_small() -> None:
    made = claim(slot=3, seconds=301, begun=True)
    read = open_claim(made.frame, BRIEF)
    assert (read.author, read.key, read.slot, read.at_ms) == (ONE.peer_id, KEY, 3, NOW_MS)
    assert (read.seconds, read.begun) == (301, True)
    assert len(made.frame) < 200


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 0}, {"v": True}, {"v": None}, {"author": bytes(31)}, {"author": "x" * 32}, {"key": bytes(33)},
        {"key": None}, {"slot": MAX_SLOTS}, {"slot": -1}, {"slot": True}, {"slot": 1.0}, {"at": -1}, {"at": 2**53},
        {"seconds": MAX_SECONDS + 1}, {"seconds": -1}, {"seconds": 2.5}, {"begun": 1}, {"begun": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_field_that_is_not_valid_is_malformed(changes) -> None:
    assert admit(ClaimAdmission(BRIEF), signed(**changes)) is RefusalReason.MALFORMED


def test_what_is_not_a_claim_is_refused_and_nothing_else() -> None:
    good = signed()
    twice = good[:64] + bytes([good[64] + 1]) + good[65:] + msgpack.packb("slot") + msgpack.packb(1)
    for frame in (
        b"",
        good[:64],
        good[:-1],
        good + b"\0",
        good[:64] + b"\x91\x01",
        good[:64] + b"\xdf\xff\xff\xff\xff",
        twice,
    ):
        assert admit(ClaimAdmission(BRIEF), frame) is RefusalReason.MALFORMED
    assert admit(ClaimAdmission(BRIEF), good + bytes(MAX_CLAIM_BYTES)) is RefusalReason.OVERSIZE
    assert admit(ClaimAdmission(BRIEF), signed(v=2)) is RefusalReason.UNKNOWN_VERSION


def test_keys_of_the_future_are_passed_over() -> None:
    assert admit(ClaimAdmission(BRIEF), signed(later=[1, "two"])) is None


def test_a_claim_holds_for_its_brief_and_its_author_only() -> None:
    frame = claim().frame
    assert admit(ClaimAdmission("cd" * 32), frame) is RefusalReason.BAD_SIGNATURE
    assert admit(ClaimAdmission(BRIEF), TWO.sign(frame[64:]) + frame[64:]) is RefusalReason.BAD_SIGNATURE
    stolen = frame.replace(ONE.public_key, TWO.public_key)
    assert admit(ClaimAdmission(BRIEF), stolen) is RefusalReason.BAD_SIGNATURE


def test_a_claim_is_heard_once_and_an_older_one_in_its_place_no_more() -> None:
    door = ClaimAdmission(BRIEF)
    older, newer, elsewhere = claim(), claim(at_ms=NOW_MS + 5), claim(slot=1)
    assert [admit(door, one.frame) for one in (newer, newer, older, elsewhere)] == [
        None, RefusalReason.DUPLICATE, RefusalReason.DUPLICATE, None,
    ]  # fmt: skip


def test_a_forged_claim_does_not_silence_its_author() -> None:
    door = ClaimAdmission(BRIEF)
    forged = claim(at_ms=NOW_MS + 60_000).frame
    assert admit(door, bytes(64) + forged[64:]) is RefusalReason.BAD_SIGNATURE
    assert admit(door, claim().frame) is None


@pytest.mark.parametrize("apart", [-1, 1])
def test_a_clock_that_is_a_little_wrong_is_tolerated_and_an_old_claim_is_not(apart: int) -> None:
    most = int(CLOCK_SECONDS * 1000)
    assert admit(ClaimAdmission(BRIEF), claim(at_ms=NOW_MS + apart * most).frame) is None
    assert admit(ClaimAdmission(BRIEF), claim(at_ms=NOW_MS + apart * (most + 1)).frame) is RefusalReason.CLAIM_TIME


def test_strangers_without_a_record_cannot_use_up_what_is_passed_on() -> None:
    door = ClaimAdmission(BRIEF, has_records=lambda author: author == ONE.peer_id)
    strangers = [identity(n) for n in range(3, 200)]
    found = [admit(door, claim(who).frame) for who in strangers]
    assert set(found) == {RefusalReason.CLAIM_OF_NOBODY}
    assert admit(door, claim(ONE).frame, "g") is None


def test_an_author_who_claims_without_end_is_heard_slowly_and_others_are_not_delayed() -> None:
    door = ClaimAdmission(BRIEF)
    outcomes = [admit(door, claim(at_ms=NOW_MS + n, slot=n % 16).frame) for n in range(200)]
    assert outcomes.count(None) == AUTHOR_RATE.burst
    assert outcomes.count(RefusalReason.RATE_OF_AUTHOR) == 200 - AUTHOR_RATE.burst
    assert admit(door, claim(TWO).frame, "g") is None


def test_a_forwarder_has_a_budget_before_anything_is_read() -> None:
    door = ClaimAdmission(BRIEF, forwarder_rate=Rate(1, 3))
    assert [admit(door, b"junk") for _ in range(5)].count(RefusalReason.RATE_OF_FORWARDER) == 2
    assert admit(door, claim().frame, "another") is None


def test_what_is_passed_on_is_bounded_whoever_made_it() -> None:
    door = ClaimAdmission(BRIEF)
    outcomes = [admit(door, claim(identity(n)).frame, f"forwarder {n % 7}") for n in range(1, 200)]
    assert outcomes.count(None) == PASSED_ON_RATE.burst
    assert set(outcomes) == {None, RefusalReason.CLAIMS_FULL}
    assert door.statistics() == {"accepted": PASSED_ON_RATE.burst, "claims_full": 199 - PASSED_ON_RATE.burst}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossip.claims._REMEMBERED", 10)
    door = ClaimAdmission(BRIEF, passed_on_rate=Rate(1000, 1000))
    for n in range(1, 50):
        assert admit(door, claim(identity(n)).frame) is None
    assert len(door._latest) == 10


def test_whose_records_are_not_taken_claims_nothing() -> None:
    refusal = Refusal(RefusalReason.AUTHOR_DENIED, "a person said so")
    door = ClaimAdmission(BRIEF, refuse_author=lambda author: refusal if author == TWO.peer_id else None)
    assert admit(door, claim(TWO).frame) is RefusalReason.AUTHOR_DENIED
    assert admit(door, claim(ONE).frame) is None


def test_nothing_unreadable_is_made() -> None:
    for wrong in ({"slot": MAX_SLOTS}, {"seconds": MAX_SECONDS + 1}, {"at_ms": -1}):
        with pytest.raises(Refused):
            claim(**wrong)


# --- among nodes ---


class Listener(Node):
    """A node of gossip_world that writes down what was claimed."""

    def fresh_service(self):
        self.claims: list[Claim] = []
        service = super().fresh_service()
        service._intake._on_claim = self.claims.append
        return service


def listeners(network: MemoryNetwork, count: int) -> list[Listener]:
    def bus(who):
        return lambda deliver, serve: network.bus(who.peer_id, f"/swarm/1/{BRIEF}", deliver, serve)

    first = network.address(identity(1).peer_id)
    return [Listener(identity(n), bus(identity(n)), bootstrap=[first] * (n > 1)) for n in range(1, count + 1)]


async def test_claims_reach_everybody_once_and_no_journal(autojump_clock) -> None:
    network = MemoryNetwork(Random(1))
    nodes = listeners(network, 4)
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.service.run)
        await until(lambda: all(len(node.service.snapshot().peers) >= 1 for node in nodes))
        await trio.sleep(60)  # addresses have been passed around
        made = claim(at_ms=int(trio.current_time() * 1000))
        nodes[0].service.tell_claim(made.frame)
        await until(lambda: all(node.claims for node in nodes[1:]))
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
    assert [[one.frame for one in node.claims] for node in nodes] == [[]] + [[made.frame]] * 3
    assert [len(node.store) for node in nodes] == [0] * 4
    assert nodes[1].service.snapshot().counters["claims.accepted"] == 1


async def test_without_a_network_a_claim_is_lost_and_nobody_waits(autojump_clock) -> None:
    network = MemoryNetwork(Random(1))
    (node,) = listeners(network, 1)
    node.service.tell_claim(claim().frame)
    assert node.service.snapshot().counters == {"claims.not_sent": 1}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.service.run)
        await until(lambda: node.service._bus is not None)
        for number in range(50):  # more at once than wait
            node.service.tell_claim(claim(at_ms=NOW_MS + number).frame)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert node.service.snapshot().counters["claims.not_sent"] > 40


async def test_a_peer_that_sends_no_claims_as_claims_is_banned(autojump_clock) -> None:
    network = MemoryNetwork(Random(1))
    nodes = listeners(network, 2)
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.service.run)
        await until(lambda: nodes[1].service.snapshot().peers)
        await trio.sleep(5)
        for number in itertools.count():
            if not nodes[0].service.admits(TWO.peer_id):
                break
            network.running(ONE.peer_id).hear(TWO.peer_id, b"junk %d" % number, b"", claim=True)
        network.running(ONE.peer_id).hear(TWO.peer_id, claim(TWO, at_ms=5000).frame, b"", claim=True)
        nursery.cancel_scope.cancel()
    assert number == 10, "ten strikes"
    assert nodes[0].claims == [], "and a good claim of one who is banned is not heard"

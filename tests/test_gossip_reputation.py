"""Strikes fade, bans get longer and end, and no honest peer is ever banned for what others sent through it."""

import json
from random import Random

import pytest

from gossip.doorkeeper import Doorkeeper, PeerLists
from gossip.identity import Identity
from gossip.refusal import RefusalReason
from gossip.reputation import (
    BAN_AT,
    FIRST_BAN_SECONDS,
    FOR_ANSWER,
    FOR_BROADCAST,
    FOR_OWN_FLOOD,
    FOR_REQUEST,
    HALF_LIFE_SECONDS,
    LONGEST_BAN_SECONDS,
    MAX_PEERS,
    Reputation,
)

EVE, BOB = (Identity(bytes([n]) * 32).peer_id for n in (9, 2))
DAY = 86_400.0
ENTRY = {"peer": EVE, "strikes": 1, "counted_at": 0, "bans": 1, "banned_at": 0, "ban_seconds": 0, "reason": ""}


def ban(reputation: Reputation, now: float, peer: str = EVE) -> float:
    seconds = reputation.strike(peer, BAN_AT, "malformed", now)
    assert seconds is not None
    return seconds


def test_strikes_add_up_to_a_ban_of_that_peer_only() -> None:
    reputation = Reputation()
    outcomes = [reputation.strike(EVE, 1.0, "malformed", 100.0) for _ in range(10)]
    assert outcomes == [None] * 9 + [FIRST_BAN_SECONDS]
    assert reputation.seconds_left(EVE, 100.0 + FIRST_BAN_SECONDS / 2) == FIRST_BAN_SECONDS / 2
    assert reputation.seconds_left(EVE, 100.0 + FIRST_BAN_SECONDS) == 0
    assert reputation.seconds_left(BOB, 100.0) == 0


def test_strikes_fade() -> None:
    reputation = Reputation()
    for n in range(100):
        assert reputation.strike(EVE, 4.9, "malformed", n * HALF_LIFE_SECONDS) is None
    (standing,) = reputation
    assert standing.strikes_at(99 * HALF_LIFE_SECONDS) == pytest.approx(9.8)
    assert standing.strikes_at(100 * HALF_LIFE_SECONDS) == pytest.approx(4.9)


def test_each_next_ban_is_longer_up_to_a_day_and_good_conduct_is_rewarded() -> None:
    reputation, now, lengths = Reputation(), 1000.0, []
    for _ in range(8):
        lengths.append(ban(reputation, now))
        now += lengths[-1]
    assert lengths == [60, 240, 960, 3840, 15_360, 61_440, LONGEST_BAN_SECONDS, LONGEST_BAN_SECONDS]
    assert ban(reputation, now + DAY) == FIRST_BAN_SECONDS


def test_who_is_banned_gets_no_strikes() -> None:
    reputation = Reputation()
    ban(reputation, 0.0)
    assert reputation.strike(EVE, 100.0, "malformed", 30.0) is None
    assert reputation.strike(EVE, 1.0, "malformed", 61.0) is None


def test_a_clock_that_went_back_makes_no_ban_longer_than_it_was() -> None:
    reputation = Reputation()
    ban(reputation, 10 * 365 * DAY)
    assert reputation.seconds_left(EVE, 5.0) == FIRST_BAN_SECONDS
    assert reputation.seconds_left(EVE, 5.0 + FIRST_BAN_SECONDS) == 0
    reputation.strike(EVE, 9.0, "malformed", 10 * 365 * DAY)
    assert reputation.strike(EVE, 0.5, "malformed", 3.0) is None, "time that ran backwards adds nothing"


def test_bans_survive_a_restart() -> None:
    before, after = Reputation(), Reputation()
    ban(before, 100.0)
    before.strike(BOB, 3.0, "oversize", 100.0)
    after.load_json(before.to_json())
    assert list(after) == list(before)
    assert after.seconds_left(EVE, 110.0) == 50
    assert ban(after, 200.0) == 240, "the second one"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"peers": 3}',
        '{"peers": [3, {}, {"peer": "me"}]}',
        json.dumps({"peers": [{**ENTRY, "strikes": 1e999}]}),
        json.dumps({"peers": [{**ENTRY, "bans": -1}]}),
        json.dumps({"peers": [{**ENTRY, "peer": "x"}]}),
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_an_empty_one(text: str) -> None:
    reputation = Reputation()
    reputation.load_json(text)
    assert len(reputation) == 0


def test_a_file_cannot_ban_for_longer_than_a_day() -> None:
    reputation = Reputation()
    item = {**ENTRY, "banned_at": 1e300, "ban_seconds": 1e300, "reason": "x" * 999}
    reputation.load_json(json.dumps({"peers": [item]}))
    assert reputation.seconds_left(EVE, 100.0) == LONGEST_BAN_SECONDS


def test_memory_is_bounded_and_bans_are_remembered_longest() -> None:
    reputation, rng = Reputation(), Random(1)
    ban(reputation, 0.0)
    for _ in range(MAX_PEERS + 50):
        reputation.strike(Identity(rng.randbytes(32)).peer_id, 1.0, "malformed", 1.0)
    assert len(reputation) == MAX_PEERS
    assert reputation.seconds_left(EVE, 1.0) > 0
    assert len(reputation.to_json()) < 400 * MAX_PEERS


HONEST = {  # what an honest peer may pass on, or do, without any fault of its own
    RefusalReason.UNKNOWN_VERSION,
    RefusalReason.DUPLICATE,
    RefusalReason.KNOWN,
    RefusalReason.INBOX_FULL,
    RefusalReason.EQUIVOCATION,
    RefusalReason.AUTHOR_EQUIVOCATED,
    RefusalReason.CONTENT,
    RefusalReason.AUTHOR_DENIED,
    RefusalReason.AUTHOR_NOT_ALLOWED,
    RefusalReason.PEER_BARRED,
    RefusalReason.CLAIM_TIME,
    RefusalReason.CLAIM_OF_NOBODY,
    RefusalReason.CLAIMS_FULL,
}


@pytest.mark.parametrize("reason", RefusalReason)
def test_every_reason_either_counts_somewhere_or_is_one_that_honest_peers_cause(reason: RefusalReason) -> None:
    counts = any(reason in table for table in (FOR_BROADCAST, FOR_OWN_FLOOD, FOR_ANSWER, FOR_REQUEST))
    assert counts != (reason in HONEST)


def test_an_honest_peer_in_a_flood_of_others_is_not_banned_within_seconds_and_a_flooder_within_a_minute() -> None:
    door = Doorkeeper()
    overruns = [door.judge(EVE, FOR_BROADCAST, RefusalReason.RATE_OF_FORWARDER, n / 800) for n in range(48_000)]
    assert all(one is None for one in overruns[:8000])
    assert any(overruns)


def test_lists_say_who_may_come_in_and_whose_records_are_taken() -> None:
    me = Identity(bytes(32)).peer_id
    open_door, denying, choosy = (
        Doorkeeper(me, lists)
        for lists in (PeerLists(), PeerLists(deny=frozenset({EVE})), PeerLists(frozenset({BOB, EVE}), frozenset({EVE})))
    )
    assert [door.admits(EVE, 0.0) for door in (open_door, denying, choosy)] == [True, False, False]
    assert [door.admits(BOB, 0.0) for door in (open_door, denying, choosy)] == [True, True, True]
    other = Identity(bytes([7]) * 32).peer_id
    assert [door.admits(other, 0.0) for door in (open_door, denying, choosy)] == [True, True, False]
    assert choosy.admits(me, 0.0)
    assert choosy.refuse_author(me) is None
    assert choosy.refuse_author(other).reason is RefusalReason.AUTHOR_NOT_ALLOWED
    assert denying.refuse_author(EVE).reason is RefusalReason.AUTHOR_DENIED
    assert open_door.refuse_author(EVE) is None


def test_records_of_a_banned_forwarder_are_still_good_when_others_bring_them() -> None:
    door = Doorkeeper()
    for _ in range(10):
        door.judge(EVE, FOR_BROADCAST, RefusalReason.MALFORMED, 5.0)
    assert not door.admits(EVE, 5.0)
    assert door.refuse_author(EVE) is None
    assert door.statistics() == {"bans": 1, "strikes": 10}

"""Leases: who has what for how long, who wins a race, and how far a stranger is obeyed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.claim import CLAIMS_A_RECORD, MAX_LEASES, Lease, Leases, lease_key
from swarm.trial import Track
from swarm.words import PeerId

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")
KEY, OTHER = "1" * 64, "2" * 64


def hear(
    leases: Leases, author: PeerId = A, key: str = KEY, slot: int = 0, seconds: float = 100, **more
) -> Lease | None:
    return leases.hear(author, key, slot, seconds, **{"begun": False, "records": 5, "now": 0.0} | more)


def test_a_lease_is_on_a_key_of_one_track() -> None:
    tracks = [Track(hardware_class=c, budget_seconds=b) for c in ("cpu-2", "cpu-4") for b in (10.0, 20.0)]
    assert len({lease_key(key, track) for key in (KEY, OTHER) for track in tracks}) == 8


def test_it_ends_by_the_readers_clock() -> None:
    leases = Leases(1000)
    hear(leases, now=50.0)
    assert leases.holder(KEY, 149.9)
    assert leases.holder(KEY, 150.0) is None
    assert leases.holder(OTHER, 60.0) is None


def test_the_next_claim_of_a_slot_lets_the_one_before_go_and_so_does_giving_up() -> None:
    leases = Leases(1000)
    hear(leases)
    hear(leases, key=OTHER)
    assert [lease.key for lease in leases.live(1.0)] == [OTHER]
    hear(leases, key=KEY, slot=1)
    assert len(leases.live(1.0)) == 2
    assert hear(leases, key=OTHER, seconds=0) is None
    assert [lease.key for lease in leases.live(1.0)] == [KEY]


def test_nobody_holds_a_thing_for_ever_however_often_it_is_claimed() -> None:
    leases = Leases(longest_seconds=250)
    for now in range(0, 1000, 10):
        hear(leases, slot=now // 10 % 2, seconds=10**9, now=float(now), records=now + 1)
        assert (leases.holder(KEY, now + 0.5) is not None) == (now < 250)


def test_an_author_who_has_shown_nothing_is_not_obeyed() -> None:
    leases = Leases(1000)
    assert hear(leases, records=0) is None
    assert leases.live(0.0) == []
    assert hear(leases, records=1)


def test_who_claims_and_never_finds_is_obeyed_no_longer_until_it_does() -> None:
    leases = Leases(1000)
    heard = [hear(leases, key=f"{n:064}", slot=n % 16, now=float(n)) for n in range(3 * CLAIMS_A_RECORD)]
    assert [one is not None for one in heard] == [n < CLAIMS_A_RECORD for n in range(3 * CLAIMS_A_RECORD)]
    assert len(leases.live(50.0)) == 0, "what it claimed beyond that took the place of what was obeyed"
    assert hear(leases, records=6)


def test_memory_is_bounded_by_number_whoever_claims() -> None:
    leases = Leases(1000)
    for n in range(MAX_LEASES + 100):
        hear(leases, PeerId(f"peer {n}"))
    assert len(leases.live(1.0)) == MAX_LEASES


@given(st.permutations([A, B, C]), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_everybody_sees_the_same_winner_whatever_the_order(order: list[PeerId], key: str) -> None:
    leases = Leases(1000)
    for author in order:
        hear(leases, author, key)
    winner = leases.holder(key, 1.0)
    assert winner is not None
    ranks = {author: Lease(author, key, begun=False, since=9.0, ends=9.0).rank for author in order}
    assert winner.author == min(ranks, key=ranks.__getitem__)


def test_nobody_wins_everywhere() -> None:
    winners = set()
    for n in range(40):
        leases = Leases(1000)
        for author in (A, B, C):
            hear(leases, author, f"{n:064}")
        winners.add(leases.holder(f"{n:064}", 1.0).author)
    assert winners == {A, B, C}


@pytest.mark.parametrize("begun", [A, B, C])
def test_who_has_begun_wins_against_all_who_have_not(begun: PeerId) -> None:
    for order in itertools.permutations([A, B, C]):
        leases = Leases(1000)
        for author in order:
            hear(leases, author, begun=author == begun)
        assert leases.holder(KEY, 1.0).author == begun

"""How much of a blob a peer is given: everything once and for mishaps, nothing for whoever only takes."""

from itertools import pairwise

import pytest

from gossip.blob_budget import LEAST_BYTES, REQUEST_RATE, SECONDS_FOR_ANOTHER, TIMES_AT_ONCE, BlobBudget

SIZE = 40 * LEAST_BYTES
BLOB, OTHER = "a" * 64, "b" * 64


def take_all(
    budget: BlobBudget, now: float, peer: str = "p", blob: str = BLOB, size: int = SIZE, begin: int = 0
) -> bool:
    if not budget.may_take(peer, blob, size - begin, size, now):
        return False
    for at in range(begin, size, LEAST_BYTES):
        budget.given(peer, blob, min(LEAST_BYTES, size - at), size, now)
    return True


def test_a_blob_can_be_taken_a_few_times_then_once_an_hour() -> None:
    budget = BlobBudget()
    taken = [now for now in range(0, 24 * 3600, 60) if take_all(budget, float(now))]
    assert taken[:TIMES_AT_ONCE] == [0, 60, 120]
    assert len(taken) == TIMES_AT_ONCE + 23
    assert all(b - a >= SECONDS_FOR_ANOTHER - 60 for a, b in pairwise(taken[3:]))


def test_only_what_was_sent_counts_so_a_line_that_breaks_again_and_again_gets_there() -> None:
    budget = BlobBudget()
    for _ in range(1000):
        assert budget.may_take("p", BLOB, SIZE, SIZE, 0.0)
    for begin in range(0, SIZE, LEAST_BYTES):
        assert budget.may_take("p", BLOB, SIZE - begin, SIZE, 0.0)
        budget.given("p", BLOB, LEAST_BYTES, SIZE, 0.0)
    assert take_all(budget, 0.0)


def test_peers_and_blobs_have_budgets_of_their_own() -> None:
    budget = BlobBudget()
    while take_all(budget, 0.0):
        pass
    assert take_all(budget, 0.0, peer="q")
    assert take_all(budget, 0.0, blob=OTHER)
    assert budget.may_take("p", BLOB, 0, SIZE, 0.0), "nothing costs nothing"


@pytest.mark.parametrize("size", [1, 300_000])
def test_small_blobs_are_nobodys_burden(size: int) -> None:
    budget = BlobBudget()
    assert sum(take_all(budget, 0.0, size=size) for _ in range(50)) == min(50, TIMES_AT_ONCE * LEAST_BYTES // size)


def test_a_clock_that_goes_back_forgives_nothing() -> None:
    budget = BlobBudget()
    while take_all(budget, 1e6):
        pass
    assert not take_all(budget, 0.0)


def test_requests_have_a_rate() -> None:
    budget = BlobBudget()
    assert [budget.may_ask("p", 0.0) for _ in range(100)].count(True) == REQUEST_RATE.burst
    assert budget.may_ask("q", 0.0)
    assert budget.may_ask("p", 1.0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossip.blob_budget._REMEMBERED", 10)
    budget = BlobBudget()
    for number in range(100):
        budget.given(f"peer {number}", BLOB, 1, SIZE, 0.0)
    assert len(budget._given) == 10

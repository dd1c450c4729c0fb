"""Whose clock is wrong, from the times in records as they came."""

import pytest

from gossip.heard import Way
from node.clock_skew import ahead_of_us, in_words
from node.topic_journal import Arrival


def came(received: float, ahead: float, way: Way = Way.BROADCAST, author: str = "alice") -> Arrival:
    return Arrival(author, int((received + ahead) * 1000), received, "bob", way, told=True)


def test_a_time_in_our_future_proves_a_clock_ahead_however_it_came():
    assert ahead_of_us([came(1000, -500, Way.CATCHUP), came(900, 720, Way.CATCHUP)]) == {"alice": 720}


def test_a_clock_behind_is_what_fresh_broadcasts_agree_on():
    found = ahead_of_us([came(3000, -600.2), came(2000, -600), came(1000, -602)])
    assert found == {"alice": pytest.approx(-600)}


@pytest.mark.parametrize(
    "arrivals",
    [
        [],
        [came(1000, -600)],  # one may have been under way
        [came(1000, -600), came(1000.1, -90), came(1000.2, -3000)],  # an outbox after a night without a network
        [came(1000 + n, -600, Way.CATCHUP) for n in range(8)],  # a newcomer gets old records
    ],
)
def test_what_may_only_be_late_says_nothing(arrivals):
    assert ahead_of_us(arrivals) == {}


def test_only_the_latest_count_so_that_a_clock_that_was_set_is_right_again():
    latest = [came(10_000 - n, -0.1) for n in range(8)]
    assert ahead_of_us([*latest, came(1, 9000)]) == {"alice": pytest.approx(-0.1)}


def test_in_words():
    assert [in_words(s) for s in (0, 59, -59, 60, 720, -7300, 9e5, 1e11)] == [
        "", "", "", "1 min ahead", "12 min ahead", "2 h behind", "10 days ahead", "1157407 days ahead",
    ]  # fmt: skip

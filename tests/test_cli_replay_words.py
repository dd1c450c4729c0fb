"""What `swarm replay` and `swarm show` say of a replay, word for word."""

import pytest

from node.cli.look import replay_words
from node.cli.replay import curve_words, score_words

ONE = {
    "steps": None, "outcome": "measured", "reason": "", "val_bpb": 2.1, "claimed": 2.0, "claimed_trials": 2,
    "difference": 0.1, "allowed": 0.05, "agrees": False, "outcome_agrees": True, "curve_deviation": 0.25,
    "curve_agrees": None, "node_name": "eve", "peer": "12D3KooWEve", "condition": "steady",
}  # fmt: skip
NO_NUMBER = {"agrees": None, "claimed": None, "difference": None, "allowed": None}
CRASHED = NO_NUMBER | {"outcome": "crashed", "reason": "ValueError: no", "val_bpb": None}


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({}, "does not agree: 2.1000 against 2.0000 claimed (2 trials), +0.1000 apart, ±0.0500 allowed"),
        (CRASHED, "agrees: crashed (ValueError: no), as claimed"),
        (
            CRASHED | {"outcome_agrees": False, "claimed": 2.0},
            "does not agree: crashed (ValueError: no); claimed: measured 2.0000",
        ),
        (NO_NUMBER | {"outcome_agrees": False}, "does not agree: measured 2.1000; claimed: no number"),
        (CRASHED | {"outcome_agrees": None}, "crashed (ValueError: no)"),
    ],
)
def test_what_a_replay_says_of_the_score(update, words):
    assert score_words(ONE | update) == words


BY_STEPS = {"steps": 60, "curve_agrees": False, "agrees": None}


@pytest.mark.parametrize(
    ("update", "words", "short_words"),
    [
        ({}, "at most 0.25 nats apart at equal shares of the budget", "2.1000 by eve: does not agree"),
        ({"curve_deviation": None, "agrees": True}, "nothing to compare", "2.1000 by eve: agrees"),
        (
            BY_STEPS,
            "does not agree: at most 0.25 nats apart at equal steps, 0.02 allowed",
            "first 60 steps, curve at most 0.25 nats apart by eve: does not agree",
        ),
        (
            BY_STEPS | CRASHED | {"curve_deviation": None, "curve_agrees": None},
            "nothing to compare: it came to no step that the first run reported; it ended crashed: ValueError: no",
            "first 60 steps by eve",
        ),
    ],
)
def test_what_a_replay_says_of_the_curve(update, words, short_words):
    assert replay_words(ONE | {"condition": "contended"}).endswith("does not agree, does not count")
    assert curve_words(ONE | update) == words
    assert replay_words(ONE | update) == short_words

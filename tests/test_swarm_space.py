"""The search space refuses what is not in it, in one sentence, and names configs independently of key order."""

import pytest

from swarm.space import (
    ChoiceParameter,
    FloatParameter,
    IntParameter,
    SearchSpace,
    changes,
    config_key,
    describe_changes,
)
from swarm.words import BriefError

SPACE = SearchSpace(
    parameters={
        "width": IntParameter(low=32, high=256),
        "rate": FloatParameter(low=1e-4, high=1.0, log=True),
        "cap": ChoiceParameter(options=(0, 15.0, True, "x")),
    }
)
GOOD = {"width": 64, "rate": 0.01, "cap": 15.0}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depht": 2}, "unknown config key 'depht'"),
        ({"width": 31}, "width = 31 is outside 32..256"),
        ({"width": 64.0}, "64.0 is not a whole number"),
        ({"width": True}, "True is not a whole number"),
        ({"rate": float("nan")}, "not a finite number"),
        ({"rate": float("inf")}, "not a finite number"),
        ({"rate": "fast"}, "'fast' is not a finite number"),
        ({"rate": 2.0}, "rate = 2.0 is outside"),
        ({"cap": 1}, "1 is not one of"),  # True == 1, but a config is what it says
        ({"cap": 15}, "15 is not one of"),
    ],
)
def test_bad_value_is_refused_in_a_sentence(change, sentence):
    with pytest.raises(BriefError, match=sentence):
        SPACE.check(GOOD | change)


def test_missing_key_is_refused():
    with pytest.raises(BriefError, match="'rate' is missing"):
        SPACE.check({"width": 64, "cap": 0})


def test_normalise_orders_keys_and_makes_floats():
    config = SPACE.normalise({"cap": True, "rate": 1, "width": 64})
    assert list(config) == ["width", "rate", "cap"]
    assert type(config["rate"]) is float
    assert config["cap"] is True


def test_normalise_takes_a_choice_in_either_number_type_and_leaves_truth_alone():
    assert type(SPACE.normalise(GOOD | {"cap": 15})["cap"]) is float
    assert type(SPACE.normalise(GOOD | {"cap": 0.0})["cap"]) is int
    assert SPACE.normalise(GOOD | {"cap": True})["cap"] is True
    with pytest.raises(BriefError):
        SPACE.normalise(GOOD | {"cap": 1})


def test_key_ignores_order_and_sees_every_value():
    assert config_key({"a": 1, "b": 2}, "s") == config_key({"b": 2, "a": 1}, "s")
    assert len({config_key({"a": v}, "s") for v in (1, 1.0, True, "1")} | {config_key({"a": 1}, "t")}) == 5


def test_changes_and_their_description():
    child = GOOD | {"width": 128, "rate": 0.003}
    assert changes(GOOD, child) == {"width": 128, "rate": 0.003}
    assert describe_changes(GOOD, child) == "width 64 → 128, rate 0.01 → 0.003"
    assert describe_changes(GOOD, GOOD) == "no change"


@pytest.mark.parametrize("bounds", [(5, 4, False), (0, 4, True)])
def test_bounds_that_are_no_range_are_refused(bounds):
    low, high, log = bounds
    with pytest.raises(ValueError, match="not a range"):
        IntParameter(low=low, high=high, log=log)


def test_a_whole_number_beyond_any_float_is_out_of_range():
    space = SearchSpace(parameters={"rate": FloatParameter(low=0.0, high=1.0)})
    for value in (10**400, -(10**400)):
        with pytest.raises(BriefError, match=r"out of range: rate = -?10000"):
            space.normalise({"rate": value})

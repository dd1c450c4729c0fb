"""node/trials/scoring.py: every token once, the right nats, and a rule for prefixes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.trials.scoring import (
    PREFIX_SAMPLES,
    SHIPPED_SAMPLES,
    Sheet,
    Windows,
    bits_per_byte,
    check_prefixes,
    nats_of,
)


def tokens(length):
    return (np.arange(length) * 7 % 251 + 1).astype(np.uint16)


@given(length=st.integers(1, 500), context=st.integers(1, 64), room=st.integers(1, 300), seed=st.integers(0, 99))
def test_every_token_is_a_target_exactly_once_and_its_input_is_the_token_before(length, context, room, seed):
    text = tokens(length)
    windows, sheet = Windows(text, context), Sheet(length)
    for batch in windows.whole_batches(room, np.random.default_rng(seed)):
        inputs, targets = windows.inputs(batch), windows.targets(batch)
        assert inputs.shape == targets.shape == (len(batch.begins), batch.length)
        assert (inputs[:, 1:] == targets[:, :-1]).all()
        assert all(
            first == (text[begin - 1] if begin else 0) for begin, first in zip(batch.begins, inputs[:, 0], strict=True)
        )
        sheet.write(batch, targets.ravel().astype(float))  # dies when a token is scored twice
    assert sheet.total() == text.sum()  # dies when one is missing


@given(
    length=st.integers(1, 3000),
    context=st.integers(1, 64),
    seed=st.integers(0, 99),
    samples=st.sampled_from([SHIPPED_SAMPLES, PREFIX_SAMPLES]),
)
def test_prefixes_are_beginnings_of_windows_at_most_one_of_each(length, context, seed, samples):
    windows = Windows(tokens(length), context)
    batches = windows.prefix_batches(4096, np.random.default_rng(seed), samples)
    begins = np.concatenate([batch.begins for batch in batches])
    assert len(set(begins)) == len(begins) == min(samples, max(1, length // context))
    assert all(begin % context == 0 for begin in begins)
    assert all(1 <= batch.length <= context and max(batch.begins) + batch.length <= length for batch in batches)
    lengths = [batch.length for batch in batches]
    assert len(set(lengths)) == min(len(lengths), min(context, length))  # none twice before all came once


def test_orders_are_as_secret_as_the_generator():
    windows = Windows(tokens(5000), 16)
    one, same, other = (windows.whole_batches(64, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all((a.begins == b.begins).all() for a, b in zip(one, same, strict=True))
    assert any(a.begins.tolist() != b.begins.tolist() for a, b in zip(one, other, strict=True))


def test_nats_are_those_of_a_softmax_in_float64():
    logits = np.random.default_rng(0).normal(0, 8, (3000, 50)).astype(np.float32)
    targets = (np.arange(3000) % 50).astype(np.uint16)
    wide = logits.astype(np.float64)
    expected = np.log(np.exp(wide).sum(1)) - wide[np.arange(3000), targets]
    assert nats_of(logits, targets) == pytest.approx(expected, abs=2e-6)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), st.integers(0, 2))
def test_nats_of_finite_logits_are_never_below_zero(row, target):
    assert nats_of(np.array([row], np.float32), np.array([target], np.uint16))[0] >= 0


@pytest.mark.parametrize(
    "row", [[math.nan, 0, 0], [0, math.nan, 0], [math.inf, 0, 0], [0, math.inf, 0], [-math.inf] * 3]
)
def test_logits_that_are_no_numbers_give_nats_that_are_no_numbers(row):
    assert not np.isfinite(nats_of(np.array([row], np.float32), np.array([1], np.uint16))[0])


def test_a_model_that_knows_nothing_has_eight_bits_per_byte():
    nats = nats_of(np.full((100, 256), 50, np.float32), tokens(100)).sum()
    assert bits_per_byte(nats, 100) == pytest.approx(8.0)


def test_the_prefix_rule():
    def passed(d):
        return check_prefixes(np.asarray(d) + 3.0, np.full(len(d), 3.0)).passed

    draw = np.random.default_rng(0)
    assert passed(np.zeros(2048))
    assert passed(draw.normal(0, 0.005, 2048))  # bfloat16
    assert passed(draw.normal(-0.0017, 0.01, 2048))  # int8 with dynamic scales
    assert passed(np.full(2048, 0.5))  # prefixes may be easier, never harder
    assert not passed([*np.zeros(2047), -0.26])  # one position
    assert not passed(np.full(2048, -0.004))  # a little everywhere
    assert passed(draw.normal(-0.004, 0.1, 100))  # few and noisy: nothing can be said


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ValueError, match="nothing to measure"):
        Windows(tokens(0), 8)

"""The surrogate: learns what the trials say, draws the same for the same seed, and admits what it does not know."""

import math
import random
from statistics import fmean, stdev

import numpy as np
import pytest

from node.proposers.draws import anywhere, step
from node.simulation.campaign import research_space, space_file
from node.simulation.config_points import ConfigPoints
from node.simulation.gaussian_process import GaussianProcess
from node.simulation.held_out import held_out
from node.simulation.made_up import MadeUp
from node.simulation.surrogate import Surrogate, by_config, fit_noise, shipped_surrogate
from node.simulation.table import RecordedTrial, TableError, read_table
from swarm.space import ChoiceParameter, FloatParameter, SearchSpace
from swarm.words import Config, Outcome

SMALL = SearchSpace(
    parameters={
        "rate": FloatParameter(low=1e-4, high=1e-1, log=True),
        "depth": FloatParameter(low=0.0, high=1.0),
        "norm": ChoiceParameter(options=("plain", "rms")),
        "unused": FloatParameter(low=0.0, high=1.0),
    }
)


def truth(config: Config) -> float:
    rate, depth = math.log10(float(config["rate"])), float(config["depth"])
    return 2.0 + 0.3 * (rate + 2.5) ** 2 + 0.4 * (depth - 0.6) ** 2 + 0.2 * (config["norm"] == "plain")


def row(config: Config, bpb: float | None, seed: int = 0, outcome: Outcome = Outcome.DIVERGED) -> RecordedTrial:
    curve = () if bpb is None else tuple((float(at), bpb * (2.0 - at / 10)) for at in range(1, 11))
    ended = outcome if bpb is None else Outcome.MEASURED
    return RecordedTrial(campaign="c", arm="a", config=config, seed=seed, outcome=ended, val_bpb=bpb, curve=curve)


def small_table(count: int = 60, noise: float = 0.01) -> list[RecordedTrial]:
    """Hot rates diverge; a third is run three times."""
    rng, rows = random.Random(0), list[RecordedTrial]()
    for number in range(count):
        config: Config = {name: anywhere(parameter, rng) for name, parameter in SMALL.parameters.items()}
        for seed in range(3 if number % 3 == 0 else 1):
            hot = float(config["rate"]) > 0.03
            rows.append(row(config, None if hot else truth(config) * math.exp(rng.gauss(0.0, noise)), seed))
    return rows


ROWS = small_table()
SURROGATE = Surrogate.fit(ROWS, SMALL)
GOOD: Config = {"rate": 3e-3, "depth": 0.6, "norm": "rms", "unused": 0.5}
HOT: Config = {"rate": 9e-2, "depth": 0.6, "norm": "rms", "unused": 0.5}


def test_the_mean_is_what_the_trials_say():
    rng = random.Random(1)
    for _ in range(20):
        config: Config = {name: anywhere(parameter, rng) for name, parameter in SMALL.parameters.items()}
        if float(config["rate"]) < 0.02:
            assert SURROGATE.mean(config) == pytest.approx(truth(config), abs=0.1)


def test_draws_are_the_same_for_the_same_seed_and_differ_between_seeds():
    assert SURROGATE.draw(GOOD, 1) == SURROGATE.draw(dict(reversed(GOOD.items())), 1)
    assert len({SURROGATE.draw(GOOD, seed) for seed in range(10)}) > 5


def test_draws_scatter_about_the_mean_as_repeats_do():
    drawn = [bpb for seed in range(400) if (bpb := SURROGATE.draw(GOOD, seed)[1]) is not None]
    assert fmean(drawn) == pytest.approx(SURROGATE.mean(GOOD), abs=0.004)
    assert stdev(drawn) == pytest.approx(SURROGATE.noise_sd(GOOD), rel=0.15)
    assert SURROGATE.noise_sd(GOOD) == pytest.approx(0.01 * SURROGATE.mean(GOOD), rel=0.5)


def test_what_failed_nearby_is_likely_to_fail_and_as_it_did():
    assert SURROGATE.fails(HOT) > 0.4
    assert SURROGATE.fails(GOOD) < 0.1
    ended = [outcome for seed in range(50) if (outcome := SURROGATE.draw(HOT, seed)[0]) is not Outcome.MEASURED]
    assert ended
    assert set(ended) == {Outcome.DIVERGED}


def test_nothing_fails_where_nothing_has_failed():
    fine = Surrogate.fit([one for one in ROWS if one.val_bpb is not None], SMALL)
    assert fine.fails(HOT) == 0.0
    assert fine.draw(HOT, 0)[0] is Outcome.MEASURED


def test_a_curve_ends_where_the_score_says_and_is_a_real_one():
    for seed in range(20):
        outcome, bpb = SURROGATE.draw(GOOD, seed)
        curve = SURROGATE.curve(GOOD, seed)
        if outcome is Outcome.MEASURED:
            assert bpb is not None
            assert curve[-1] == (10.0, pytest.approx(bpb))  # the made-up curves end at their score
            assert len(curve) == 10
        assert [seconds for seconds, _ in curve] == sorted(seconds for seconds, _ in curve)


def test_a_failed_trial_has_the_beginning_of_a_curve():
    lengths = {len(SURROGATE.curve(HOT, seed)) for seed in range(60) if SURROGATE.draw(HOT, seed)[1] is None}
    assert min(lengths) >= 1
    assert min(lengths) < 10


def test_the_neighbour_stands_for_what_the_score_does_not_say():
    assert SURROGATE.neighbour(GOOD, 3).val_bpb is not None
    assert SURROGATE.neighbour(GOOD, 3) == SURROGATE.neighbour(GOOD, 3)


def test_a_faster_machine_scores_better_and_the_order_stays():
    worse: Config = GOOD | {"norm": "plain"}
    assert SURROGATE.mean(GOOD, speed=8.0) < SURROGATE.mean(GOOD)
    assert SURROGATE.mean(GOOD, speed=8.0) < SURROGATE.mean(worse, speed=8.0)


def test_doubt_grows_where_nobody_has_looked():
    seen = next(one for one in ROWS if one.val_bpb is not None)
    far: Config = {"rate": 1e-4, "depth": 0.0, "norm": "plain", "unused": 0.0}
    assert SURROGATE.doubt_sd(far) > SURROGATE.doubt_sd(seen.config)


def test_too_few_trials_are_refused_in_one_sentence():
    with pytest.raises(TableError, match="too few to learn from"):
        Surrogate.fit(ROWS[:4], SMALL)


def test_noise_follows_the_level_only_as_far_as_repeats_say():
    rng, rows = random.Random(2), list[RecordedTrial]()
    for number in range(40):
        config: Config = {"rate": 1e-3, "depth": number / 40, "norm": "rms", "unused": 0.0}
        level = 1.5 + number / 10
        rows += [row(config, level + rng.gauss(0.0, 0.01 * level**2), seed) for seed in range(4)]
    found = fit_noise(by_config(rows))
    assert found.repeats == 120
    assert found.sd(2.0) == pytest.approx(0.04, rel=0.3)
    assert found.sd(5.0) == pytest.approx(0.25, rel=0.3)
    assert fit_noise(by_config(rows[::4])).repeats == 0


def test_held_out_trials_are_predicted_and_folds_share_no_config():
    found = held_out(ROWS, SMALL)
    measured = {one.key for one in ROWS if one.val_bpb is not None}
    assert len(found.predictions) == len(measured)
    assert found.r2 > 0.9
    assert found.spearman > 0.9
    assert found.rmse < 0.1
    assert found.within_two_sd > 0.8
    assert found.fails_auc is not None
    assert found.fails_auc > 0.8
    assert len(found.good.predictions) == round(len(measured) / 3)


def test_what_is_pure_noise_is_not_predicted():
    rng = random.Random(3)
    rows = [row({name: anywhere(p, rng) for name, p in SMALL.parameters.items()}, rng.uniform(2, 3)) for _ in range(60)]
    assert held_out(rows, SMALL).r2 < 0.3


def test_the_likelihoods_slope_is_its_derivative():
    rng = np.random.default_rng(0)
    x = rng.random((25, 3))
    process = GaussianProcess(x, np.sin(3 * x[:, 0]) + 0.1 * rng.standard_normal(25), steps=5)
    at = process._parameters  # the fit's own arithmetic has no other door
    found = process._likelihood(at)
    assert found is not None
    for number in range(len(at)):
        nudge = np.zeros(len(at))
        nudge[number] = 1e-5
        above, below = process._likelihood(at + nudge), process._likelihood(at - nudge)
        assert above is not None
        assert below is not None
        assert (above.value - below.value) / 2e-5 == pytest.approx(found.slope[number], rel=1e-3, abs=1e-4)


def test_a_coordinate_that_does_nothing_gets_a_long_lengthscale():
    rng = np.random.default_rng(0)
    x = rng.random((80, 2))
    process = GaussianProcess(x, np.sin(6 * x[:, 0]))
    assert process.lengthscales[1] > 3 * process.lengthscales[0]


def test_a_setting_that_is_switched_off_moves_nothing():
    points, base = ConfigPoints(research_space()), dict(space_file().base)
    assert base["optimizer"] == "adamw"
    same, changed = points.points([base, base | {"muon_learning_rate": 0.09}])
    assert (same == changed).all()
    muon = base | {"optimizer": "muon"}
    assert (points.points([muon]) != points.points([muon | {"muon_learning_rate": 0.09}])).any()


def test_the_real_space_is_learned_from_three_hundred_trials():
    surface, rng = MadeUp(1), random.Random(0)
    configs = [{name: anywhere(p, rng) for name, p in surface.space.parameters.items()} for _ in range(150)]
    for _ in range(150):
        near = dict(surface.start)
        for name in rng.sample(list(near), 4):
            near[name] = step(surface.space.parameters[name], near[name], rng)
        configs.append(near)
    rows = [row(config, surface.truth(config) + rng.gauss(0.0, 0.01)) for config in configs]
    seen, told = Surrogate.fit(rows, surface.space).left_out()
    assert np.corrcoef(seen, told)[0, 1] > 0.95


LEAST_TRIALS, LEAST_REPEATS, LEAST_CORRELATION = 300, 30, 0.8  # of the table as it ships


def test_the_shipped_table_is_large_and_the_surrogate_knows_it():
    rows = read_table(space=research_space()).rows
    assert len(rows) >= LEAST_TRIALS
    assert all(one.outcome is not Outcome.CRASHED for one in rows)
    seen, told = shipped_surrogate().left_out()
    assert np.corrcoef(np.log(seen), np.log(told))[0, 1] > LEAST_CORRELATION
    assert shipped_surrogate().noise.repeats >= LEAST_REPEATS

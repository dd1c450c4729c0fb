"""The verdict: what it takes to keep, when to run again and what, and that every reader comes to the same."""

import math
import random
from statistics import fmean

import pytest
from samples import make_brief, make_trial

from swarm.brief import Acceptance
from swarm.simplicity import Size, simpler, size, source_tokens
from swarm.verdict import (
    MAX_MARKED,
    Noise,
    Side,
    agree,
    judge,
    next_trial,
    pooled_noise,
    prior_noise,
    rerun_interval,
)
from swarm.words import Condition, Decision, Outcome

RULE = Acceptance(noise_sd=0.01)
NOISE = Noise(0.01, 1000.0)  # known: Student's t is the normal distribution


def trials(*scores):
    return [make_trial(score) for score in scores]


def marked(score=2.0):
    return make_trial(score).model_copy(update={"condition": Condition.CONTENDED})


@pytest.mark.parametrize(
    ("ours", "parents", "decision"),
    [
        ((1.95,), (2.0, 2.0, 2.0), Decision.KEEP),  # 4.3 standard errors: once is enough
        ((1.97,), (2.0, 2.0, 2.0), Decision.INCONCLUSIVE),  # 2.6: promising
        ((1.97, 1.97), (2.0, 2.0, 2.0), Decision.KEEP),
        ((1.985, 1.985), (2.0, 2.0), Decision.INCONCLUSIVE),  # 1.5
        ((1.985, 1.985, 1.985), (2.0, 2.0, 2.0), Decision.KEEP),  # 1.8
        ((2.0,), (2.0, 2.0, 2.0), Decision.DISCARD),  # an even chance is not promising
        ((2.1,), (2.0,), Decision.DISCARD),
    ],
)
def test_fewer_trials_must_be_surer(ours, parents, decision):
    verdict = judge(trials(*ours), parents, NOISE, RULE)
    assert verdict.decision is decision
    assert verdict.effect == pytest.approx(fmean(parents) - fmean(ours))
    assert verdict.parent_scores == parents


def test_little_known_noise_makes_it_less_sure():
    known = judge(trials(1.95), (2.0, 2.0, 2.0), NOISE, RULE)
    guessed = judge(trials(1.95), (2.0, 2.0, 2.0), Noise(0.01, 2.0), RULE)
    assert (known.decision, guessed.decision) == (Decision.KEEP, Decision.INCONCLUSIVE)
    assert known.interval is not None
    assert guessed.interval > 2 * known.interval


@pytest.mark.parametrize(
    ("dof", "t", "chance"), [(2, 4.303, 0.975), (3, 10.215, 0.999), (4, 1.533, 0.9), (10, 2.228, 0.975), (60, 0, 0.5)]
)
def test_chances_are_those_of_students_t(dof, t, chance):
    parents = (2.0 + t * 0.01 * math.sqrt(2),)
    assert judge(trials(2.0), parents, Noise(0.01, dof), RULE).p_better == pytest.approx(chance, abs=0.002)


def test_a_trial_without_a_number_discards_and_ends_it():
    failing = [*trials(1.5), make_trial(None)]
    assert judge(failing, (2.0,), NOISE, RULE).decision is Decision.DISCARD
    assert next_trial(failing, (2.0,), (), NOISE, RULE) is None
    assert judge([make_trial(None, outcome=Outcome.DIVERGED)], None, NOISE, RULE).decision is Decision.DISCARD


def stopped(condition=Condition.STEADY):
    return make_trial(None, outcome=Outcome.CENSORED).model_copy(update={"condition": condition})


def test_what_was_stopped_early_is_neither_worse_nor_better_and_not_run_again():
    verdict = judge([stopped()], (2.0,), NOISE, RULE)
    assert (verdict.decision, verdict.effect, verdict.p_better) == (Decision.INCONCLUSIVE, None, None)
    assert next_trial([stopped()], (2.0,), (), NOISE, RULE) is None
    beside = judge([*trials(1.0, 1.0), stopped()], (2.0,), NOISE, RULE)
    assert beside.decision is Decision.INCONCLUSIVE, "numbers beside it do not make it better"
    assert not stopped().fails


def test_what_was_stopped_beside_other_work_is_run_again():
    disturbed = stopped(Condition.CONTENDED)
    assert next_trial([disturbed], (2.0,), (), NOISE, RULE) is Side.CANDIDATE
    assert judge([disturbed, *trials(1.9)], (2.0, 2.0, 2.0), NOISE, RULE).decision is Decision.KEEP
    assert next_trial([disturbed] * (MAX_MARKED + 1), (2.0,), (), NOISE, RULE) is None


def test_the_baseline_is_repeated_where_nobody_knows_the_noise():
    assert judge(trials(2.0), None, NOISE, RULE).decision is Decision.KEEP
    guess = prior_noise(RULE)
    made = []
    while next_trial(made, None, (), guess, RULE) is Side.CANDIDATE:
        made += trials(2.0)
    assert len(made) == RULE.noise_trials == 3
    assert next_trial(trials(2.0), None, (), Noise(0.01, 4.0), RULE) is None, "a newcomer is told"


def test_the_side_with_fewer_trials_is_next_and_it_ends_at_the_cap():
    rule, ours, parents, again = RULE.model_copy(update={"keep_at": (1.0,)}), [], (2.0, 2.0), []
    asked = []
    while (side := next_trial(ours, (*parents, *(2.0 for _ in again)), again, NOISE, rule)) is not None:
        asked.append(side)
        (ours if side is Side.CANDIDATE else again).extend(trials(1.99))
    assert asked[:6] == [Side.CANDIDATE] * 3 + [Side.PARENT, Side.CANDIDATE, Side.PARENT]
    assert len(ours) == rule.max_trials
    assert judge(ours, parents, NOISE, rule).decision is Decision.INCONCLUSIVE


def test_a_parent_of_which_nothing_is_known_is_run_first():
    assert next_trial(trials(1.9), (), (), NOISE, RULE) is Side.PARENT
    assert judge(trials(1.9), (), NOISE, RULE).decision is Decision.INCONCLUSIVE


def test_marked_trials_are_no_evidence_and_are_run_again_but_not_for_ever():
    assert judge([marked(1.0)], (2.0,), NOISE, RULE).decision is Decision.INCONCLUSIVE
    assert judge([marked(1.0), *trials(2.0)], (2.0,), NOISE, RULE).effect == 0
    made = [marked()]
    while next_trial(made, (2.0,), (), NOISE, RULE) is Side.CANDIDATE:
        made.append(marked())
    assert len(made) == MAX_MARKED + 1
    assert next_trial(trials(1.98), (2.0, 2.0), [marked()], NOISE, RULE) is Side.PARENT


def test_the_simpler_one_wins_at_equal_score():
    parents = (2.0, 2.0, 2.0)
    equal = trials(2.0, 1.995, 1.995)
    assert judge(equal, parents, NOISE, RULE).decision is Decision.INCONCLUSIVE
    kept = judge(equal, parents, NOISE, RULE, simpler=True)
    assert kept.decision is Decision.KEEP
    assert kept.effect == pytest.approx(0.01 / 3), "the effect is what was measured"
    worse = judge(trials(2.02, 2.02, 2.02), parents, NOISE, RULE, simpler=True)
    assert worse.decision is Decision.DISCARD


def test_size_is_changed_settings_and_code_without_comments():
    brief = make_brief("x = 1  # one\n")
    assert size(brief.base_config, None, brief) == Size(0, 3)
    wider = {**brief.base_config, "width": 128}
    assert size(wider, "x = 1\ny = 2\n", brief) == Size(1, 6)
    assert simpler(Size(1, 6), Size(2, 6))
    assert not simpler(Size(1, 7), Size(2, 6))
    assert not simpler(Size(1, 6), Size(1, 6))
    assert source_tokens("a_b+1 # c\n\n# d") == 3


def test_noise_is_pooled_over_repeats_of_the_same_thing():
    noise = pooled_noise([(1.0, 3.0), (7.0,), (10.0, 10.0, 13.0)], Noise(1.0, 2.0))
    assert noise == Noise(pytest.approx(math.sqrt((2 * 1 + 2 + 6) / 5)), 5.0)


def test_one_thing_that_diverged_with_a_seed_does_not_drown_the_noise_of_all_others():
    steady = [(1.0, 1.01), (2.0, 2.02), (1.5, 1.51), (1.7, 1.71), (1.8, 1.82)]
    prior = prior_noise(RULE)
    clean, with_one = pooled_noise(steady, prior), pooled_noise([*steady, (1.6, 8.0)], prior)
    assert clean.sd < with_one.sd < 3 * clean.sd
    assert with_one.dof == clean.dof + 1


def test_of_few_things_nobody_can_say_which_is_the_odd_one():
    noise = pooled_noise([(1.0, 1.0), (1.6, 8.0)], Noise(1.0, 2.0))
    assert noise == Noise(pytest.approx(math.sqrt((2 + 6.4**2 / 2) / 4)), 4.0)


def test_scores_agree_within_the_noise_of_their_means():
    assert agree((2.0,), (2.02,), NOISE, RULE)
    assert not agree((2.0,), (2.03,), NOISE, RULE)
    assert not agree((2.0,) * 8, (2.02,) * 8, NOISE, RULE)


def test_the_interval_holds_for_the_mean_of_five_fresh_runs():
    rng, held = random.Random(1), 0
    for _ in range(2000):
        mean = fmean(rng.gauss(2.0, 0.01) for _ in range(4))
        fresh = fmean(rng.gauss(2.0, 0.01) for _ in range(5))
        held += abs(fresh - mean) <= rerun_interval(4, NOISE)
    assert 0.94 < held / 2000 < 0.99


def test_a_verdict_can_be_computed_again_from_what_it_carries():
    ours, parents = trials(1.98, 1.99), (2.0, 2.003)
    verdict = judge(ours, parents, Noise(0.008, 6.0), RULE, simpler=True)
    noise = Noise(verdict.noise_sd, verdict.noise_dof)
    assert judge(ours, verdict.parent_scores, noise, RULE, simpler=verdict.simpler) == verdict
    assert verdict.p_better is not None

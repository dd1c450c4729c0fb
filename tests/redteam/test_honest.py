"""Honest changes of the shipped script, and all corners of its search space: every one is measured, none is refused."""

import pytest
import trio

from node.trials import source_text
from node.trials.scoring import PREFIX_SAMPLES, SHIPPED_SAMPLES, WORST_NATS
from node.trials.trainer import TrialReport
from redteam import honest
from redteam.laboratory import SHIPPED, TINY, UNCONFINED, Proof, Sent, prove_all, run_trials
from redteam.peeking import MISTAKES
from swarm.words import Outcome

AHEAD = "a centred convolution"  # no honest one: shows that this way of measuring would find it
BUDGET_SECONDS, SHIPPED_BUDGET_SECONDS = 0.5, 1.5  # the shipped script takes real steps


@pytest.fixture(scope="module")
def proofs(tmp_path_factory) -> dict[str, Proof]:
    jobs = {**honest.MEASURED, AHEAD: honest.edits({AHEAD: MISTAKES[AHEAD].source})[AHEAD]}
    return trio.run(prove_all, tmp_path_factory.mktemp("honest"), jobs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, TrialReport]:
    jobs = {}
    for name, source in honest.TRAINED.items():
        seconds = SHIPPED_BUDGET_SECONDS if "shipped" in name else BUDGET_SECONDS
        jobs[name] = Sent(source, {**TINY, "dropout": 0.3} if "dropout" in name else TINY, seconds)
    return trio.run(run_trials, tmp_path_factory.mktemp("trained"), UNCONFINED, jobs)


@pytest.mark.parametrize("name", honest.MEASURED)
def test_an_honest_change_is_measured(proofs, name):
    measurement = proofs[name].measurement
    assert measurement is not None, proofs[name].printed[-2000:]
    assert measurement.outcome is Outcome.MEASURED, measurement
    assert measurement.val_bpb > 0
    assert measurement.check.samples == min(honest.MEASURED[name].windows, honest.MEASURED[name].samples)


def test_measured_in_the_same_way_one_that_looks_ahead_is_refused(proofs):
    assert proofs[AHEAD].measurement.outcome is Outcome.REJECTED
    assert proofs[AHEAD].measurement.check.broken > 100


@pytest.mark.parametrize("name", honest.TRAINED)
def test_an_honest_script_is_measured_in_a_whole_trial(trained, name):
    assert trained[name].trial.outcome is Outcome.MEASURED, (trained[name].trial.reason, trained[name].log[-2000:])


def test_no_honest_source_carries_too_much_text():
    shipped = source_text.count(SHIPPED.encode())
    sources = {one.source: name for name, one in honest.MEASURED.items()}
    counts = {name: source_text.count(source.encode()) for source, name in sources.items()}
    assert not {name: reason for name, count in counts.items() if (reason := source_text.refusal(count, shipped))}
    news = {name: source_text.too_new(source.encode(), SHIPPED.encode()) for source, name in sources.items()}
    assert not {name: reason for name, reason in news.items() if reason}


def test_there_are_enough_and_a_changed_source_is_asked_as_many_prefixes_as_a_node_asks():
    changed = [one for one in honest.MEASURED.values() if one.source != SHIPPED]
    assert len(honest.MEASURED) >= 150
    assert len({one.source for one in changed}) == len(changed) >= 100
    assert {one.samples for one in changed} == {min(one.windows, PREFIX_SAMPLES) for one in changed} == {PREFIX_SAMPLES}
    assert {one.samples for one in honest.MEASURED.values() if one.source == SHIPPED} == {SHIPPED_SAMPLES}


def test_full_precision_is_far_from_the_limit(proofs):
    """What stands close to it answers in eight bits or less, or in a precision that depends on its batch."""
    worst = {name: proofs[name].measurement.check.worst_nats for name in honest.MEASURED}
    close = {name for name, nats in worst.items() if nats < WORST_NATS / 3}
    assert {name.split(": ")[0] for name in close} <= {"precision"}, close

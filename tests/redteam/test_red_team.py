"""Every cheat, as a node would run it: caught by the rule that it is in the table with, or scored and no better for it.

All go through real trainers, and each test looks at one of them: starting a process costs seconds. Nothing confines
them: what is tested is the evaluator, which must hold without a sandbox. Those that only a sandbox can stop run in one.
"""

import re

import pytest
import trio

from node.sandbox.policy import Backend
from node.trials.trainer import TrialReport
from redteam import honest
from redteam.candidates import Cheat, Rule
from redteam.cheats import CHEATS, EVALUATED, GROUPS
from redteam.laboratory import TINY, UNCONFINED, VALIDATION, Sent, run_trials, sandbox
from redteam.outside import OUTSIDE
from swarm.words import Outcome

SAME = 1e-12
NOISE = 0.02  # bits per byte that an answer which was tampered with may be better by
IMPATIENCE_SECONDS = 1.5  # for those that would never answer
PLAIN = "a table"  # what most cheats are a change of
LAST = "a table, after all of them"


def sent(cheat: Cheat) -> Sent:
    patience = IMPATIENCE_SECONDS if cheat.rule is Rule.PATIENCE else None
    return Sent(cheat.source, {**TINY, **cheat.config}, cheat.budget_seconds, patience)


def plain(measure_seconds: float | None = None) -> Sent:
    return Sent(honest.TRAINED[PLAIN], TINY, 10.0, measure_seconds)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, TrialReport]:
    jobs = {PLAIN: plain(), **{name: sent(cheat) for name, cheat in EVALUATED.items()}}
    jobs[LAST] = plain(59.0)  # in a phase of its own, the last one
    return trio.run(run_trials, tmp_path_factory.mktemp("unconfined"), UNCONFINED, jobs)


@pytest.fixture(scope="module")
def confined(tmp_path_factory) -> dict[str, TrialReport]:
    found = sandbox()
    if found.backend is Backend.NONE:
        pytest.skip(f"no sandbox works here: {'; '.join(found.problems)}")
    jobs = {name: sent(cheat) for name, cheat in OUTSIDE.items()}
    return trio.run(run_trials, tmp_path_factory.mktemp("confined"), found, jobs, 1)


def holds(rule: Rule, cheat: Cheat, report: TrialReport) -> bool:
    trial = report.trial
    return bool(
        trial.outcome is rule.outcome and re.search(rule.words, trial.reason) and re.search(cheat.words, trial.reason)
    )


def check(cheat: Cheat, report: TrialReport, honest_bpb: float) -> None:
    trial = report.trial
    rule = next((rule for rule in (cheat.rule, cheat.or_rule) if rule and holds(rule, cheat, report)), None)
    assert rule is not None, (cheat.rule, trial.outcome, trial.reason, trial.val_bpb, report.log[-2000:])
    assert (trial.val_bpb is not None) == (trial.outcome is Outcome.MEASURED)
    if rule is Rule.SAME:
        assert trial.val_bpb == pytest.approx(honest_bpb, abs=SAME)
    elif rule is Rule.NO_BETTER:
        assert trial.val_bpb > honest_bpb - NOISE
    else:
        assert trial.reason


@pytest.mark.parametrize("name", EVALUATED)
def test_a_cheat_is_caught_by_its_rule_or_gains_nothing(found, name):
    check(EVALUATED[name], found[name], found[PLAIN].trial.val_bpb)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_cheat_gets_nothing_from_outside_its_sandbox(confined, name):
    check(OUTSIDE[name], confined[name], 0.0)


def test_there_are_enough_cheats_and_every_rule_has_one():
    assert len(CHEATS) >= 90
    assert {cheat.rule for group in GROUPS.values() for cheat in group.values()} == set(Rule)


def test_after_all_of_them_an_honest_script_gets_the_same_number(found):
    assert found[LAST].trial.val_bpb == pytest.approx(found[PLAIN].trial.val_bpb, abs=SAME)


def test_validation_text_that_a_model_prints_or_raises_reaches_nobody(found):
    report = found["says the validation text in an error"]
    begins = {VALIDATION[at : at + 12].decode() for at in range(0, len(VALIDATION), 4)}
    assert not [begin for begin in begins if begin in report.log + report.trial.reason]


def test_a_measurement_says_in_the_log_what_it_rests_on(found):
    line = found[PLAIN].log.splitlines()[-1]
    assert line.startswith("measuring: measured after ")
    assert "2048 prefixes asked again: mean d " in line
    assert "weights 262" in line

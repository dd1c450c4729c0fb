"""Credit and the bandit: what an improvement is worth, whoever's record came first; who is asked, and how often."""

import dataclasses
import random

import pytest
from proposer_requests import BRIEF, ME, PEER, entry, request
from samples import make_entry, make_trial

from node.proposers.bandit import FLOOR, ranked
from node.proposers.credit import Evidence, arm_of, budgets_of, earned, evidence, improvement, trials_of
from swarm.finding import Finding
from swarm.ledger import Entry, Ledger
from swarm.verdict import Verdict
from swarm.words import Decision, Outcome, PeerId

NAMES = ["ablate", "cmaes", "crossover", "local", "random", "tpe"]


@pytest.mark.parametrize(
    ("proposer", "arm"),
    [("classic/tpe", "tpe"), ("classic", "classic"), ("llm:some/model", "llm"), ("baseline", None), ("other", "other")],
)
def test_an_arm_is_read_from_what_findings_say_old_ones_too(proposer: str, arm: str | None):
    assert arm_of(proposer) == arm


def judged(decision: Decision, effect: float | None, p_better: float | None = 0.9) -> Finding:
    verdict = Verdict(decision=decision, noise_sd=0.01, effect=effect, interval=0.01, p_better=p_better)
    if effect is None:
        verdict = Verdict(decision=decision, noise_sd=0.01)
    return entry(2, 2.0, entry()).finding.model_copy(update={"verdict": verdict})


def test_improvement_is_the_effect_in_units_of_the_noise_and_all_of_it_only_when_kept():
    assert improvement(judged(Decision.KEEP, 0.05)) == pytest.approx(5.0)
    assert improvement(judged(Decision.KEEP, -0.002)) == 1.0  # simpler at equal score is a win
    assert improvement(judged(Decision.INCONCLUSIVE, 0.02, 0.8)) == pytest.approx(0.6)
    assert improvement(judged(Decision.INCONCLUSIVE, 0.02, 0.4)) == 0.0
    assert improvement(judged(Decision.DISCARD, 0.05)) == 0.0
    assert improvement(judged(Decision.DISCARD, None)) == 0.0
    assert improvement(entry().finding) == 0.0  # the baseline


def test_a_claim_of_little_noise_does_not_make_an_effect_large():
    assert improvement(judged(Decision.KEEP, 0.05), least_noise_sd=0.05) == pytest.approx(1.0)


def test_no_effect_is_larger_than_a_score_can_be():
    told = judged(Decision.KEEP, 0.05)
    boasting = told.model_copy(update={"verdict": told.verdict.model_copy(update={"effect": 1e308})})
    assert improvement(boasting) <= 64.0 / 1e-9


def test_repeats_of_the_parent_are_paid_for_too():
    made = judged(Decision.KEEP, 0.05).model_copy(update={"parent_trials": (make_trial(2.0), make_trial(2.0))})
    assert trials_of(made) == 3


def stopped(number: int, parent: Entry, seconds: float, outcome: Outcome = Outcome.CENSORED) -> Entry:
    """One of random's whose only trial lasted so long, of a budget of ten seconds."""
    finding = entry(number, None, parent, proposer="classic/random", depth=3).finding
    trial = make_trial(None, outcome=outcome).model_copy(update={"seconds": seconds})
    return make_entry(finding.model_copy(update={"trials": (trial,)}), ME)


@pytest.mark.parametrize(("seconds", "cost"), [(0.0, 0.0), (4.0, 0.4), (10.0, 1.0), (1e9, 1.0)])
def test_a_trial_that_was_stopped_early_costs_the_share_of_the_budget_it_used(seconds: float, cost: float):
    one = stopped(2, entry(), seconds)
    assert budgets_of(one.finding) == pytest.approx(cost)
    assert earned([one])["random"].trials == 1, "it is one trial all the same"


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.DIVERGED, Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT])
def test_a_failure_costs_a_whole_trial_however_soon_it_came(outcome: Outcome):
    assert budgets_of(stopped(2, entry(), 0.5, outcome).finding) == 1.0


def test_an_arm_whose_failures_are_seen_early_is_asked_more_than_one_whose_failures_run_on():
    base = entry()
    soon = [stopped(n, base, 3.0) for n in range(2, 22)]
    late = [stopped(n, base, 10.0) for n in range(2, 22)]
    cheap, dear = (evidence(request([base, *found]))["random"] for found in (soon, late))
    assert cheap.points == dear.points == 0.0
    assert cheap.trials == pytest.approx(0.3 * dear.trials)
    asked = [
        sum(ranked(NAMES, {"random": known}, str(seed), {})[0] == "random" for seed in range(400))
        for known in (cheap, dear)
    ]
    assert asked[0] > asked[1]


def mixed_history(length: int = 24) -> list[Entry]:
    rng, base = random.Random(3), entry()
    history = [base]
    for number in range(2, length + 2):
        parent = rng.choice(history)
        author = rng.choice([ME, PEER])
        arm = rng.choice(NAMES)
        config = {"learning_rate": rng.uniform(1e-4, 3e-2)}
        history.append(entry(number, rng.uniform(1.5, 2.5), parent, author, proposer=f"classic/{arm}", **config))
    return history


def test_credit_does_not_depend_on_the_order_in_which_records_came():
    history = mixed_history()
    expected, rng = (evidence(request(history)), earned(history)), random.Random(0)
    for _ in range(20):
        shuffled = rng.sample(history, len(history))
        ledger = Ledger(BRIEF.acceptance)
        for one in [*shuffled, *shuffled[:5]]:
            ledger.apply(one)
        again = ledger.entries()
        assert (evidence(request(again, parent=history[0])), earned(shuffled)) == expected


def test_a_peer_with_a_thousand_wins_moves_an_arm_by_a_few_trials_only():
    base = entry()
    crowd = [entry(n, 1.0, base, PEER, proposer="classic/random") for n in range(2, 400)]
    assert evidence(request([base, *crowd]))["random"].trials == pytest.approx(4.0)


def test_what_was_found_long_ago_counts_less():
    base = entry()
    win = entry(2, 2.0, base, proposer="classic/tpe")
    later = [entry(n, 2.5, base, proposer="classic/local") for n in range(3, 63)]
    assert evidence(request([base, win, *later]))["tpe"].trials == pytest.approx(0.25)
    assert evidence(request([base, win]))["tpe"].trials == 1.0


def test_the_same_seed_and_evidence_give_the_same_order_and_every_arm_is_in_it_once():
    known = {name: Evidence(0.5, 4.0) for name in NAMES}
    assert ranked(NAMES, known, "7") == ranked(list(NAMES), dict(known), "7")
    assert sorted(ranked(NAMES, known, "7")) == NAMES
    assert len({ranked(NAMES, known, str(seed))[0] for seed in range(40)}) > 2


def play(worth: dict[str, float], rounds: int, seed: int) -> dict[str, int]:
    """How often each arm is asked when a trial of it brings a point with such a chance."""
    rng, known, asked = random.Random(seed), dict.fromkeys(worth, Evidence()), dict.fromkeys(worth, 0)
    for turn in range(rounds):
        arm = ranked(list(worth), known, f"{seed}/{turn}")[0]
        asked[arm] += 1
        known[arm] = Evidence(known[arm].points + (rng.random() < worth[arm]), known[arm].trials + 1)
    return asked


@pytest.mark.parametrize("best", NAMES)
def test_the_arm_that_earns_most_is_asked_most_and_none_falls_below_the_floor(best: str):
    asked = play({name: 0.4 if name == best else 0.03 for name in NAMES}, 300, 1)
    assert max(asked, key=lambda name: asked[name]) == best
    assert asked[best] >= 300 / 4, "also the one of which least was believed"
    assert min(asked.values()) >= FLOOR * 300 - 2


def test_an_author_is_aged_by_its_own_log_and_not_by_clocks():
    base = entry()
    one = entry(2, 2.0, base, PeerId("12D3KooWOther"), proposer="classic/tpe")
    early, late = (dataclasses.replace(one, at_ms=ms) for ms in (1, 10**15))
    assert evidence(request([base, early])) == evidence(request([base, late]))

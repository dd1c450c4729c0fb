"""Screening: never the same twice, seldom nearly the same, and seldom what is likely to fail."""

import random
from functools import partial

import pytest
from proposer_requests import BASE, OTHER_TRACK, PEER, SPACE, entry, request
from samples import TRACK

from node.proposers.arms import Random
from node.proposers.classic import propose_now
from node.proposers.feasibility import Feasibility
from node.proposers.screening import MOST_RISK, NEAR_PENALTY, Screening
from node.proposers.unit_cube import Points
from node.simulation.campaign import Campaign
from node.simulation.made_up import MadeUp
from swarm.ledger import Entry
from swarm.trial import Track
from swarm.words import Outcome, PeerId


def hot_history(author: PeerId, track: Track = TRACK, outcome: Outcome = Outcome.DIVERGED) -> list[Entry]:
    """Everything above a learning rate of 1e-2 ends badly."""
    rng, base = random.Random(0), entry()
    found = [base]
    for number in range(2, 42):
        rate = 10 ** rng.uniform(-4, -1.53)
        bad = rate > 1e-2
        bpb, ending = (None, outcome) if bad else (2.2, None)
        depth = rng.randint(1, 8)
        found.append(entry(number, bpb, base, author, track, outcome=ending, learning_rate=rate, depth=depth))
    return found


def test_nothing_fails_until_something_has_failed():
    assert Feasibility(request([entry(), entry(2, 2.0, entry(), depth=5)])).p_fails(BASE) == 0.0


@pytest.mark.parametrize("outcome", [Outcome.DIVERGED, Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT])
def test_what_fails_is_learned_from_own_and_peers_trials(outcome: Outcome):
    for author in (entry().author, PEER):
        model = Feasibility(request(hot_history(author, outcome=outcome)))
        assert model.p_fails({**BASE, "learning_rate": 2.9e-2}) > 0.5
        assert model.p_fails({**BASE, "learning_rate": 5e-4}) < 0.1


def test_the_same_class_teaches_with_another_budget_too_unless_time_ran_out():
    other = Track(hardware_class=TRACK.hardware_class, budget_seconds=300.0)
    hot = {**BASE, "learning_rate": 2.9e-2}
    diverged = request([entry()], other_tracks=hot_history(PEER, other))
    late = request([entry()], other_tracks=hot_history(PEER, other, Outcome.TIMED_OUT))
    assert Feasibility(diverged).p_fails(hot) > 0.5
    assert Feasibility(late).p_fails(hot) == 0.0


def test_another_class_teaches_nothing_about_failures():
    asked = request([entry()], other_tracks=hot_history(PEER, OTHER_TRACK))
    assert Feasibility(asked).p_fails({**BASE, "learning_rate": 2.9e-2}) == 0.0


def test_a_likely_failure_has_a_penalty_and_what_was_tried_is_out():
    history = hot_history(PEER)
    screening = Screening(request(history))
    assert screening.penalty({**BASE, "learning_rate": 2.9e-2, "width": 96}) > MOST_RISK
    assert screening.penalty({**BASE, "learning_rate": 5e-4, "width": 96}) == 0.0
    assert screening.penalty(history[5].finding.proposal.config) is None


def test_nearly_the_same_has_a_penalty_and_another_option_is_far():
    base = entry()
    screening = Screening(request([base, entry(2, 2.2, base, learning_rate=2e-3)]))
    assert screening.penalty({**BASE, "learning_rate": 2.05e-3}) == NEAR_PENALTY
    assert screening.penalty({**BASE, "learning_rate": 4e-3}) == 0.0
    assert screening.penalty({**BASE, "norm": "rmsnorm"}) == 0.0
    assert not Points(SPACE, [BASE]).near({**BASE, "odd": False})  # 0 and False are two options


def test_nearly_the_same_is_run_when_there_is_nothing_else():
    """A penalty is not a ban."""

    class Nearby:
        name = "nearby"

        def draw(self, request, rng):
            from node.proposers.moves import Draft
            from swarm.words import Operator

            return Draft({**BASE, "learning_rate": 1.01e-3}, Operator.TUNE, "near")

    assert propose_now(request(), (Nearby(),)).config["learning_rate"] == 1.01e-3


def test_a_portfolio_fails_in_at_most_a_tenth_of_experiments_after_the_first_twenty():
    endings = [e for seed in (1, 2, 3) for e in Campaign(MadeUp(seed), propose_now, seed).run(80).endings[20:]]
    assert len(endings) > 60
    assert sum(ending is not Outcome.MEASURED for ending in endings) <= 0.1 * len(endings)


def test_even_random_draws_fail_half_as_often_as_blind_ones():
    """29 % of the space fails (see MadeUp), and shapes and rates are five of its 33 settings."""
    drawn = partial(propose_now, arms=(Random(),))
    endings = [e for seed in range(1, 7) for e in Campaign(MadeUp(seed), drawn, seed).run(80).endings[20:]]
    assert sum(ending is not Outcome.MEASURED for ending in endings) <= 0.145 * len(endings)


def test_a_node_alone_never_runs_the_same_twice():
    entries = Campaign(MadeUp(0), propose_now, 5).run(80).ledger.entries()
    keys = [one.finding.proposal.key for one in entries]
    assert len(set(keys)) == len(keys)

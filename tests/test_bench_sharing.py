"""`swarm bench sharing`: equal trials for every arm, and an answer that can be no."""

import json

import pytest
from click.testing import CliRunner

from node.cli.commands import swarm
from node.simulation import scaling
from node.simulation.sharing import ARMS, Campaign, Problem, answer, campaign, figures, shares_to

SMALL = Problem(nodes=3, trials=8, proposer="light")


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_spends_the_same_and_the_same_seed_gives_the_same(arm):
    made = campaign(SMALL, arm, 1)
    assert len(made.best) == SMALL.total
    assert made == campaign(SMALL, arm, 1)
    assert made.best[-1] <= made.best[0]


def test_more_workers_of_the_central_optimiser_know_less_when_they_ask():
    alone, many = (campaign(Problem(nodes, 48 // nodes, ground="made-up"), "central", 1) for nodes in (1, 12))
    assert alone.best[:2] == many.best[:2]
    assert alone.best != many.best


def test_lonely_nodes_hear_of_nobody():
    longer = Problem(nodes=3, trials=16, proposer="light")
    assert campaign(longer, "isolated", 1).best != campaign(longer, "shared", 1).best


def runs(isolated: list[float], shared: list[float]) -> dict:
    both = {"isolated": isolated, "shared": shared}
    return {arm: [Campaign(arm, n, (3.0, 2.5, last)) for n, last in enumerate(ends)] for arm, ends in both.items()}


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        ([1.0, 1.1, 1.05], "sharing helps"),
        ([2.4, 2.5, 2.45], "sharing does not help: at the end it is"),
        ([1.5, 2.3, 2.1], "sharing does not help beyond chance"),
    ],
)
def test_the_answer_is_what_the_numbers_say(shared, words):
    assert answer(runs([2.0, 2.1, 1.9], shared)).startswith(words)


def test_who_never_gets_there_is_counted_with_all_trials():
    made = runs([2.0, 2.0], [2.2, 1.9])
    assert shares_to(made["shared"], 2.0) == [1.0, 1.0]
    found = figures(made)
    assert found["shared_reached_isolated_best"] == 0.5
    assert found["target_bpb"] == 2.0


def test_of_each_size_it_is_said_how_long_it_takes_to_come_as_far_as_one_node():
    problem = Problem(nodes=1, trials=10, proposer="light", ground="made-up")
    goal = scaling.target(problem, (1, 2))
    found = list(scaling.points(problem, (1, 3), (1, 2), goal))
    assert [(one.arm, one.nodes) for one in found] == [("shared", 1), ("central", 1), ("shared", 3), ("central", 3)]
    for point in found:
        assert all(1 <= trials <= point.nodes * (30 // point.nodes + 6) for trials in point.trials)
        assert point.reached <= 2
    single = found[0]
    assert scaling.efficiency(single, single) == 1.0
    assert single.budgets == list(single.trials)
    assert found[2].budgets == [-(-trials // 3) for trials in found[2].trials]
    assert len(scaling.table(found)) == 5


def test_sizes_that_are_none_are_refused_in_a_sentence():
    for given in ("0,2", "two", "1000"):
        said = CliRunner().invoke(swarm, ["bench", "scaling", "--nodes", given])
        assert said.exit_code == 2
        assert "--nodes" in said.output


def test_the_command_ends_with_one_line_of_json():
    options = ["--nodes", "2", "--trials", "5", "--seeds", "2", "--arms", "isolated,shared"]
    said = CliRunner().invoke(swarm, ["bench", "sharing", *options], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout.splitlines()[-1])
    assert report["benchmark"] == "sharing"
    assert set(report) >= {"command", "date", "machine", "figures", "goals", "met"}
    assert any(line.startswith("sharing ") for line in said.stdout.splitlines()), "it answers the question"


def test_an_arm_that_is_none_is_refused():
    refused = CliRunner().invoke(swarm, ["bench", "sharing", "--arms", "shared,alone"])
    assert refused.exit_code == 2
    assert "'alone' is no arm; known are isolated, shared, pooled-random, central" in refused.output

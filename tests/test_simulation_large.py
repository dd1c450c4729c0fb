"""Thousands of nodes on an event heap: sizes are those of real messages, and the rules are those of gossip."""

import json

import pytest
from click.testing import CliRunner

from gossip import catchup
from node.cli.commands import swarm
from node.simulation.large import LargeRun, LargeSwarm, newcomer, sizes

SMALL = LargeSwarm(nodes=60, hours=1.0, sampled=60)


def test_the_same_seed_gives_the_same_figures_and_another_others():
    first, again, other = (LargeRun(SMALL, seed).run() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_everybody_gets_everything_and_news_first():
    figures = LargeRun(SMALL, 1).run()
    assert figures["held_share_after_10_minutes"] == 1.0
    assert figures["news_p99_s"] < 1.0 < figures["others_p50_s"]


def test_a_larger_swarm_costs_each_node_more():
    small, large = (LargeRun(LargeSwarm(nodes=n, hours=1.0, sampled=60), 1).run() for n in (60, 600))
    assert large["kilobytes_per_second"] > 2 * small["kilobytes_per_second"]
    assert (small["round_seconds"], large["round_seconds"]) == (10.0, pytest.approx(12.0))


def test_the_size_of_a_request_is_that_of_a_real_one():
    heads = {f"12D3KooW{n:044}": 200 for n in range(500)}
    request = catchup.Request("ab" * 32, heads, tips=dict.fromkeys(heads, b"1" * 8), deflate=True, offset=0)
    assert sizes(500).request_bytes == len(catchup.encode_request(request))


def test_what_a_newcomer_fetches_grows_with_the_night():
    early, late = newcomer(SMALL, 1.0), newcomer(SMALL, 8.0)
    assert late["newcomer_findings"] == 8 * early["newcomer_findings"] == 60 * 24 * 8
    assert late["newcomer_megabytes"] > 7 * early["newcomer_megabytes"]


def test_the_command_says_what_it_found():
    said = CliRunner().invoke(swarm, ["bench", "scale", "--nodes", "50", "--hours", "0.5"], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout.splitlines()[-1])
    assert report["benchmark"] == "scale"
    assert report["figures"]["ledger_bytes_per_finding"] > 1000

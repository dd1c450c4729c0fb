"""Small swarms over real libp2p in virtual time: what holds over the bus in memory holds over it, and runs repeat."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from node.simulation.figures import Result, look
from node.simulation.scenario import Scenario, ScenarioError
from node.simulation.world import Run, simulate

ROOT = Path(__file__).resolve().parents[1]
PARTITION = {"kind": "partition", "at_minutes": 0.4, "minutes": 0.6}
RESTARTS = {"kind": "restarts", "at_minutes": 1.2, "times": 2, "every_seconds": 12.0, "share": 0.7}
LATE = {"kind": "late", "nodes": 2, "after_findings": 4}
SMALL = {
    "name": "small",
    "hours": 0.03,  # 108 seconds
    "quiet_minutes": 0.75,
    "nodes": 5,
    "start_within_seconds": 5.0,
    "landscape": "made-up",
    "machines": [{"budget_seconds": 12.0, "nodes": 5}],
}


def scenario(*faults: dict, **changes: object) -> Scenario:
    return Scenario.model_validate_json(json.dumps(SMALL | {"faults": faults} | changes))


def run(chosen: Scenario, seed: int = 1) -> tuple[Run, Result]:
    results: list[Result] = []
    made = simulate(chosen, seed, look=lambda one: results.append(look(one)), over="libp2p")
    return made, results[0]


def test_news_reach_everybody_at_once_and_nobody_lacks_any():
    made, result = run(scenario())
    assert result.holds, result.figures
    assert len(made.honest) == 5
    assert result.figures["findings"] >= 12
    assert 0 < result.figures["news_latency_p50_s"] <= result.figures["news_latency_p99_s"] < 2.0
    assert 1.0 <= result.figures["redundancy"] < 5.0
    assert all(member.count()["bus.claims_in"] > 0 for member in made.members)


def test_a_swarm_that_came_apart_is_one_again():
    _, result = run(scenario(PARTITION))
    assert result.holds, result.figures
    assert result.figures["latency_p99_s"] > 15, "nothing crossed a partition of 36 seconds"


def test_who_is_killed_and_started_again_lacks_nothing():
    made, result = run(scenario(RESTARTS))
    assert result.holds, result.figures
    assert sum(member._lives for member in made.members) >= 5 + 2 * 3


def test_late_joiners_get_everything():
    made, result = run(scenario(LATE))
    assert result.holds, result.figures
    assert len(made.honest) == 7


def test_lost_packets_are_late_and_not_missing():
    lossy = scenario({"kind": "links", "share": 1.0, "latency_ms": 200.0, "loss": 0.2, "kilobytes_per_second": 20.0})
    _, result = run(lossy)
    assert result.holds, result.figures
    assert result.figures["latency_p99_s"] > 0.5, "TCP sends again"


PROGRAM = """
import sys
from node.simulation.scenario import Scenario
from node.simulation.world import simulate
print(simulate(Scenario.model_validate_json(sys.argv[1]), 1, over="libp2p").observation.trace)
"""


def test_the_same_seed_gives_the_same_run_also_where_strings_hash_otherwise():
    four = [{"budget_seconds": 12.0, "nodes": 4}]
    chosen = scenario(
        PARTITION, RESTARTS | {"times": 1}, LATE | {"nodes": 1}, nodes=4, machines=four, quiet_minutes=0.2
    )
    here = run(chosen)[0].observation.trace
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM, chosen.model_dump_json()],
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here
    assert int(here.split(":")[0]) > 40


def test_another_seed_gives_another_run():
    few = scenario(hours=0.01, quiet_minutes=0.1)
    assert run(few, 1)[1].trace != run(few, 2)[1].trace


def test_clocks_dice_and_threads_are_as_before_when_a_run_is_over():
    real, threads, dice = (time.time, time.monotonic), threading.active_count(), random.Random(3).getstate()
    random.setstate(dice)
    seen: list[float] = []
    during: list[int] = []

    def note(_: Run) -> None:
        seen.append(time.time())
        during.append(threading.active_count())

    simulate(scenario(hours=0.01, quiet_minutes=0.2), 1, look=note, over="libp2p")
    assert seen == [pytest.approx(1_767_225_600 + 36 + 12)], "virtual while it ran"
    assert (time.time, time.monotonic) == real
    assert random.getstate() == dice
    assert (during, threading.active_count()) == ([threads], threads)


def test_more_nodes_than_are_worth_it_are_refused_in_one_sentence():
    with pytest.raises(ScenarioError, match="has 201 nodes, and over libp2p at most 200 are run"):
        simulate(scenario(nodes=201, machines=[]), 1, over="libp2p")


@pytest.mark.long
@pytest.mark.parametrize(
    "faults", [[], [PARTITION], [RESTARTS], [LATE]], ids=["steady", "partition", "restarts", "late"]
)
def test_35_nodes_know_an_improvement_within_two_seconds_and_lack_nothing(faults):
    _, result = run(
        scenario(*faults, nodes=35, machines=[{"budget_seconds": 30.0, "nodes": 35}], hours=0.05, quiet_minutes=1.5)
    )
    assert result.holds, result.figures
    if not faults:
        assert 0 < result.figures["news_latency_p99_s"] < 2.0

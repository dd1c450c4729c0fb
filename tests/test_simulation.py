"""Small swarms in virtual time: the same seed gives the same run, and whatever goes wrong, ledgers end up equal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.simulation.figures import Result, look
from node.simulation.member import Role
from node.simulation.scenario import FAULTS, Scenario, read_scenario
from node.simulation.world import Run, simulate

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "name": "small",
    "hours": 0.25,
    "quiet_minutes": 4.0,
    "nodes": 5,
    "start_within_seconds": 20.0,
    "landscape": "made-up",
    "machines": [{"budget_seconds": 40.0, "nodes": 5}],
}
FAULTY = {
    "churn": {"share_per_hour": 4.0, "away_seconds": 60.0},
    "partition": {"at_minutes": 4.0, "minutes": 6.0},
    "late": {"nodes": 2, "after_findings": 25},
    "restarts": {"at_minutes": 6.0, "times": 2, "every_seconds": 30.0},
    "flood": {"at_minutes": 5.0, "minutes": 0.5, "records_per_second": 40.0},
    "liars": {"nodes": 2, "sigmas": 10.0},
    "copycats": {"nodes": 2},
    "sybils": {"identities": 4, "every_minutes": 4.0},
    "links": {"share": 0.5, "latency_ms": 500.0, "loss": 0.3, "kilobytes_per_second": 20.0},
    "clocks": {"share": 0.7, "minutes": 3000.0},
    "bootstrap_dead": {"at_minutes": 6.0},
    "disk_full": {"nodes": 2, "at_minutes": 5.0, "minutes": 4.0},
}


def scenario(*faults: str, **changes: object) -> Scenario:
    listed = [{"kind": kind, **FAULTY[kind]} for kind in faults]
    return Scenario.model_validate_json(json.dumps(SMALL | {"faults": listed} | changes))


def run(chosen: Scenario, seed: int = 1) -> tuple[Run, Result]:
    results: list[Result] = []
    made = simulate(chosen, seed, look=lambda one: results.append(look(one)))
    return made, results[0]


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    chosen = scenario("churn", "links")
    first, again, other = (run(chosen, seed)[1] for seed in (1, 1, 2))
    assert first == again
    assert first.trace != other.trace


def test_a_run_does_not_depend_on_how_a_process_hashes_strings():
    program = (
        "from node.simulation.scenario import read_scenario; from node.simulation.world import simulate; import sys;"
        "from pathlib import Path; print(simulate(read_scenario(Path(sys.argv[1])), 1).observation.trace)"
    )
    path = ROOT / "tests" / "simworld" / "minute.toml"
    traces = [
        subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert int(traces[0].split(":")[0]) > 20


@pytest.mark.parametrize("kind", sorted(FAULTY))
def test_honest_ledgers_are_equal_and_complete_whatever_goes_wrong(kind):
    made, result = run(scenario(kind))
    assert result.holds, result.figures
    assert result.figures["findings"] > 25
    assert result.figures["delivery"] == 1.0
    assert result.figures["best_bpb"] < 2.6, "research went on"
    if kind == "late":
        assert len(made.honest) == 7
    if kind in ("liars", "sybils"):
        assert result.figures["lies"] >= 2
    if kind == "copycats":
        assert result.figures["copies"] >= 1
    if kind == "disk_full":
        assert any("disk is full" in words for words in result.notices)
    if kind == "flood":
        (flooder,) = [member for member in made.members if member.role is Role.FLOODER]
        assert len(flooder.notebook.journal.heads()) == 0 or result.figures["redundancy"] > 0


def test_every_fault_of_the_schema_is_tried_here():
    assert set(FAULTY) == set(FAULTS)


def test_news_reach_a_small_quiet_swarm_at_once():
    _, result = run(scenario())
    assert 0 < result.figures["news_latency_p50_s"] < 1.0
    assert 1.0 <= result.figures["redundancy"] < 5.0


def test_the_scenarios_that_come_with_it_can_be_read():
    paths = sorted((ROOT / "configs" / "sim").glob("*.toml"))
    assert len(paths) >= 13
    for path in paths:
        assert read_scenario(path).name == path.stem
        assert read_scenario(path).about

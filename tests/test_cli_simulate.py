"""`swarm simulate` and what a scenario file may say."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.commands import swarm
from node.simulation import stored
from node.simulation.scenario import ScenarioError, read_scenario

MINUTE = Path(__file__).parent / "simworld" / "minute.toml"


@pytest.fixture
def file(tmp_path):
    def write(text: str, name: str = "x.toml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('name = "x"\nhours = 1.0\nnode = 3', "unknown key 'node'; did you mean 'nodes'?"),
        (
            'name = "x"\nhours = 1.0\n[network]\nlatency = 3',
            "unknown key 'network.latency'; did you mean 'latency_ms'?",
        ),
        (
            'name = "x"\nhours = 1.0\n[[faults]]\nkind = "chrun"',
            "a fault of unknown kind 'chrun'; did you mean 'churn'?",
        ),
        ('name = "x"\nhours = 1.0\n[[faults]]\nkind = "churn"\nshare = 1', "unknown key 'faults (churn).share'"),
        ('name = "x"\nhours = 1.0\n[[faults]]\nkind = "churn"', "faults.0.share_per_hour is refused: Field required"),
        ('name = "x"\nhours = -1.0', "hours is refused"),
        ('name = "x"\nhours = 2026-01-01', "holds a date"),
        ('name = "x"\nhours = 1.0\nnodes = 3\n[[machines]]\nnodes = 2', "machines are 2 in all, nodes says 3"),
        ('name = "x"\nhours = 1.0\nnodes = 1\nbootstraps = 2', "there are only 1 nodes"),
        ("name = ", "is not valid TOML"),
        ('name = "x"\nhours = nan', "hours is refused"),
    ],
)
def test_a_scenario_that_is_wrong_is_refused_in_one_sentence(file, text, sentence):
    with pytest.raises(ScenarioError) as refused:
        read_scenario(file(text))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_scenario_that_is_not_there_and_one_that_is_no_text(tmp_path, file):
    with pytest.raises(ScenarioError, match="No such file"):
        read_scenario(tmp_path / "none.toml")
    path = file("")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ScenarioError, match="not UTF-8"):
        read_scenario(path)


def invoke(*arguments: str):
    return CliRunner().invoke(swarm, ["simulate", *arguments])


def test_a_run_is_stored_drawn_and_compared(tmp_path):
    first = invoke(str(MINUTE), "--seeds", "2", "--json", "--save", str(tmp_path), "--picture", str(tmp_path / "p.png"))
    assert first.exit_code == 0, first.output
    document = json.loads(first.stdout)
    assert document["holds"] is True
    assert document["figures"]["missing_findings"] == 0
    assert [run["seed"] for run in document["runs"]] == [1, 2]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    again = invoke(str(MINUTE), "--seeds", "2", "--json", "--baseline", str(tmp_path))
    assert json.loads(again.stdout)["changes"] == []
    stored_file = tmp_path / "minute.json"
    better = json.loads(stored_file.read_text())
    for run in better["runs"]:
        run["figures"]["kilobytes_per_node_hour"] /= 2
    stored_file.write_text(json.dumps(better))
    worse = invoke(str(MINUTE), "--seeds", "1", "--baseline", str(tmp_path))
    assert worse.exit_code == 0
    assert "worse  kilobytes_per_node_hour" in worse.stdout
    assert "honest ledgers are equal and complete" in worse.stdout


def test_a_baseline_that_cannot_be_read_is_said_before_anything_runs(tmp_path):
    refused = invoke(str(MINUTE), "--baseline", str(tmp_path / "none"))
    assert isinstance(refused.exception, stored.StoredResultsError)
    (tmp_path / "minute.json").write_text("{}")
    refused = invoke(str(MINUTE), "--baseline", str(tmp_path))
    assert "holds no results of a simulation" in str(refused.exception)


def test_an_unknown_name_offers_the_nearest():
    refused = invoke("steady-53")
    assert isinstance(refused.exception, ScenarioError)
    assert "did you mean 'steady-35'?" in str(refused.exception)


def test_what_got_worse_is_more_than_what_seeds_vary_by():
    before = [{"best_bpb": 2.0, "delivery": 1.0}, {"best_bpb": 2.2, "delivery": 1.0}]
    same = [{"best_bpb": 2.1, "delivery": 1.0}, {"best_bpb": 2.25, "delivery": 1.0}]
    worse = [{"best_bpb": 2.9, "delivery": 0.9}, {"best_bpb": 3.0, "delivery": 0.9}]
    assert stored.changes(before, same) == []
    found = stored.changes(before, worse)
    assert {(change.figure, change.worse) for change in found} == {("best_bpb", True), ("delivery", True)}
    assert not any(change.worse for change in stored.changes(worse, before))


def test_the_figures_of_the_simulator_are_printed_with_their_goals():
    made = CliRunner().invoke(
        swarm, ["bench", "sim", "--parts", "night,traffic", "--night-hours", "0.25", "--jobs", "1"]
    )
    assert made.exit_code == 0, made.output
    last = json.loads(made.stdout.splitlines()[-1])
    assert last["benchmark"] == "sim"
    assert set(last["goals"]) == {"night_100_cpu_seconds", "kilobytes_per_second_1000_nodes"}
    assert last["figures"]["night_100_missing_findings"] == 0
    assert f"{last['figures']['kilobytes_per_second_1000_nodes']:.4f}" in made.stdout


def test_an_unknown_part_is_named():
    refused = CliRunner().invoke(swarm, ["bench", "sim", "--parts", "nights"])
    assert refused.exit_code == 2
    assert "'nights' is no part; known are scenarios, news, night, traffic, sharing" in refused.stderr

"""The benchmark of proposers: the same campaigns for the same seed, and figures that say what happened."""

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.commands import swarm
from node.proposers.credit import Earned
from node.simulation.campaign import Campaign, research_space, space_file
from node.simulation.goals import figure_lines, report
from node.simulation.made_up import MadeUp
from node.simulation.proposer_bench import (
    GOALS,
    PORTFOLIO,
    Run,
    credit_lines,
    curves,
    figures,
    grouped,
    interval,
    proposers,
    run_all,
    search,
    sparkline,
    table,
)
from node.simulation.surrogate_surface import SurrogateSurface
from node.simulation.table import Conditions, RecordedTrial, write_table
from swarm.words import Outcome


def run(name: str, seed: int, last: float, failed: int = 0) -> Run:
    endings = (Outcome.MEASURED,) * (30 - failed) + (Outcome.DIVERGED,) * failed
    return Run(name, seed, (3.0, 2.5, last), endings, {"tpe": Earned(2, 3, 1, 6.0)})


RUNS = grouped(
    [
        *(run("tpe", seed, last) for seed, last in enumerate((1.0, 1.2, 1.4))),
        *(run(PORTFOLIO, seed, last, failed=2) for seed, last in enumerate((1.1, 1.3, 1.5))),
        *(run("random", seed, last) for seed, last in enumerate((2.0, 1.2, 2.0))),
    ]
)


def test_the_same_seed_is_the_same_campaign_and_another_is_another():
    first, again, other = (search(MadeUp(0), PORTFOLIO, seed, 15) for seed in (1, 1, 2))
    assert first == again
    assert first.best != other.best


def test_campaigns_in_processes_are_those_of_one():
    alone = list(run_all(MadeUp(0), ["local", "random"], 2, 12, processes=1))
    beside = list(run_all(MadeUp(0), ["local", "random"], 2, 12, processes=2))
    assert sorted(alone, key=lambda r: (r.proposer, r.seed)) == sorted(beside, key=lambda r: (r.proposer, r.seed))


def test_every_repeat_counts_as_a_trial():
    made = Campaign(MadeUp(0), proposers()["local"], 3)
    made.run(30)
    spent = sum(len(e.finding.trials) + len(e.finding.parent_trials) for e in made.ledger.entries())
    assert len(made.best) == 30 <= spent
    assert len(made.ledger) < spent


def test_best_so_far_is_the_truth_without_noise_and_repeats_nothing_alike():
    surface = MadeUp(0)
    made = Campaign(surface, proposers()["local"], 3).run(30)
    assert made.best[0] == surface.truth(surface.start)
    assert made.best[-1] < made.best[0]


def test_figures_set_the_portfolio_beside_the_best_arm_and_random():
    found = figures(RUNS)
    assert found["sigma"] == pytest.approx(0.2)
    assert found["portfolio_behind_best_arm_bpb"] == pytest.approx(0.1)
    assert found["portfolio_behind_best_arm_sigma"] == pytest.approx(0.5)
    assert found["portfolio_beats_random_share"] == pytest.approx(2 / 3)
    assert found["infeasible_share_after_20"] == pytest.approx(2 / 10)
    assert set(GOALS) < set(found)


def test_the_table_has_the_best_first_with_intervals():
    lines = table(RUNS, 3)
    assert [line.split()[0] for line in lines] == ["proposer", "tpe", PORTFOLIO, "random"]
    assert lines[1].split()[1:] == ["1.2000", f"±{interval([1.0, 1.2, 1.4]):.3f}"]


def test_a_curve_falls_from_full_to_empty():
    assert sparkline([3.0, 2.0, 1.0], 1.0, 3.0) == "█▅▁"
    assert sparkline([1.0, 1.0], 1.0, 1.0) == "▁▁"
    assert len(curves(RUNS, 3)) == 3


def test_credit_is_of_all_seeds_together():
    (line,) = credit_lines(RUNS)
    assert line.split()[:3] == ["tpe", "9", "trials,"]


def test_a_goal_whose_figure_is_missing_is_not_met():
    assert report("x", {"a": 1.0}, {"a": ("<=", 1.0)}, [])["met"]
    assert not report("x", {}, {"a": ("<=", 1.0)}, [])["met"]
    assert "MISSED" in figure_lines({"a": 2.0}, {"a": ("<=", 1.0)})[0]
    assert report("x", {}, {}, ["--seeds", "3"])["command"] == "make bench-x ARGS='--seeds 3'"


def recorded(path: Path) -> Path:
    """What MadeUp comes to at random configs, as if it had been recorded."""
    surface, rng, rows = MadeUp(0), random.Random(0), list[RecordedTrial]()
    base = dict(space_file().base)
    for number in range(40):
        config = base if number == 0 else proposers_config(rng)
        rows.append(
            RecordedTrial(
                campaign="random 0",
                arm="random",
                config=config,
                seed=number,
                outcome=Outcome.MEASURED,
                val_bpb=surface.truth(config),
                curve=((1.0, 5.0), (20.0, 3.0)),
            )
        )
    conditions = Conditions(
        topic="pysource", hardware_class="c", threads=1, cpu_seconds=20.0, measured_bytes=1000, start=base
    )
    write_table(path, conditions, rows)
    return path


def proposers_config(rng: random.Random):
    from node.proposers.draws import anywhere

    return {name: anywhere(parameter, rng) for name, parameter in research_space().parameters.items()}


def test_a_recorded_table_is_a_surface(tmp_path: Path):
    surface = SurrogateSurface.of_table(recorded(tmp_path / "t.jsonl"))
    assert surface.truth(surface.start) == pytest.approx(MadeUp(0).truth(surface.start), rel=0.3)
    assert search(surface, "local", 0, 10) == search(surface, "local", 0, 10)


def test_the_command_prints_a_table_curves_and_a_last_line_of_json(tmp_path: Path):
    arguments = ["bench", "proposers", "--seeds", "2", "--trials", "12", "--processes", "1"]
    table_file = recorded(tmp_path / "t.jsonl")
    done = CliRunner().invoke(swarm, [*arguments, "--table", str(table_file)])
    assert done.exit_code == 0, done.output
    assert "█" in done.output
    last = json.loads(done.output.splitlines()[-1])
    assert last["command"] == f"make bench-proposers ARGS='--seeds 2 --trials 12 --table {table_file}'"
    assert set(last["figures"]) >= set(GOALS)


def test_as_json_there_is_one_line(tmp_path: Path):
    arguments = ["bench", "proposers", "--seeds", "2", "--trials", "10", "--processes", "1", "--made-up", "1", "--json"]
    done = CliRunner().invoke(swarm, arguments)
    assert done.exit_code == 0, done.output
    (line,) = done.output.splitlines()
    assert json.loads(line)["benchmark"] == "proposers"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--table", "x", "--made-up", "1"], "give one of them"),
        (["--seeds", "1"], "--seeds"),
        (["--trials", "3"], "--trials"),
        (["--made-up", "-1"], "--made-up"),
    ],
)
def test_wrong_usage_is_one_sentence(given: list[str], said: str):
    done = CliRunner().invoke(swarm, ["bench", "proposers", *given])
    assert done.exit_code == 2
    assert said in done.output

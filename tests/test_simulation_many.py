"""Several runs at a time come to the same as one after another, and an interruption leaves nobody behind."""

import multiprocessing
from pathlib import Path

import pytest

from node.simulation.many import Task, run_tasks
from node.simulation.scenario import read_scenario

MINUTE = Path(__file__).parent / "simworld" / "minute.toml"


def test_runs_in_processes_come_to_the_same_in_the_same_order():
    tasks = [Task(read_scenario(MINUTE), seed) for seed in (3, 1, 2)]
    told: list[float] = []
    here = [done.result for done in run_tasks(tasks)]
    there = [done.result for done in run_tasks(tasks, 2, told.append)]
    assert here == there
    assert [result.seed for result in there] == [3, 1, 2]
    assert told == [1.0, 2.0, 3.0]


def test_an_interruption_ends_the_processes():
    runs = run_tasks([Task(read_scenario(MINUTE), seed) for seed in range(40)], 2)
    next(runs)
    with pytest.raises(KeyboardInterrupt):
        runs.throw(KeyboardInterrupt())
    assert multiprocessing.active_children() == []

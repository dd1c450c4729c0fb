"""Plans of what goes wrong among real processes: the same for the same seed, and nobody is killed twice."""

from pathlib import Path

import pytest

from node.simulation.scenario import Scenario, read_scenario
from tests.fault_plan import Deed, Plan, Size, plan_of, soak_plan

SHIPPED = sorted((Path(__file__).resolve().parents[1] / "configs" / "sim").glob("*.toml"))
SIZE = Size(nodes=12, seconds=60.0)


def read(name: str) -> Scenario:
    return read_scenario(next(path for path in SHIPPED if path.stem == name))


def check_lives(plan: Plan) -> None:
    """Only who is there is killed, hangs, finds or is filled up; only who is not is started."""
    there: set[int] = set()
    hanging: set[int] = set()
    for step in plan.steps:
        match step.deed:
            case Deed.START:
                assert step.node not in there, step
                there.add(step.node)
            case Deed.PART:
                placed = sorted(node for group in step.groups for node in group)
                assert placed == list(range(plan.places)), "each is in one group"
            case Deed.HEAL | Deed.FLOOD:
                continue
            case _:
                assert step.node in there, step
        match step.deed:
            case Deed.KILL | Deed.LEAVE:
                there.remove(step.node)
                assert step.node not in hanging, step
            case Deed.PAUSE:
                assert step.node not in hanging, step
                hanging.add(step.node)
            case Deed.RESUME:
                hanging.remove(step.node)
            case _:
                continue
    assert not hanging


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_a_plan_that_can_be_played_and_is_the_same_twice(path):
    scenario = read_scenario(path)
    plan = plan_of(scenario, SIZE, 1)
    assert plan == plan_of(scenario, SIZE, 1)
    assert plan.steps != plan_of(scenario, SIZE, 2).steps
    assert all(0 <= step.at_seconds <= SIZE.seconds for step in plan.steps)
    assert list(plan.steps) == sorted(plan.steps)
    check_lives(plan)
    for seed in range(2, 22):
        check_lives(plan_of(scenario, SIZE, seed))


def deeds(plan: Plan, deed: Deed) -> list[tuple[float, int]]:
    return [(step.at_seconds, step.node) for step in plan.steps if step.deed is deed]


def test_each_fault_is_what_the_scenario_says_scaled_down():
    assert deeds(plan_of(read("partition-and-heal"), SIZE, 1), Deed.PART) == [(20.0, -1)]
    assert deeds(plan_of(read("partition-and-heal"), SIZE, 1), Deed.HEAL) == [(40.0, -1)]
    late = plan_of(read("late-joiners"), SIZE, 1)
    assert late.nodes == 18, "half as many again"
    assert len({at for at, node in deeds(late, Deed.START) if node >= 12}) == 1
    storm = plan_of(read("restart-storm"), SIZE, 1)
    assert len(deeds(storm, Deed.KILL)) == 50, "ten of twelve, five times"
    dead = plan_of(read("bootstrap-dead"), SIZE, 1)
    assert [node for at, node in deeds(dead, Deed.KILL) if node < 2] == [0, 1]
    assert dead.gone == {0, 1}
    full = plan_of(read("disk-full"), SIZE, 1)
    assert len(full.small_disks) == 3
    assert {at for at, _ in deeds(full, Deed.FILL)} == {20.0}
    assert {at for at, _ in deeds(full, Deed.EMPTY)} == {35.0}
    flood = [step for step in plan_of(read("flood"), SIZE, 1).steps if step.deed is Deed.FLOOD]
    assert {step.count for step in flood} == {50}
    assert len(plan_of(read("slow-lossy"), SIZE, 1).worse) == 5
    assert len(plan_of(read("wrong-clocks"), SIZE, 1).ahead_seconds) == 4
    assert plan_of(read("sybils-100"), SIZE, 1).left_out == ("sybils",)


def test_the_plan_of_a_soak_is_the_same_twice_and_leaves_the_first_node_alone():
    plan = soak_plan(6, 7200.0, 40.0, 1)
    assert plan == soak_plan(6, 7200.0, 40.0, 1)
    assert plan.steps != soak_plan(6, 7200.0, 40.0, 2).steps
    check_lives(plan)
    assert {step.deed for step in plan.steps} >= {Deed.KILL, Deed.LEAVE, Deed.PAUSE, Deed.PART, Deed.HEAL}
    assert [step.deed for step in plan.steps if step.node == 0] == [Deed.START]
    check_lives(soak_plan(20, 60.0, 1.0, 1, parts=False, findings_per_second=5.0))

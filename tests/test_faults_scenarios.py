"""Scenarios of configs/sim with real processes, scaled down: whatever goes wrong, everybody has everything in the end.

When each thing happens comes from a seed (fault_plan.py). Partitions, bad lines and full disks need namespaces, and are
skipped where a user may not make them.
"""

from pathlib import Path

import pytest

from node.simulation.scenario import read_scenario
from tests.fault_plan import Deed, Size, plan_of
from tests.played_scenario import Player, swarm_for
from tests.swarm_of_processes import NoNetwork

pytestmark = pytest.mark.long
FOLDER = Path(__file__).resolve().parents[1] / "configs" / "sim"
SMALL = Size(nodes=8, seconds=15.0)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("churn-100", Size(nodes=20, seconds=20.0)),
        ("partition-and-heal", SMALL),
        ("late-joiners", SMALL),
        ("restart-storm", SMALL),
        ("flood", SMALL),
        ("slow-lossy", Size(nodes=8, seconds=15.0, findings_per_second=1.0)),
        ("wrong-clocks", SMALL),
        ("bootstrap-dead", SMALL),
        ("disk-full", SMALL),
    ],
)
async def test_in_the_end_everybody_has_everything(name, size, tmp_path):
    plan = plan_of(read_scenario(FOLDER / f"{name}.toml"), size, seed=7)
    try:
        async with swarm_for(plan, tmp_path) as swarm:
            played = await Player(swarm, plan).play()
    except* NoNetwork as refused:
        pytest.skip(f"needs namespaces: {refused.exceptions[0]}")
    assert played.missing == 0
    assert played.ledgers == 1
    assert len(played.states) == plan.nodes - len(plan.gone)
    told = [step for step in plan.steps if step.deed in (Deed.PUBLISH, Deed.IMPROVE)]
    assert len(played.everything) + played.unkept > len(told) // 2
    assert not [text for text in played.notices if "network stopped" in text]
    if plan.small_disks:
        assert played.unkept > 0 or any("cannot be kept" in text for text in played.notices), "no disk was full"

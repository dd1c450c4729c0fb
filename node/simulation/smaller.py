"""A scenario made smaller: fewer nodes for a shorter time, so that many seeds of it can be run.

Owns what shrinks. Rates, waits of seconds, links and machines stay as they are, and so does the quiet time.
"""

from collections.abc import Mapping
from math import ceil

from pydantic import ValidationError

from node.simulation.scenario import Fault, Machines, Scenario, ScenarioError

LEAST_NODES = 4
LEAST_HOURS = 0.5
_TIMES = ("at_minutes", "minutes")
_COUNTS = ("nodes", "identities")


def smaller(scenario: Scenario, share: float, hours: float | None = None) -> Scenario:
    """`share` of the nodes and of the hours of `scenario`, or so many hours, and as much sooner and shorter what goes
    wrong. Raises ScenarioError for hours that no scenario has."""
    if share == 1.0 and hours is None:
        return scenario
    machines = tuple(_machines(one, share) for one in scenario.machines)
    nodes = sum(one.nodes for one in machines) if machines else max(LEAST_NODES, ceil(scenario.nodes * share))
    hours = max(min(LEAST_HOURS, scenario.hours), scenario.hours * share) if hours is None else hours
    pace = hours / scenario.hours
    faults = tuple(_fault(fault, nodes / scenario.nodes, pace) for fault in scenario.faults)
    bootstraps = min(scenario.bootstraps, nodes - 1)
    fields = {"nodes": nodes, "hours": hours, "machines": machines, "faults": faults, "bootstraps": bootstraps}
    try:
        return Scenario.model_validate(scenario.model_dump() | fields)
    except ValidationError as error:
        raise ScenarioError(f"{scenario.name} in {hours:g} hours is refused: {error.errors()[0]['msg']}") from None


def _machines(machines: Machines, share: float) -> Machines:
    return machines.model_copy(update={"nodes": max(1, ceil(machines.nodes * share))})


def _fault(fault: Fault, crowd: float, pace: float) -> Fault:
    said: Mapping[str, object] = fault.model_dump()
    fields: dict[str, object] = {name: pace * value for name in _TIMES if isinstance(value := said.get(name), float)}
    for name in _COUNTS:
        if isinstance(count := said.get(name), int):
            fields[name] = max(2 if name == "identities" else 1, ceil(count * crowd))
    if isinstance(after := said.get("after_findings"), int):
        fields["after_findings"] = ceil(after * crowd * pace)
    return fault.model_copy(update=fields)

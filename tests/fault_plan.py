"""A scenario of configs/sim as a plan for real processes: who does what when, known before anything starts.

Owns how a scenario is scaled down and what of it makes sense without training. The same scenario, size and seed are the
same plan. Playing it is played_scenario.py's and soak.py's business.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from node.simulation.scenario import (
    BootstrapDead,
    Churn,
    Clocks,
    DiskFull,
    Flood,
    Late,
    Links,
    Partition,
    Restarts,
    Scenario,
)

HOUR = 3600.0  # seconds
MOMENT_SECONDS = 0.1
LONGEST_REST_SECONDS = 20.0  # of a process that hangs; guess


class Deed(StrEnum):
    START = "start"
    KILL = "kill"
    LEAVE = "leave"
    PAUSE = "pause"
    RESUME = "resume"
    PART = "part"
    HEAL = "heal"
    FILL = "fill"
    EMPTY = "empty"
    FLOOD = "flood"
    PUBLISH = "publish"
    IMPROVE = "improve"


@dataclass(frozen=True, order=True)
class Step:
    at_seconds: float
    deed: Deed
    node: int = -1
    groups: tuple[tuple[int, ...], ...] = ()  # of PART
    count: int = 0  # records of FLOOD


@dataclass(frozen=True)
class Size:
    """What of a scenario real processes are to be: fewer nodes, shorter time."""

    nodes: int
    seconds: float
    findings_per_second: float = 2.0
    improvements: float = 0.5  # of findings


@dataclass
class Plan:
    seconds: float
    nodes: int  # honest ones, numbered from 0, with those that come late; the flooder is one more
    bootstraps: int
    latency_ms: float
    loss: float
    steps: tuple[Step, ...] = ()
    worse: dict[str, tuple[float, float, float]] = field(default_factory=dict[str, tuple[float, float, float]])
    ahead_seconds: dict[int, float] = field(default_factory=dict[int, float])  # wall clocks that are wrong
    small_disks: tuple[int, ...] = ()
    gone: frozenset[int] = frozenset()  # never come back
    floods: bool = False
    left_out: tuple[str, ...] = ()  # kinds of faults that say nothing here

    @property
    def places(self) -> int:
        return self.nodes + self.floods

    @property
    def parts(self) -> bool:
        return any(step.deed is Deed.PART for step in self.steps)


Span = tuple[float, float]


@dataclass
class _Draft:
    """Spans of seconds in which a node is away are collected first, whatever fault they come from."""

    scenario: Scenario
    size: Size
    rng: random.Random
    plan: Plan
    found_at: list[float]
    steps: list[Step] = field(default_factory=list[Step])
    away: dict[int, list[Span]] = field(default_factory=dict[int, list[Span]])
    begins: dict[int, float] = field(default_factory=dict[int, float])

    @property
    def shrinking(self) -> float:
        """Seconds here for a second there."""
        return self.size.seconds / (self.scenario.hours * HOUR)

    def at(self, minutes: float) -> float:
        return min(self.size.seconds, 60 * minutes * self.shrinking)

    def others(self) -> list[int]:
        """Whom not everybody was told of."""
        return [node for node in range(self.size.nodes) if node >= self.plan.bootstraps]

    def pick(self, share: float) -> list[int]:
        others = self.others()
        return self.rng.sample(others, min(len(others), math.ceil(share * len(others))))

    def scaled(self, nodes: int) -> int:
        return max(1, round(nodes * self.size.nodes / self.scenario.nodes))

    def is_away(self, node: int, at: float) -> bool:
        return at <= self.begins[node] or any(since <= at <= until for since, until in self.absences(node))

    def absences(self, node: int) -> list[Span]:
        """Whom something hits while it is away is not hit again; who is killed is away for a moment at least."""
        made: list[Span] = []
        lives_from = self.begins[node]
        for since, until in sorted(self.away.get(node, ())):
            if since > lives_from:
                lives_from = max(until, since + MOMENT_SECONDS)
                made.append((since, lives_from))
        return made


def plan_of(scenario: Scenario, size: Size, seed: int) -> Plan:
    rng = random.Random(f"{seed} {scenario.name}")
    bootstraps = min(scenario.bootstraps, max(1, size.nodes - 1))
    plan = Plan(size.seconds, size.nodes, bootstraps, scenario.network.latency_ms, scenario.network.loss)
    draft = _Draft(scenario, size, rng, plan, _moments(rng, size.findings_per_second, size.seconds))
    draft.begins = dict.fromkeys(range(size.nodes), 0.0)  # an hour in a minute: a minute of starting is no time at all
    for fault in scenario.faults:
        _afflict(draft, fault)
    for node in plan.small_disks:  # it could not start on a full one, which is another matter
        draft.away.pop(node, None)
    _publish(draft)
    plan.steps = tuple(sorted([*map(_complete(plan), draft.steps), *_comings_and_goings(draft)]))
    return plan


def soak_plan(
    nodes: int, seconds: float, every_seconds: float, seed: int, *, parts: bool = True, findings_per_second: float = 0.0
) -> Plan:
    """Without end and pattern: kills, clean stops, hangs and partitions, one at a time. The first node stays, so that
    what grows in it can be seen."""
    rng = random.Random(f"{seed} soak")
    steps = [Step(0.0, Deed.START, node) for node in range(nodes)]
    hit: dict[int, list[Span]] = {node: [(0.0, 0.0)] for node in range(nodes)}
    healed_at = 0.0
    for at in _moments(rng, 1 / every_seconds, seconds):
        deed = rng.choice((Deed.KILL, Deed.LEAVE, Deed.PAUSE, *((Deed.PART,) if parts else ())))
        until = min(seconds, at + rng.uniform(1.0, LONGEST_REST_SECONDS if deed is Deed.PAUSE else every_seconds + 1))
        victim = rng.choice(range(1, nodes))
        if deed is Deed.PART and at > healed_at:
            steps += [Step(at, deed, groups=_groups(rng, range(nodes), 2)), Step(until, Deed.HEAL)]
            healed_at = until
        elif deed is not Deed.PART and at > hit[victim][-1][1] + every_seconds:
            back = Deed.RESUME if deed is Deed.PAUSE else Deed.START
            steps += [Step(at, deed, victim), Step(until, back, victim)]
            hit[victim].append((at, until))
    for at in _moments(rng, findings_per_second, seconds) if findings_per_second else ():
        there = [node for node, spans in hit.items() if not any(since <= at <= until for since, until in spans)]
        steps.append(Step(at, Deed.PUBLISH, rng.choice(there)))
    return Plan(seconds, nodes, 1, 0.0, 0.0, tuple(sorted(steps)))


def _moments(rng: random.Random, rate: float, seconds: float) -> list[float]:
    """Of a Poisson process."""
    moments, at = list[float](), rng.expovariate(rate)
    while at < seconds:
        moments.append(at)
        at += rng.expovariate(rate)
    return moments


def _groups(rng: random.Random, nodes: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    shuffled = rng.sample(nodes, len(nodes))
    return tuple(tuple(sorted(shuffled[n::count])) for n in range(count))


def _complete(plan: Plan) -> Callable[[Step], Step]:
    """Who comes late, and the flooder, are in the first group."""

    def complete(step: Step) -> Step:
        if step.deed is not Deed.PART:
            return step
        placed = {node for group in step.groups for node in group}
        rest = tuple(node for node in range(plan.places) if node not in placed)
        return replace(step, groups=(step.groups[0] + rest, *step.groups[1:]))

    return complete


def _afflict(draft: _Draft, fault: object) -> None:
    plan, rng, size = draft.plan, draft.rng, draft.size
    match fault:
        case Churn():
            for at in _moments(rng, fault.share_per_hour * len(draft.others()) / HOUR / draft.shrinking, size.seconds):
                back = at + rng.expovariate(1 / (fault.away_seconds * draft.shrinking))
                draft.away.setdefault(rng.choice(draft.others()), []).append((at, back))
        case Restarts():
            for number in range(fault.times):
                at = draft.at(fault.at_minutes) + number * fault.every_seconds * draft.shrinking
                for node in draft.pick(fault.share):
                    draft.away.setdefault(node, []).append((at, at))
        case BootstrapDead():
            plan.gone = frozenset(range(plan.bootstraps))
            for node in plan.gone:
                draft.away.setdefault(node, []).append((draft.at(fault.at_minutes), math.inf))
        case Partition():
            groups = _groups(rng, range(size.nodes), fault.groups)
            draft.steps.append(Step(draft.at(fault.at_minutes), Deed.PART, groups=groups))
            draft.steps.append(Step(draft.at(fault.at_minutes + fault.minutes), Deed.HEAL))
        case Late():
            after = math.ceil(fault.after_findings * len(draft.found_at) / _findings_of(draft.scenario))
            at = draft.found_at[min(after, len(draft.found_at) - 1)] if draft.found_at else 0.0
            for _ in range(draft.scaled(fault.nodes)):
                draft.begins[plan.nodes] = at
                plan.nodes += 1
        case Links():
            for node in draft.pick(fault.share):
                # of packets, and TCP needs answers: between two of these hosts it is about the loss that is asked for
                plan.worse[str(node)] = (fault.latency_ms / 1000, fault.loss / 2, 1000 * fault.kilobytes_per_second)
        case Clocks():
            plan.ahead_seconds |= {n: 60 * rng.uniform(-fault.minutes, fault.minutes) for n in draft.pick(fault.share)}
        case DiskFull():
            plan.small_disks = tuple(sorted(draft.pick(1.0)[: draft.scaled(fault.nodes)]))
            for node in plan.small_disks:
                draft.steps.append(Step(draft.at(fault.at_minutes), Deed.FILL, node))
                draft.steps.append(Step(draft.at(fault.at_minutes + fault.minutes), Deed.EMPTY, node))
        case Flood():
            plan.floods = True  # as fast as there: a flood is judged by the second, also by those it is poured on
            until = draft.at(fault.at_minutes) + min(60 * fault.minutes, size.seconds / 2)
            for second in range(math.floor(draft.at(fault.at_minutes)), math.ceil(until)):
                draft.steps.append(Step(float(second), Deed.FLOOD, count=round(fault.records_per_second)))
        case _:
            plan.left_out += (type(fault).__name__.lower(),)


def _findings_of(scenario: Scenario) -> float:
    """About so many there are in a whole run; two trials make one."""
    budget = scenario.machines[0].budget_seconds if scenario.machines else 120.0
    return max(1.0, scenario.nodes * scenario.hours * HOUR / (2 * budget))


def _comings_and_goings(draft: _Draft) -> list[Step]:
    """Whoever is away at the end comes back when all is over."""
    made: list[Step] = []
    for node, begins in draft.begins.items():
        made.append(Step(begins, Deed.START, node))
        for since, until in draft.absences(node):
            made.append(Step(since, Deed.KILL, node))
            if until < draft.size.seconds:
                made.append(Step(until, Deed.START, node))
    return made


def _publish(draft: _Draft) -> None:
    for at in draft.found_at:
        there = [node for node in sorted(draft.begins) if not draft.is_away(node, at)]
        if there:
            deed = Deed.IMPROVE if draft.rng.random() < draft.size.improvements else Deed.PUBLISH
            draft.steps.append(Step(at, deed, draft.rng.choice(there)))

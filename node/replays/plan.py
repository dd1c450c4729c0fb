"""From a finding to the job that runs it again, or to the sentence why that cannot be done here.

Pure but for the random numbers that are passed in. What is run comes from the record alone: source, config, budget, and
for a replay by steps the seed and the pace of the first run.
"""

import random
from dataclasses import dataclass
from itertools import pairwise

from node.replays.request import ReplayRefused
from node.sandbox.confinement import Confinement
from node.sandbox.policy import Author, Backend, may_run
from node.text import clean
from node.trials.trainer import Job
from swarm.brief import Brief
from swarm.ledger import Entry
from swarm.trial import Track, Trial
from swarm.words import PeerId, short

_SEEDS = 2**31 - 1


@dataclass(frozen=True)
class Bench:
    """What a replay is run on."""

    me: PeerId
    brief: Brief
    hardware_class: str
    confinement: Confinement


def plan(bench: Bench, entry: Entry, steps: int | None, rng: random.Random) -> Job:
    """Raises ReplayRefused. Is quick: called before anything is prepared."""
    _check_source(bench, entry)
    first = entry.track
    if steps is not None:
        return _by_steps(bench, entry, steps)
    if first.hardware_class != bench.hardware_class:
        raise ReplayRefused(
            f"{called(bench.me, entry)} was measured on {first.hardware_class}, this machine is "
            f"{bench.hardware_class}: their numbers would not compare; --steps K compares the loss curve alone, which "
            "works across classes"
        )
    # Not the first run's seed, and not one that can be foreseen: whoever searched for a lucky seed must not be
    # confirmed by it, and nobody can shape a finding so that its replay meets a certain seed.
    seed = rng.randrange(_SEEDS)
    return Job(source=_source(bench, entry), config=dict(entry.finding.proposal.config), seed=seed, track=first)


def _by_steps(bench: Bench, entry: Entry, steps: int) -> Job:
    first, budget_seconds = entry.finding.trials[0], entry.track.budget_seconds
    source = _source(bench, entry)
    if not all(option in source for option in ("--pace", "--max-steps")):
        raise ReplayRefused(
            f"the train.py of {called(bench.me, entry)} has no --pace, so it cannot be replayed by steps; leave "
            "--steps out"
        )
    pace = _pace(first, called(bench.me, entry))
    least, most = pace[0][0], pace[-1][0]
    if not least <= steps <= most:
        raise ReplayRefused(
            f"the curve of {called(bench.me, entry)} has points from step {least} to {most}: --steps takes at least "
            f"{least} and at most {most}"
        )
    track = Track(hardware_class=bench.hardware_class, budget_seconds=budget_seconds)
    config = dict(entry.finding.proposal.config)
    return Job(source=source, config=config, seed=first.seed, track=track, max_steps=steps, pace=pace)


def _check_source(bench: Bench, entry: Entry) -> None:
    own, proposal = entry.author == bench.me, entry.finding.proposal
    author = Author.SHIPPED if proposal.source is None else Author.OWN_MODEL if own else Author.PEER
    confinement = bench.confinement
    if may_run(author, confinement.backend, unsafe=confinement.unsafe):
        return
    whose = "" if own else "a stranger's "
    assert confinement.backend is Backend.NONE
    raise ReplayRefused(
        f"{called(bench.me, entry)} brings {whose}code of its own, and no sandbox works here that could hold it; "
        "`swarm doctor` says what to do, and findings that change the config alone can be replayed now"
    )


def _source(bench: Bench, entry: Entry) -> str:
    changed = entry.finding.proposal.source
    return bench.brief.source if changed is None else changed


def _pace(first: Trial, name: str) -> tuple[tuple[int, float], ...]:
    """How far the first run's schedule was at which step. A stranger's word: what no run can have said is refused."""
    pace = tuple((point.step, point.progress) for point in first.curve if point.progress is not None and point.step)
    if not pace:
        raise ReplayRefused(f"{name} has no loss curve that tells its pace, so it cannot be replayed by steps")
    if any(after[0] < before[0] or after[1] < before[1] for before, after in pairwise(pace)):
        raise ReplayRefused(f"the loss curve of {name} runs backwards, so it cannot be replayed by steps")
    return tuple(dict(reversed(pace)).items())[::-1]  # a last word may repeat the last step: the first of equals stays


def called(me: PeerId, entry: Entry) -> str:
    """A finding in a sentence: '#12', or '#12 of brave-otter' when it is somebody else's."""
    number = f"#{entry.finding.number}"
    if entry.author == me:
        return number
    return f"{number} of {clean(entry.finding.node_name, 40) or short(entry.author)}"

"""A changed train.py before it costs a trial: what is tried, who may repair, what is counted; virtual clock."""

import pytest
from samples import make_finding
from small_lab import ALICE, BRIEF, PeerLog, Scripted, make_world

from node.events import ProposalRefused
from node.research import research
from swarm.finding import encode_finding
from swarm.words import Operator

BROKEN, ALSO_BROKEN, FINE = "print('broken')\n", "print('broken, too')\n", "print('fine')\n"
TOLD = "training ended crashed: NameError: no\nFile 'train.py', line 7"


def broken(source: str) -> str:
    return TOLD if "broken" in source else ""


@pytest.fixture
def world_of(tmp_path):
    worlds = []

    def make(changes, **options):
        options = {"name": "llm:code/small", "experiments": 4} | options
        proposer = Scripted(changes, 3.0, options.pop("name"))
        world = make_world(tmp_path, proposer, **options)
        world.trainer.broken = broken
        worlds.append(world)
        return world, proposer

    yield make
    for world in worlds:
        world.close()


def refused(world) -> list[tuple[str, bool]]:
    return [(event.reason, event.sent_back) for event in world.happened(ProposalRefused)]


async def test_a_broken_change_goes_back_once_and_its_repair_costs_the_only_trial(world_of, autojump_clock):
    world, proposer = world_of([BROKEN, FINE, {"width": 96}])
    await research(world.lab, world.trainer)
    sources = [job.source for job in world.trainer.jobs]
    assert BROKEN not in sources
    assert FINE in sources
    assert refused(world) == [("training ended crashed: NameError: no", True)]
    assert [request.failure for request in proposer.requests[:3]] == [None, TOLD, None]
    assert proposer.requests[1].failed.source == BROKEN
    operators = {f.proposal.source: f.proposal.operator for f in world.findings}
    assert operators[FINE] is Operator.REPAIR


async def test_a_repair_that_is_broken_too_is_dropped(world_of, autojump_clock):
    world, proposer = world_of([BROKEN, ALSO_BROKEN, {"width": 96}])
    await research(world.lab, world.trainer)
    assert [sent_back for _, sent_back in refused(world)] == [True, False]
    assert proposer.requests[2].failure is None
    assert all(finding.proposal.source is None for finding in world.findings)
    assert len(world.findings) == 4, "a stand-in had each of the trials"


async def test_a_change_that_is_broken_with_two_configs_is_not_even_tried_again(world_of, autojump_clock):
    world, _ = world_of([BROKEN], experiments=6)
    await research(world.lab, world.trainer)
    tried = [job for job in world.trainer.smoked if job.source == BROKEN]
    assert 1 <= len(tried) <= 2
    assert len({str(job.config) for job in tried}) == len(tried)
    assert [sent_back for _, sent_back in refused(world)].count(True) == 1
    assert len(world.findings) == 6


async def test_what_cannot_repair_is_dropped_at_once(world_of, autojump_clock):
    world, proposer = world_of([BROKEN, {"width": 96}], name="classic/crossover")
    await research(world.lab, world.trainer)
    assert [sent_back for _, sent_back in refused(world)] == [False]
    assert all(request.failure is None for request in proposer.requests)


async def test_an_answer_of_somebody_else_is_no_repair(world_of, autojump_clock):
    world, proposer = world_of([BROKEN, {"width": 96}, {"width": 112}])
    world.trainer.on_begin = lambda _: setattr(proposer, "name", "classic/local")
    await research(world.lab, world.trainer)
    assert Operator.REPAIR not in {finding.proposal.operator for finding in world.findings}
    assert [request.failure is None for request in proposer.requests[:3]].count(False) <= 1


async def test_configs_and_sources_that_have_run_here_are_not_tried(world_of, autojump_clock):
    world, _ = world_of([FINE, {"width": 96}, {"width": 112}, {"width": 144}], experiments=5)
    await research(world.lab, world.trainer)
    assert [job.source for job in world.trainer.smoked] == [FINE]


async def test_peers_news_that_a_dropped_change_was_told_of_are_not_lost(world_of, autojump_clock):
    world, proposer = world_of([BROKEN], experiments=5)
    record = PeerLog(ALICE).sign(encode_finding(make_finding(BRIEF, 1, 2.15, learning_rate=2e-3)))
    world.trainer.on_begin = lambda number: world.notebook.receive(record) if number == 2 else None
    await research(world.lab, world.trainer)
    assert [record.id] in [[e.id for e in request.inspirations] for request in proposer.requests]
    assert any(record.id in f.proposal.inspirations for f in world.findings), "the stand-in of the dropped one had them"

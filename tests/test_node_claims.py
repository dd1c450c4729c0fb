"""A node's claims: told before it trains, let go afterwards; those of others left alone; and none of it waited for."""

import random

import pytest
import trio
from networked_home import homes_on, running
from samples import TRACK
from small_lab import (
    ALICE,
    BRIEF,
    BRIEF_ID,
    ME,
    ClassicNow,
    PeerLog,
    Scripted,
    SurfaceTrainer,
    make_world,
    notebook_at,
    until,
)

from gossip.claims import seal_claim
from gossip.identity import Identity
from gossip.memory_bus import MemoryNetwork
from gossip.puller import SMALL_SWARM
from node.claims import ANSWER_SECONDS, GRACE_SECONDS, TRIALS_AHEAD, Claims
from node.proposers.port import Request, build_proposal, is_new
from node.research import experiment, research
from node.tried import SOURCES_AT_ONCE, Tried
from swarm.claim import Lease, lease_key
from swarm.finding import Proposal
from swarm.program import canonical_key
from swarm.words import Operator

CODE = "print('another train')\n"


@pytest.fixture
def world_of(tmp_path):
    worlds = []

    def make(*arguments, **options):
        worlds.append(make_world(tmp_path / str(len(worlds)), *arguments, **options))
        return worlds[-1]

    for number in range(4):
        (tmp_path / str(number)).mkdir()
    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def notebook(tmp_path):
    made = notebook_at(tmp_path / "journal.sqlite")
    yield made
    made.journal.journal.close()


def told_by(claims: Claims) -> list[tuple[str, int, int, bool]]:
    told: list[tuple[str, int, int, bool]] = []
    claims.when_claimed(lambda *claim: told.append(claim))
    return told


def proposal(parent: str | None = "f" * 64, **config: object) -> Proposal:
    return Proposal(
        operator=Operator.TUNE,
        proposer="classic",
        config=BRIEF.space.normalise({**BRIEF.base_config, **config}),  # type: ignore[dict-item]
        source_sha256=BRIEF.source_sha256,
        parent=parent,
        title="a change",
    )


def key_of(config) -> str:
    return lease_key(canonical_key(BRIEF, config, None), TRACK)


def hear(
    claims: Claims, author: Identity, key: str, *, slot: int = 0, seconds: int = 1000, begun: bool = False
) -> None:
    claims.hear(author.peer_id, key, slot, seconds, begun)


def winning(key: str, begun: bool = False) -> Identity:
    """Somebody whose claim wins against ours."""
    ours = Lease(ME.peer_id, key, begun, 0.0, 0.0).rank
    identities = (Identity(bytes([n]) * 32) for n in range(10, 200))
    return next(who for who in identities if Lease(who.peer_id, key, begun, 0.0, 0.0).rank < ours)


# --- ours ---


async def test_each_experiment_but_the_baseline_is_claimed_once_before_it_trains(world_of, autojump_clock):
    world = world_of(experiments=6, trainer=SurfaceTrainer(score=lambda _: 2.2))  # the branch never moves
    told = told_by(world.lab.hypotheses.claims)
    before: list[int] = []
    world.trainer.on_begin = lambda number: before.append(len(told))
    await research(world.lab, world.trainer)
    run = [key_of(finding.proposal.config) for finding in world.findings[1:]]
    assert [key for key, *_ in told][: len(run)] == run
    assert before == [0, 1, 2, 3, 4, 5]
    assert all(seconds == TRIALS_AHEAD * TRACK.budget_seconds + GRACE_SECONDS for _, _, seconds, _ in told)
    # What comes next is claimed while this one trains; the first after the baseline begins at once.
    assert [begun for *_, begun in told][: len(run)] == [True, False, False, False, False]
    assert {slot for _, slot, *_ in told} == {0, 1}


async def test_an_experiment_that_lasts_is_claimed_again(world_of, autojump_clock):
    world = world_of()
    told = told_by(world.lab.hypotheses.claims)
    trainer = SurfaceTrainer(seconds=200.0)
    await experiment(world.lab, trainer, await world.lab.hypotheses.take())
    chosen = await world.lab.hypotheses.take()
    for _ in range(3):
        world.lab.hypotheses.claims.begin(chosen)
        await trio.sleep(200)
    assert [(slot, begun) for _, slot, _, begun in told] == [(0, True)] * 3
    assert len({key for key, *_ in told}) == 1


async def test_at_the_end_what_is_claimed_is_given_up(notebook, autojump_clock):
    claims = Claims(notebook, TRACK)
    told = told_by(claims)
    claims.begin(proposal(width=96))
    claims.claim(proposal(width=112))
    assert [round(left) for _, left in claims.own()] == [80, 80]
    claims.leave(proposal(width=96))
    claims.give_up()
    assert [(key, slot, seconds) for key, slot, seconds, _ in told[2:]] == [
        (key_of(proposal(width=96).config), 0, 0),
        (key_of(proposal(width=112).config), 1, 0),
    ]
    assert claims.own() == []


async def test_what_was_to_be_next_and_is_not_gives_its_slot_to_what_is(notebook, autojump_clock):
    claims = Claims(notebook, TRACK)
    told = told_by(claims)
    claims.claim(proposal(width=96))
    claims.begin(proposal(width=112))
    assert [(key, slot) for key, slot, *_ in told] == [
        (key_of(proposal(width=96).config), 0),
        (key_of(proposal(width=112).config), 0),
    ]


async def test_a_large_swarm_is_told_only_what_others_may_think_of_too(notebook, autojump_clock):
    for number in range(SMALL_SWARM + 1):
        notebook.receive(PeerLog(Identity(bytes([50 + number]) * 32)).finding(1.9, learning_rate=3e-3))
    claims = Claims(notebook, TRACK)
    told = told_by(claims)
    claims.claim(proposal(learning_rate=2.71e-3))
    assert told == [], "a number drawn from a range"
    for likely in (proposal(norm="rmsnorm"), proposal(learning_rate=3e-3, rope=True)):
        claims.claim(likely)
    assert len(told) == 2


# --- others' ---


async def test_what_others_claim_is_not_proposed(world_of, autojump_clock):
    world = world_of(Scripted([{"norm": "rmsnorm"}, {"width": 96}]))
    world.notebook.receive(PeerLog().finding(2.5))
    lab = world.lab
    await experiment(lab, world.trainer, await lab.hypotheses.take())
    best = world.notebook.own()[0].finding.proposal.config
    hear(lab.hypotheses.claims, ALICE, key_of({**best, "width": 100}))
    seen: list[Request] = []

    class Asked(ClassicNow):
        async def propose(self, request):
            seen.append(request)
            return await super().propose(request)

    lab.hypotheses._stand_in = Asked()
    await lab.hypotheses.take()
    (request,) = seen
    assert not is_new(request, {**request.parent_config, "width": 100})
    assert is_new(request, {**request.parent_config, "width": 101})


async def test_who_loses_a_race_takes_something_else(world_of, autojump_clock):
    world = world_of(Scripted([{"norm": "rmsnorm"}, {"width": 96}], seconds=1))
    lab, claims = world.lab, world.lab.hypotheses.claims
    await experiment(lab, world.trainer, await lab.hypotheses.take())
    await lab.hypotheses.prepare()
    (ours, _), *_ = claims.own()
    winner = winning(ours)
    world.notebook.receive(PeerLog(winner).finding(2.5))
    hear(claims, winner, ours)
    chosen = await lab.hypotheses.take()
    assert key_of(chosen.config) != ours
    assert chosen.proposer.startswith("classic"), "the stand-in's"


@pytest.mark.parametrize("theirs_begun", [False, True])
async def test_who_wins_goes_on_unless_the_other_has_begun(world_of, autojump_clock, theirs_begun):
    world = world_of(Scripted([{"norm": "rmsnorm"}], seconds=1))
    lab, claims = world.lab, world.lab.hypotheses.claims
    await experiment(lab, world.trainer, await lab.hypotheses.take())
    await lab.hypotheses.prepare()
    (ours, _), *_ = claims.own()
    loser = next(
        who for n in range(10, 99)
        if Lease((who := Identity(bytes([n]) * 32)).peer_id, ours, False, 0, 0).rank
        > Lease(ME.peer_id, ours, False, 0, 0).rank
    )  # fmt: skip
    world.notebook.receive(PeerLog(loser).finding(2.5))
    hear(claims, loser, ours, begun=theirs_begun)
    chosen = await lab.hypotheses.take()
    assert (key_of(chosen.config) == ours) is not theirs_begun


async def test_what_has_begun_is_not_given_up_and_who_comes_late_is_told(notebook, autojump_clock):
    claims = Claims(notebook, TRACK)
    ours = proposal(width=96)
    winner = winning(key_of(ours.config))
    notebook.receive(PeerLog(winner).finding(2.5))
    claims.begin(ours)
    told = told_by(claims)
    for _ in range(3):
        hear(claims, winner, key_of(ours.config))
    assert [(key, begun) for key, *_, begun in told] == [(key_of(ours.config), True)], "once, not each time"
    assert not claims.is_lost(ours)
    await trio.sleep(ANSWER_SECONDS)
    hear(claims, winner, key_of(ours.config), begun=True)
    assert len(told) == 1, "both have begun: nobody stops, and there is nothing left to say"


async def test_our_own_claims_and_those_of_strangers_bind_nobody(notebook, autojump_clock):
    claims = Claims(notebook, TRACK)
    hear(claims, ME, "ab" * 32)
    hear(claims, ALICE, "cd" * 32)
    assert claims.held() == frozenset(), "Alice has no record here"
    notebook.receive(PeerLog(ALICE).finding(2.5))
    hear(claims, ALICE, "cd" * 32, seconds=10**9)
    assert claims.held() == {"cd" * 32}
    await trio.sleep(16 * TRACK.budget_seconds + GRACE_SECONDS)
    assert claims.held() == frozenset(), "however long it was to be"


async def test_everything_claimed_stops_nobody(world_of, autojump_clock):
    """A peer that claims whatever we think of."""
    world = world_of(experiments=6)
    claims = world.lab.hypotheses.claims
    world.notebook.receive(PeerLog(ALICE).finding(2.5))
    claims.held = lambda: Everything()  # type: ignore[method-assign]
    await research(world.lab, world.trainer)
    assert len(world.findings) == 6
    assert world.trainer.longest_wait == 0


class Everything(frozenset):
    def __contains__(self, key: object) -> bool:
        return True


# --- over the network ---


async def test_two_nodes_hear_each_others_claims(tmp_path, autojump_clock):
    net = MemoryNetwork(random.Random(3))
    with homes_on(net, tmp_path) as make:
        one, two = make(ME, claims=True), make(ALICE, bootstrap=[net.address(ME.peer_id)], claims=True)
        two.find(1)
        async with trio.open_nursery() as nursery:
            await running(nursery, one, two)
            await until(lambda: len(one.notebook.ledger) == 1 and two.network.peers)
            two.claims.begin(proposal(width=96))
            await until(lambda: one.claims.held())
            assert one.claims.held() == {key_of(proposal(width=96).config)}
            key = key_of(proposal(width=96).config)
            seconds = TRIALS_AHEAD * TRACK.budget_seconds + GRACE_SECONDS
            (ours,) = two.network.facts()["claims"]["own"]
            assert ours == {"key": key, "seconds_left": pytest.approx(seconds, abs=2)}
            assert one.network.facts()["claims"] == {"own": [], "others": {ALICE.peer_id: 1}}
            forged = seal_claim(ALICE, "cd" * 32, "ef" * 32, slot=1, at_ms=0, seconds=9)
            net.running(ME.peer_id).hear(ALICE.peer_id, forged.frame, b"", claim=True)
            two.claims.give_up()
            await until(lambda: not one.claims.held())
            nursery.cancel_scope.cancel()
        assert one.network.facts()["counters"]["claims.accepted"] == 2
        assert len(one.notebook.journal.heads()) == 1, "claims are in no log"
        assert one.notebook.journal.brief == BRIEF_ID


# --- what was tried ---


def with_code(log: PeerLog, source: str) -> None:
    from samples import make_finding

    import swarm.finding as findings

    made = make_finding(BRIEF, len(log.records) + 1, 2.0)
    changed = made.proposal.model_copy(update={"source": source, "source_sha256": findings.source_sha256(source)})
    log.sign(findings.encode_finding(made.model_copy(update={"proposal": changed})))


def test_a_program_written_anew_was_tried(notebook):
    log = PeerLog()
    with_code(log, CODE)
    notebook.receive(log.records[0])
    tried = Tried(BRIEF, notebook.ledger, TRACK).keys()
    config = BRIEF.base_config
    assert canonical_key(BRIEF, config, CODE + "# by another hand") in tried
    assert canonical_key(BRIEF, config, CODE + "print()") not in tried


def test_of_many_sources_a_few_are_read_at_once_the_newest_first(notebook):
    log = PeerLog()
    codes = [f"print({n})\n" for n in range(2 * SOURCES_AT_ONCE)]
    for record, code in enumerate(codes):
        with_code(log, code)
        notebook.receive(log.records[record])
    tried, entries = Tried(BRIEF, notebook.ledger, TRACK), notebook.ledger.entries(track=TRACK)
    keys = [canonical_key(BRIEF, BRIEF.base_config, code) for code in codes]
    known = [frozenset(tried.keys()) for _ in range(2)]
    assert [key in known[0] for key in keys] == [False] * SOURCES_AT_ONCE + [True] * SOURCES_AT_ONCE
    assert set(keys) <= known[1]
    assert {entry.finding.proposal.key for entry in entries} <= known[0], "texts as they are, always"


async def test_a_comment_makes_no_new_proposal(world_of, autojump_clock):
    unmoved = SurfaceTrainer(score=lambda _: 2.2)
    world = world_of(Scripted([CODE, CODE + "# again\n", {"width": 96}]), experiments=5, trainer=unmoved)
    await research(world.lab, world.trainer)
    assert len([f for f in world.findings if f.proposal.source]) == 1
    last = world.lab.hypotheses._proposer.requests[-1]
    assert not is_new(last, last.parent_config, CODE + "\n\n")
    assert is_new(last, last.parent_config, CODE + "print()\n")
    made = build_proposal(last, proposer="x", operator=Operator.TUNE, config=last.parent_config, source=CODE)
    assert made.source == CODE

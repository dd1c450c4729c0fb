"""The loop under a virtual clock: order of steps, nothing waits, nothing repeats, nothing half-done is recorded."""

import random
import struct

import pytest
import trio
from proposer_requests import TRAIN
from samples import TRACK, make_brief, make_finding, make_trial
from small_lab import ALICE, BRIEF, TRIAL_SECONDS, PeerLog, Scripted, SurfaceTrainer, World, make_world, surface

from node.events import Evaluating, FindingReceived, FindingRecorded, ProposalRefused, TrialStarted
from node.hypothesis import PATIENCE_SECONDS, trial_seed
from node.proposers.port import Request
from node.rebasing import CannotRebase, rebase
from node.research import MAX_FAILED_BASELINES, SHARED_POINTS, BaselineFailed, for_everybody, research
from swarm.brief import Acceptance, Brief
from swarm.finding import encode_finding
from swarm.trial import CurvePoint
from swarm.words import Decision, Operator, Outcome

CODE = "print('another train')\n"
OTHER_CODE = "print('yet another')\n"
NEW_IDEAS = [{"learning_rate": 1e-3 * (1 + n / 1000)} for n in range(1, 40)]  # none of which classic has too


@pytest.fixture
def world_of(tmp_path):
    worlds = []

    def make(*arguments, **options):
        worlds.append(make_world(tmp_path, *arguments, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


async def test_the_steps_come_in_order_and_the_baseline_first(world_of, autojump_clock):
    world = world_of(Scripted([{"width": 96}, {"width": 112}, {"width": 128}]))
    assert await research(world.lab, world.trainer) == "enough"
    kinds = (TrialStarted, Evaluating, FindingRecorded)
    steps = [(type(event), event.number) for event in world.events if isinstance(event, kinds)]
    assert steps == [(kind, number) for number in (1, 2, 3, 4) for kind in kinds]
    first, *later = world.findings
    assert (first.proposal.operator, first.proposal.proposer) == (Operator.DRAFT, "baseline")
    assert first.proposal.config == BRIEF.base_config
    assert first.proposal.parent is None
    assert all(finding.proposal.parent for finding in later)
    assert [finding.number for finding in world.findings] == [1, 2, 3, 4]
    assert [job.seed for job in world.trainer.jobs] == [trial_seed(world.notebook.me, n) for n in (1, 2, 3, 4)]


async def test_what_is_recorded_is_what_was_trained(world_of, autojump_clock):
    world = world_of(experiments=8)
    await research(world.lab, world.trainer)
    for finding, job, event in zip(world.findings, world.trainer.jobs, world.happened(FindingRecorded), strict=True):
        assert finding.proposal.config == job.config
        assert finding.trials[0].seed == job.seed
        assert finding.val_bpb == event.val_bpb == surface(job.config)
    bests = [event.best_val_bpb for event in world.happened(FindingRecorded)]
    kept = [f.val_bpb for f in world.findings if f.verdict.decision is Decision.KEEP]
    assert bests[-1] == min(kept)
    assert bests == sorted(bests, reverse=True)


async def test_the_next_proposal_is_made_while_the_trial_trains(world_of, autojump_clock):
    proposer = Scripted(NEW_IDEAS)
    world = world_of(proposer, experiments=5)
    await research(world.lab, world.trainer)
    assert world.trainer.longest_wait == 0
    assert proposer.asked == world.trainer.begins[1:]  # nothing to build on before the baseline has a number
    made = [finding.proposal.proposer for finding in world.findings]
    assert made[1].startswith("classic/"), "the first one is not there yet: a stand-in"
    assert [made[0], *made[2:]] == ["baseline", "scripted", "scripted", "scripted"]


@pytest.mark.parametrize("seconds", [TRIAL_SECONDS + 1, 2.5 * TRIAL_SECONDS, 10_000.0])
async def test_a_slow_proposer_is_waited_for_a_little_and_its_late_answer_is_used(world_of, autojump_clock, seconds):
    proposer = Scripted(NEW_IDEAS, seconds)
    world = world_of(proposer, experiments=8)
    await research(world.lab, world.trainer)
    assert world.trainer.longest_wait <= PATIENCE_SECONDS
    scripted = [finding.number for finding in world.findings if finding.proposal.proposer == "scripted"]
    in_time = [answered for answered in proposer.answered if answered <= world.trainer.begins[-1]]
    assert len(scripted) == len(in_time)
    for number, answered in zip(scripted, proposer.answered, strict=False):
        begin = world.trainer.begins[number - 1]
        assert 0 <= begin - answered <= TRIAL_SECONDS + PATIENCE_SECONDS, "kept for the very next trial"


class Repeating(Scripted):
    """Has one idea, again and again."""

    def __init__(self) -> None:
        super().__init__([{"width": 96}])


@pytest.mark.parametrize("proposer", [lambda: None, lambda: Scripted(NEW_IDEAS), Repeating])
@pytest.mark.parametrize("seed", range(3))
async def test_a_peers_finding_inspires_within_two_further_experiments(world_of, autojump_clock, proposer, seed):
    world, peer, rng = world_of(proposer(), experiments=12), PeerLog(), random.Random(seed)
    heard_during: dict[str, int] = {}

    async def hear(number: int, after_seconds: float) -> None:
        await trio.sleep(after_seconds)
        record = peer.finding(2.1, width=100 + number, rope=True)
        assert world.notebook.receive(record) is None
        heard_during[record.id] = number

    async with trio.open_nursery() as nursery:
        world.trainer.on_begin = lambda n: nursery.start_soon(hear, n, rng.uniform(0, TRIAL_SECONDS))
        await research(world.lab, world.trainer)
    told: dict[str, int] = {}
    for finding in world.findings:
        for id in finding.proposal.inspirations:
            told.setdefault(id, finding.number)
    late = {id: n for id, n in heard_during.items() if n <= 10 and told.get(id, 99) > n + 2}
    assert not late, f"told {told}, heard {heard_during}"
    assert len(world.happened(FindingReceived)) == 12


async def test_a_proposal_is_carried_over_when_the_branch_has_moved(world_of, autojump_clock):
    # While trial 2 (a keep) trains, a change to the baseline is proposed for trial 3.
    stand_in = Scripted([{"norm": "rmsnorm"}, {"width": 33}], seconds=0)
    world = world_of(Scripted([{"width": 128}]), stand_in=stand_in, experiments=3)
    await research(world.lab, world.trainer)
    second, third = world.notebook.own()[1:]
    assert second.finding.verdict.decision is Decision.KEEP
    assert third.finding.proposal.proposer == "scripted"
    assert third.finding.proposal.parent == second.id
    assert third.finding.proposal.config == {**BRIEF.base_config, "norm": "rmsnorm", "width": 128}
    assert third.finding.proposal.title == "width 64 → 128"
    assert third.finding.verdict.effect == pytest.approx(0.1)


async def test_a_code_proposal_is_carried_over_when_only_the_config_has_moved(world_of, autojump_clock):
    stand_in = Scripted([{"norm": "rmsnorm"}, {"width": 33}], seconds=0)
    world = world_of(Scripted([CODE]), stand_in=stand_in, experiments=3)
    await research(world.lab, world.trainer)
    second, third = (finding.proposal for finding in world.findings[1:])
    assert world.findings[1].verdict.decision is Decision.KEEP
    assert third.source == CODE
    assert third.config == second.config
    assert third.parent == world.notebook.own()[1].id


WIDER, LATER = TRAIN.replace("WIDTH = 64", "WIDTH = 96"), TRAIN.replace("    main()", "    main()  # at last")
SOONER = TRAIN.replace("WIDTH = 64", "WIDTH = 32")
NO_SCRIPT = TRAIN.replace("    main()\n", "    main()\n    raise SystemExit(\n")  # a merge does not read what it joins


async def moved(world_of, theirs: str, standing: str) -> World:
    """While trial 2 (another train.py, which is kept) trains, `theirs` is made from the baseline for trial 3.

    On the real clock: git is a process.
    """
    brief, scores = make_brief(TRAIN), iter([2.0, 1.5, 1.4])
    trainer = SurfaceTrainer(score=lambda _: next(scores), seconds=0.3)
    stand_in = Scripted([standing, {"width": 33}], seconds=0)
    world = world_of(Scripted([theirs], seconds=0.05), stand_in=stand_in, experiments=3, trainer=trainer, brief=brief)
    record = PeerLog(brief=world.notebook.journal.brief).sign(encode_finding(make_finding(brief, 1, 2.0, width=200)))
    # The baseline's trial: stand-in 2 is not told, because the finding comes when trial 2 has begun.
    trainer.on_begin = lambda number: world.notebook.receive(record) if number == 2 else None
    await research(world.lab, trainer)
    assert world.findings[1].verdict.decision is Decision.KEEP
    return world


async def test_a_code_proposal_is_carried_over_when_train_py_has_moved_elsewhere(world_of):
    world = await moved(world_of, WIDER, LATER)
    third = world.findings[2].proposal
    assert third.source == LATER.replace("WIDTH = 64", "WIDTH = 96")
    assert third.parent == world.notebook.own()[1].id
    assert (third.proposer, third.config) == ("scripted", BRIEF.base_config)
    assert world.trainer.smoked[-1].source == third.source, "a text that nobody has run"
    assert world.happened(ProposalRefused) == []


@pytest.mark.parametrize(
    ("theirs", "why"),
    [(SOONER, "both changed the same lines, in 1 place"), (NO_SCRIPT, "is not valid Python")],
)
async def test_a_code_proposal_that_does_not_fit_is_dropped_and_said_and_its_inspirations_are_not(
    world_of, theirs: str, why: str
):
    world = await moved(world_of, theirs, WIDER)
    third = world.findings[2].proposal
    assert (third.proposer, third.source) == ("scripted", WIDER)
    assert third.config["width"] == 33, "the stand-in's, not the code proposal"
    assert len(third.inspirations) == 1, "the peer's finding was put back, and the stand-in is told"
    (refused,) = world.happened(ProposalRefused)
    assert (refused.stage, refused.proposer, refused.sent_back) == ("moved", "scripted", False)
    assert why in refused.reason


async def test_a_code_proposal_is_trained_when_the_branch_has_not_moved(world_of, autojump_clock):
    stand_in = Scripted([{"width": 33}], seconds=0)
    world = world_of(Scripted([CODE]), stand_in=stand_in, experiments=3)
    await research(world.lab, world.trainer)
    assert [job.source for job in world.trainer.jobs] == [BRIEF.source, BRIEF.source, CODE]
    assert world.findings[2].proposal.source == CODE


async def test_a_carried_over_change_outside_the_space_is_dropped(world_of, autojump_clock):
    world = world_of(Scripted([{"width": 128}]), experiments=2)
    await research(world.lab, world.trainer)
    first, best = world.notebook.own()
    proposal = first.finding.proposal.model_copy(
        update={"parent": first.id, "config": {**BRIEF.base_config, "width": 100_000}}
    )
    with pytest.raises(CannotRebase, match="does not fit there: config value out of range: width"):
        await rebase(proposal, world.notebook, best)
    with pytest.raises(CannotRebase, match="not known here"):
        await rebase(proposal.model_copy(update={"parent": "f" * 64}), world.notebook, best)


async def test_it_stops_for_the_reason_it_is_given(world_of, autojump_clock):
    started = trio.current_time()
    world = world_of(reason_to_stop=lambda done: "time is up" if trio.current_time() >= started + 35 else None)
    assert await research(world.lab, world.trainer) == "time is up"
    assert len(world.findings) == 4  # the one under way at the time is finished
    assert world.lab.experiments == 4


async def test_three_failing_baselines_end_it_with_one_sentence(world_of, autojump_clock):
    world = world_of(experiments=10, trainer=SurfaceTrainer(score=lambda _: None))
    with pytest.raises(BaseExceptionGroup) as group:
        await research(world.lab, world.trainer)
    failed = group.value.exceptions[0]
    assert isinstance(failed, BaselineFailed)
    assert str(failed) == (
        "the baseline of topic small ended crashed 3 times (RuntimeError: no such layer); "
        "give it a longer --budget or mend its train.py"
    )
    assert [finding.outcome for finding in world.findings] == [Outcome.CRASHED] * MAX_FAILED_BASELINES
    assert not world.lab.in_flight


async def test_failing_ideas_after_a_baseline_end_nothing(world_of, autojump_clock):
    trainer = SurfaceTrainer(score=lambda config: 2.2 if config == BRIEF.base_config else None)
    world = world_of(experiments=7, trainer=trainer)
    assert await research(world.lab, world.trainer) == "enough"
    assert [finding.outcome for finding in world.findings[1:]] == [Outcome.CRASHED] * 6
    assert all(finding.verdict.decision is Decision.DISCARD for finding in world.findings[1:])
    assert len({finding.proposal.key for finding in world.findings}) == 7, "no idea is tried twice"


async def test_run_numbers_never_repeat_over_starts_and_workers(tmp_path, autojump_clock):
    numbers: list[int] = []
    for seconds in (25, 7, 31, 40):
        world = make_world(tmp_path, experiments=99)
        other = SurfaceTrainer(seconds=7)
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(research, world.lab, world.trainer)
                nursery.start_soon(research, world.lab, other)
        numbers = [finding.number for finding in world.findings]
        assert not world.lab.in_flight
        world.close()
    assert len(numbers) > 12
    assert len(set(numbers)) == len(numbers)


async def test_a_cancelled_trial_is_not_recorded_and_loses_no_inspiration(world_of, autojump_clock):
    world = world_of(Scripted([{"width": 128}], seconds=9), experiments=9)
    record = PeerLog(ALICE).finding(2.1)
    world.trainer.on_begin = lambda number: world.notebook.receive(record) if number == 2 else None
    with trio.move_on_after(1.5 * TRIAL_SECONDS):
        await research(world.lab, world.trainer)
    assert [finding.number for finding in world.findings] == [1]
    assert [event.number for event in world.happened(FindingRecorded)] == [1]
    assert world.notebook.next_number() == 2
    assert [entry.id for entry in world.notebook.drain()] == [record.id], "put back by the cancelled proposer"


async def test_a_proposer_is_told_what_it_may_know_and_nothing_of_other_tracks_as_its_own(world_of, autojump_clock):
    proposer = Scripted([{"width": 96}, {"width": 112}])
    world = world_of(proposer, experiments=3)
    record = PeerLog().finding(2.1, width=200)
    world.notebook.receive(record)
    await research(world.lab, world.trainer)
    request: Request = proposer.requests[-1]
    assert request.track == TRACK
    assert {entry.id for entry in request.history} == {record.id, *(e.id for e in world.notebook.own()[:2])}
    assert request.number == 3
    assert {entry.finding.proposal.key for entry in world.notebook.own()} <= request.tried


# --- several trials to one verdict ------------------------------------------------------------------------------------


SEVERAL = make_brief().model_copy(update={"acceptance": Acceptance(noise_sd=0.01, noise_dof=100.0, noise_trials=1)})


@pytest.fixture
def comparing(tmp_path):
    """A lab whose trials give listed scores, and are repeated until there is a verdict."""
    made: list[World] = []

    def make(scores: list[float | None], brief: Brief = SEVERAL, **more: object) -> World:
        left = iter([*scores, *[None] * 9])  # what begins after the last experiment, and is given up
        trainer = SurfaceTrainer(score=lambda _: next(left))
        made.append(make_world(tmp_path, Scripted(NEW_IDEAS, 0), trainer=trainer, brief=brief, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for world in made:
        world.close()


async def test_a_promising_change_and_its_parent_are_run_again_with_other_seeds(comparing, autojump_clock):
    world = comparing([2.0, 1.975, 1.975, 2.01], experiments=2)
    await research(world.lab, world.trainer)
    finding = world.findings[1]
    assert [trial.val_bpb for trial in finding.trials] == [1.975, 1.975]
    assert [trial.val_bpb for trial in finding.parent_trials] == [2.01]
    assert finding.verdict.parent_scores == (2.0, 2.01)
    assert finding.verdict.decision is Decision.KEEP
    assert len({job.seed for job in world.trainer.jobs}) == 4
    started = [(event.number, event.side, event.turn) for event in world.happened(TrialStarted)]
    assert started == [(1, "candidate", 1), (2, "candidate", 1), (2, "candidate", 2), (2, "parent", 3)]
    rates = [job.config["learning_rate"] for job in world.trainer.jobs]
    assert rates == [1e-3, rates[1], rates[1], 1e-3]
    best = world.notebook.ledger.branch_best(world.notebook.me, TRACK)
    assert best is not None
    assert best.finding == finding
    assert world.notebook.ledger.follows(best)


async def test_later_comparisons_know_the_parents_trials_of_earlier_ones(comparing, autojump_clock):
    world = comparing([2.0, 1.99, 1.99, 2.0, 2.05, 2.05], experiments=3)
    await research(world.lab, world.trainer)
    assert world.findings[1].parent_trials
    assert world.findings[2].verdict.parent_scores == (2.0, 2.0)
    assert world.notebook.ledger.score(world.notebook.own()[0]).trials == 2


async def test_the_baseline_is_repeated_to_know_the_noise(comparing, autojump_clock):
    unknown = SEVERAL.model_copy(update={"acceptance": Acceptance(noise_sd=0.5)})
    world = comparing([2.0, 2.01, 1.99, 2.1], brief=unknown, experiments=1)
    await research(world.lab, world.trainer)
    (baseline,) = world.findings
    assert [trial.val_bpb for trial in baseline.trials] == [2.0, 2.01, 1.99]
    noise = world.notebook.ledger.noise(TRACK, world.notebook.me)
    assert noise.dof == 4
    assert noise.sd < 0.5


async def test_a_peers_repeats_tell_a_newcomer_the_noise(comparing, autojump_clock):
    unknown = SEVERAL.model_copy(update={"acceptance": Acceptance(noise_sd=0.5)})
    world = comparing([2.0], brief=unknown, experiments=1)
    log = PeerLog(brief=world.notebook.journal.brief)
    repeats = tuple(make_trial(score) for score in (2.0, 2.01, 1.99))
    known = make_finding(unknown, 1).model_copy(update={"trials": repeats})
    assert world.notebook.receive(log.sign(encode_finding(known))) is None
    await research(world.lab, world.trainer)
    assert len(world.findings[0].trials) == 1
    assert world.notebook.ledger.noise(TRACK, world.notebook.me).sd == pytest.approx(0.01)


async def test_what_fails_with_another_seed_is_discarded(comparing, autojump_clock):
    world = comparing([2.0, 1.98, None], experiments=2)
    await research(world.lab, world.trainer)
    finding = world.findings[1]
    assert (finding.outcome, finding.verdict.decision, finding.val_bpb) == (Outcome.CRASHED, Decision.DISCARD, None)


async def test_a_node_that_is_stopped_between_trials_keeps_what_they_showed(comparing, autojump_clock):
    world = comparing([2.0, 1.98, 1.99], experiments=9)
    with trio.move_on_after(3.5 * TRIAL_SECONDS):  # the parent is being run again
        await research(world.lab, world.trainer)
    finding = world.findings[1]
    assert [trial.val_bpb for trial in finding.trials] == [1.98, 1.99]
    assert finding.verdict.decision is Decision.INCONCLUSIVE
    assert not world.lab.in_flight


def test_what_everybody_carries_has_thinned_curves():
    curve = tuple(CurvePoint(step=n, seconds=n, train_loss=1.0) for n in range(40))
    trials = tuple(make_trial(2.0).model_copy(update={"curve": curve, "seed": seed}) for seed in range(3))
    carried = for_everybody(trials)
    assert [len(trial.curve) for trial in carried] == [SHARED_POINTS, SHARED_POINTS // 2, SHARED_POINTS // 2]
    assert [trial.seed for trial in carried] == [0, 1, 2]
    assert (carried[0].curve[0], carried[0].curve[-1]) == (curve[0], curve[-1])
    assert for_everybody(()) == ()


def test_what_everybody_carries_is_as_exact_as_anybody_compares():
    numbers = (0.0, 1e-300, 0.1, 1.9378241, 119.877, 1.7976931348623157e308)
    curve = tuple(CurvePoint(step=n, seconds=x, train_loss=-x, progress=None) for n, x in enumerate(numbers))
    (carried,) = for_everybody((make_trial(2.0).model_copy(update={"curve": curve}),))
    for before, after in zip(curve, carried.curve, strict=True):
        assert (before.step, before.progress) == (after.step, after.progress)
        assert after.seconds == pytest.approx(before.seconds, rel=2.0**-12)
        assert (after.train_loss, struct.pack(">d", after.seconds)[3:]) == (-after.seconds, bytes(5))
    assert for_everybody((carried,)) == (carried,), "what is coarse stays as it is"

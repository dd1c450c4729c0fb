"""Early stop: what is hopeless by which curves, what is never stopped, and that a stopped run is no result."""

import dataclasses
import random

import pytest
from proposer_requests import BRIEF as PROPOSER_BRIEF
from proposer_requests import ME, PEER, entry
from samples import TRACK, make_trial
from small_home import furnish
from small_lab import BRIEF, Scripted, SurfaceTrainer, make_world

from node import views
from node.cli.look import saved_words
from node.early_stopping import rule_for, saved_json
from node.events import FindingRecorded
from node.research import research
from node.trials.early_stop import (
    LAST_SHARE,
    LEAST_OWN,
    LEAST_SHARE,
    LEAST_STEEPER,
    Past,
    StopRule,
    fall,
    loss_at,
    stop_rule,
)
from node.trials.trainer import TrialReport
from swarm.brief import Acceptance
from swarm.ledger import Ledger
from swarm.trial import CurvePoint
from swarm.words import Decision, Outcome

BUDGET = 20.0


def curve(end: float, power: float = 0.5, seconds: float = BUDGET, step: float = 1.0):
    """A loss that falls as a power of time, and comes to `end` at the end of the budget."""
    times = [step * n for n in range(1, round(seconds / step) + 1)]
    return tuple((t, end * (BUDGET / t) ** power) for t in times)


def past(ends=(1.7, 1.8, 1.9, 2.0, 2.1, 2.2, 2.3, 2.4), own=True):
    """Runs whose score is twice their last loss."""
    return tuple(Past(curve(end, 0.3 + end / 10), 2 * end, own) for end in ends)


def stopped_at(rule: StopRule, points) -> float | None:
    return next((points[n - 1][0] for n in range(1, len(points) + 1) if rule.hopeless(points[:n])), None)


RULE = stop_rule(past(), 3.4, BUDGET)
assert RULE is not None


def test_a_far_worse_curve_is_stopped_once_enough_of_it_is_seen():
    seconds = stopped_at(RULE, curve(4.0))
    assert seconds is not None
    assert LEAST_SHARE * BUDGET <= seconds <= LEAST_SHARE * BUDGET + 1
    said = RULE.hopeless(curve(4.0)[: round(seconds)])
    assert said.startswith(f"stopped early at {seconds:.0f} of 20 s: with train loss ")
    assert said.endswith("val_bpb at best, and the best is 3.4000")


@pytest.mark.parametrize("end", [1.0, 1.5, 1.7, 1.75])
def test_a_curve_that_may_come_near_the_best_is_not_stopped(end):
    assert stopped_at(RULE, curve(end)) is None


def test_a_slow_start_that_falls_fast_is_not_stopped():
    assert stopped_at(RULE, curve(1.7, 1.5)) is None
    assert curve(1.7, 1.5)[6][1] > curve(3.5)[6][1], "though it is behind one that is stopped"
    assert stopped_at(RULE, curve(3.5)) is not None


def test_what_falls_faster_than_nearly_all_known_runs_is_left_alone():
    flat = tuple(Past(curve(1.7 + n / 10, 0.05), 3.4 + n / 5) for n in range(LEAST_OWN + 4))
    assert stopped_at(stop_rule(flat, 3.4, BUDGET), curve(9.0, 0.1)) is None
    steep = tuple(Past(curve(3.0, 0.2 + n / 10), 6.0) for n in range(LEAST_STEEPER))
    assert stopped_at(stop_rule((*flat, *steep[1:]), 3.4, BUDGET), curve(9.0, 0.1)) is None
    assert stopped_at(stop_rule((*flat, *steep), 3.4, BUDGET), curve(9.0, 0.1)) == LEAST_SHARE * BUDGET


def test_a_run_is_compared_with_those_that_fell_most_like_it():
    flattered = tuple(Past(curve(1.7 + n / 100, 0.3), 3.4) for n in range(LEAST_OWN))
    modest = tuple(Past(curve(1.7 + n / 100, 1.5), 0.5) for n in range(LEAST_OWN))
    rule = stop_rule((*flattered, *modest), 3.0, BUDGET)
    assert stopped_at(rule, curve(2.5, 0.31)) is not None
    assert stopped_at(rule, curve(2.5, 1.4)) is None


def test_nothing_is_stopped_before_its_share_nor_when_there_is_nothing_to_save():
    flat = tuple((t, 50.0) for t, _ in curve(1.0))
    assert stopped_at(RULE, flat) == LEAST_SHARE * BUDGET
    late = LAST_SHARE * BUDGET + 1
    assert RULE.hopeless((*((t, 50.0) for t in (late / 2, late)),)) == ""


@pytest.mark.parametrize(
    "points",
    [
        [(8.0, 5.0)], [(7.9, 5.0), (8.0, 5.0)], [(4.0, 0.0), (8.0, 5.0)], [(4.0, -1.0), (8.0, 5.0)],
        [(3.0, 5.0), (8.0, 0.0)], [(0.0, 5.0)],
    ],
)  # fmt: skip
def test_a_curve_that_says_too_little_is_left_alone(points):
    assert RULE.hopeless(points) == ""


def test_a_rising_curve_is_not_expected_to_go_on_rising():
    rising = fall([(4.0, 2.0), (8.0, 3.0)], 8.0)
    assert rising is not None
    assert rising.end(BUDGET) == 3.0


def test_a_curve_that_goes_on_as_it_fell_ends_where_it_is_guessed_to():
    falling = fall(curve(1.7, 0.7), 8.0)
    assert falling is not None
    assert falling.end(BUDGET) == pytest.approx(1.7)


def test_losses_between_two_points_lie_on_a_line_and_nowhere_else():
    points = ((1.0, 4.0), (3.0, 2.0))
    assert [loss_at(points, t) for t in (0.9, 1.0, 2.0, 3.0, 3.1)] == [None, 4.0, 3.0, 2.0, None]


def test_a_peers_curve_that_leads_to_nothing_is_left_alone():
    theirs = Past(tuple((float(t), 5.0 if t < 9 else 5e-324) for t in range(1, 21)), 1.0, own=False)
    rule = StopRule((*past(), theirs), 3.4, BUDGET)
    assert stopped_at(rule, curve(3.0)) == stopped_at(StopRule(past(), 3.4, BUDGET), curve(3.0))


def test_too_few_own_curves_stop_nothing_however_many_peers_send():
    few = past()[: LEAST_OWN - 1]
    assert stop_rule((*few, *past(own=False) * 10), 3.4, BUDGET) is None
    blind = Past(((15.0, 2.0), (20.0, 1.9)), 3.8)  # says nothing of the first half
    rule = stop_rule((*few, blind), 3.4, BUDGET)
    assert stopped_at(rule, curve(9.0)) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_peer_can_spare_a_run_and_never_stop_one(seed):
    rng = random.Random(seed)
    told = tuple(
        Past(tuple((t, rng.uniform(0.01, 20)) for t, _ in curve(1.0)), rng.uniform(0.1, 60), own=False)
        for _ in range(rng.randint(1, 40))
    )
    rule = stop_rule((*past(), *told), 3.4, BUDGET)
    for _ in range(20):
        points = curve(rng.uniform(1.0, 6.0), rng.uniform(0.1, 1.0))
        alone, together = stopped_at(RULE, points), stopped_at(rule, points)
        assert together is None or (alone is not None and alone <= together)


# --- which trials, by which curves ---


def with_curve(made, end: float, power: float = 0.5):
    points = tuple(
        CurvePoint(step=n + 1, seconds=t * TRACK.budget_seconds / BUDGET, train_loss=y)
        for n, (t, y) in enumerate(curve(end, power))
    )
    finding = made.finding
    trials = (finding.trials[0].model_copy(update={"curve": points}), *finding.trials[1:])
    return dataclasses.replace(made, finding=finding.model_copy(update={"trials": trials}))


def ledger_of(*entries):
    ledger = Ledger(PROPOSER_BRIEF.acceptance)
    for one in entries:
        ledger.apply(one)
    return ledger


def some_history(author=ME, source=None):
    base = with_curve(entry(1, 3.4, author=author, source=source), 1.7)
    return [
        base,
        *(
            with_curve(entry(n, 3.4 + n / 10, base, author, source=source, dropout=n / 100), 1.7 + n / 20)
            for n in range(2, 9)
        ),
    ]


def test_a_proposal_is_compared_with_own_and_peers_steady_runs_of_the_same_code():
    own, theirs = some_history(), some_history(PEER)
    asked = entry(9, None, own[0], depth=8, dropout=0.1).finding.proposal
    rule = rule_for(ledger_of(*own, *theirs), ME, TRACK, asked)
    assert rule is not None
    assert (rule.best_bpb, len(rule.past), sum(one.own for one in rule.past)) == (3.4, 16, 8)
    seen = rule.past[0].curve
    assert len(seen) == 20


@pytest.mark.parametrize("what", ["no parent", "other code", "few", "only peers", "contended", "other track"])
def test_what_is_never_stopped(what):
    own = some_history()
    ledger, asked = ledger_of(*own), entry(9, None, own[0], depth=8, dropout=0.1).finding.proposal
    match what:
        case "no parent":
            asked = asked.model_copy(update={"parent": None})
        case "other code":
            asked = entry(9, None, own[0], depth=8, source="print(1)\n").finding.proposal
        case "few":
            ledger = ledger_of(*own[:-1])
        case "only peers":
            ledger = ledger_of(own[0], *some_history(PEER))
        case "contended":
            marked = [one.finding.trials[0].model_copy(update={"condition": "contended"}) for one in own]
            ledger = ledger_of(
                *(
                    dataclasses.replace(one, finding=one.finding.model_copy(update={"trials": (trial,)}))
                    for one, trial in zip(own, marked, strict=True)
                )
            )
        case _:
            track = TRACK.model_copy(update={"budget_seconds": 11.0})
            assert rule_for(ledger, ME, track, asked) is None
            return
    assert rule_for(ledger, ME, TRACK, asked) is None


# --- in the loop ---


class CurveTrainer(SurfaceTrainer):
    """Trains nothing, with curves; gives up whatever the job says is hopeless."""

    async def train(self, job, watcher):
        report = await super().train(job, watcher)
        score = report.trial.val_bpb
        if score is None:
            return report
        bad = bool(job.config["rope"])
        scale = TRACK.budget_seconds / BUDGET
        points = tuple((t * scale, y) for t, y in curve(9.0 if bad else score / 2, 0.05 if bad else 0.5))
        made = tuple(CurvePoint(step=n + 1, seconds=t, train_loss=y) for n, (t, y) in enumerate(points))
        trial = report.trial.model_copy(update={"curve": made})
        for n in range(1, len(points) + 1):
            if job.early_stop and (reason := job.early_stop.hopeless(points[:n])):
                ended = {"outcome": Outcome.CENSORED, "val_bpb": None, "seconds": points[n - 1][0], "reason": reason}
                return TrialReport(trial.model_copy(update=ended | {"curve": made[:n]}), made[:n], "", points[n - 1][0])
        return TrialReport(trial, made, "", self.seconds)


IDEAS = [{"learning_rate": 1e-3 * (1 + n / 1000)} for n in range(1, 12)] + [{"rope": True}] * 9
RULES = Acceptance(noise_sd=0.009, noise_dof=100.0, noise_trials=1, max_trials=4)


@pytest.fixture
def world_of(tmp_path):
    worlds = []

    def make(**options):
        stand_in = Scripted([{"learning_rate": 1e-3 * (1 + n / 1000)} for n in range(20, 60)], 0.0)
        worlds.append(make_world(tmp_path, Scripted(IDEAS), stand_in=stand_in, trainer=CurveTrainer(), **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


async def test_a_hopeless_run_is_recorded_as_censored_and_nothing_is_claimed(world_of, autojump_clock):
    world = world_of(experiments=14, stops_early=True)
    await research(world.lab, world.trainer)
    censored = [finding for finding in world.findings if finding.outcome is Outcome.CENSORED]
    assert [finding.proposal.config["rope"] for finding in censored] == [True]
    (finding,) = censored
    assert (finding.val_bpb, finding.verdict.decision, len(finding.trials)) == (None, Decision.INCONCLUSIVE, 1)
    left = (1 - LEAST_SHARE) * TRACK.budget_seconds  # of ten seconds: a whole number
    assert finding.reason.startswith(f"stopped early at {TRACK.budget_seconds - left:.0f} of 10 s")
    assert finding.proposal.key in world.notebook.ledger.tried(TRACK)
    (event,) = (e for e in world.happened(FindingRecorded) if e.outcome == "censored")
    assert not event.is_best
    saved = saved_json(world.notebook.own())
    assert saved == {"stopped": 1, "saved_seconds": left, "saved_share": round(left / 140, 4)}


async def test_without_early_stop_the_same_run_has_a_number(world_of, autojump_clock):
    world = world_of(experiments=14)
    await research(world.lab, world.trainer)
    assert {finding.outcome for finding in world.findings} == {Outcome.MEASURED}
    assert not any(job.early_stop for job in world.trainer.jobs)


async def test_baselines_and_repeats_have_no_rule(world_of, autojump_clock):
    brief_of_repeats = {"noise_sd": 0.05, "noise_dof": 4.0, "noise_trials": 3, "max_trials": 3, "keep_at": (0.9999,)}
    brief = BRIEF.model_copy(update={"acceptance": Acceptance(**brief_of_repeats)})
    world = world_of(experiments=14, stops_early=True, brief=brief)
    await research(world.lab, world.trainer)
    jobs = iter(world.trainer.jobs)
    ruled = []
    for finding in world.findings:
        made = [next(jobs) for _ in (*finding.trials, *finding.parent_trials)]
        ruled.append([job.early_stop is not None for job in made])
    assert max(map(len, ruled)) > 1
    assert not any(any(later) for _, *later in ruled), "only the first trial of a proposal may be stopped"
    assert not any(ruled[0])
    assert any(first for first, *_ in ruled)


def test_status_says_what_was_saved(tmp_path):
    home = furnish(tmp_path / "home")
    with views.open_archive(home) as archive:
        facts = views.status(archive)["early_stop"]
    assert facts == {"stopped": 0, "saved_seconds": 0.0, "saved_share": 0.0}
    stopped = make_trial(None, outcome=Outcome.CENSORED).model_copy(update={"seconds": 4.0})
    made = entry(2, None)
    made = dataclasses.replace(made, finding=made.finding.model_copy(update={"trials": (stopped,)}))
    facts = saved_json([entry(), made])
    assert facts == {"stopped": 1, "saved_seconds": 6.0, "saved_share": 0.3}
    assert saved_words(facts) == "one trial, 6 s saved: 30.0% of the budget of all"

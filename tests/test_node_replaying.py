"""node/replays without a training: what is run, what is refused, what is recorded, how requests reach a node."""

import json
import os
import random
import shutil
from dataclasses import dataclass, replace

import pytest
import trio
from samples import PLENTY, TRACK, make_finding, make_trial
from small_home import furnish
from small_lab import ALICE, BRIEF, BRIEF_ID, HARDWARE, HELD, ME, PeerLog, SurfaceTrainer, notebook_at, surface

from gossip.identity import load_or_create
from node import views
from node.events import Events, Notice
from node.home import Home
from node.journal import Journal
from node.notebook import Notebook
from node.replays import asking
from node.replays.agreement import agreement, sentence, share_deviation
from node.replays.alone import Here
from node.replays.plan import Bench, plan
from node.replays.replayer import Replayer, Unwatched
from node.replays.request import STALE_SECONDS, ReplayRefused, ReplayRequest, ReplayRequests
from node.sandbox.confinement import unconfined
from node.sandbox.spec import limits_for
from swarm.brief import source_sha256
from swarm.finding import encode_finding
from swarm.ledger import Entry
from swarm.replay import MAX_CURVE_DEVIATION, Replay
from swarm.trial import CurvePoint
from swarm.words import Condition, FindingId, PeerId, Standing

NOTHING_HOLDS = unconfined(limits_for(HARDWARE))
PACED = "print('--pace', '--max-steps')\n"  # a train.py that can be replayed by steps, as far as its text tells
CURVE = tuple(
    CurvePoint(step=step, seconds=step / 10, train_loss=5 - step / 50, progress=step / 100) for step in (1, 20, 50, 100)
)


def made(number: int = 1, val_bpb: float | None = 2.0, curve=CURVE, source: str | None = PACED, **config):
    finding = make_finding(BRIEF, number, val_bpb, **config)
    trial = finding.trials[0].model_copy(update={"curve": curve, "seed": 4321})
    update = {"source": source, "source_sha256": source_sha256(source)} if source else {}
    proposal = finding.proposal.model_copy(update=update)
    return finding.model_copy(update={"trials": (trial,), "proposal": proposal, "node_name": "brave-otter"})


def entry_of(finding, author: str = ALICE.peer_id) -> Entry:
    return Entry(id=FindingId("a" * 64), author=PeerId(author), seq=1, at_ms=1, finding=finding)


def bench(confinement=HELD, hardware_class: str = TRACK.hardware_class) -> Bench:
    return Bench(PeerId(ME.peer_id), BRIEF, hardware_class, confinement)


# --- What is run ---


def test_a_whole_budget_is_run_with_a_fresh_seed_and_all_else_from_the_record():
    job = plan(bench(), entry_of(made(width=96)), None, random.Random(1))
    assert (job.source, job.config["width"], job.track) == (PACED, 96, TRACK)
    assert (job.max_steps, job.pace) == (None, ())
    assert job.seed != 4321
    assert job.seed != plan(bench(), entry_of(made(width=96)), None, random.Random(2)).seed


def test_the_brief_s_own_train_py_is_taken_from_the_brief():
    assert plan(bench(), entry_of(made(source=None)), None, random.Random(1)).source == BRIEF.source


def test_steps_are_run_with_the_recorded_seed_and_pace_also_on_another_class():
    job = plan(bench(hardware_class="cuda-h100"), entry_of(made()), 60, random.Random(1))
    assert (job.seed, job.max_steps) == (4321, 60)
    assert job.pace == ((1, 0.01), (20, 0.2), (50, 0.5), (100, 1.0))
    assert (job.track.hardware_class, job.track.budget_seconds) == ("cuda-h100", TRACK.budget_seconds)


def test_a_last_word_that_repeats_the_last_step_is_no_second_point():
    again = (*CURVE, replace(CURVE[-1], seconds=10.5))
    assert plan(bench(), entry_of(made(curve=again)), 60, random.Random(1)).pace[-2:] == ((50, 0.5), (100, 1.0))


LATE = tuple(point for point in CURVE if point.step >= 20)
REFUSED = {
    "another class": (made(), None, bench(hardware_class="cpu-other-8"), "#1 of brave-otter was measured on cpu-x86"),
    "too few steps": (made(curve=LATE), 19, bench(), "has points from step 20 to 100: --steps takes at least 20"),
    "too many steps": (made(), 101, bench(), "at most 100"),
    "no curve": (made(curve=()), 5, bench(), "has no loss curve"),
    "a curve of nothing": (made(curve=(CurvePoint(step=0, seconds=0.0, train_loss=1.0),)), 5, bench(), "no loss curve"),
    "a curve back in steps": (made(curve=CURVE[::-1]), 5, bench(), "runs backwards"),
    "a curve back in time": (
        made(curve=(CURVE[1], CurvePoint(step=30, seconds=9.0, train_loss=1.0, progress=0.0))),
        25,
        bench(),
        "runs backwards",
    ),
    "a script without pace": (made(source="print()\n"), 5, bench(), "has no --pace"),
    "a stranger's code": (made(), None, bench(NOTHING_HOLDS), "brings a stranger's code of its own, and no sandbox"),
    "a stranger's code, unsafe": (made(), None, bench(replace(NOTHING_HOLDS, unsafe=True)), "no sandbox works here"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_replayed_is_refused_in_one_sentence(case):
    finding, steps, here, words = REFUSED[case]
    with pytest.raises(ReplayRefused) as refused:
        plan(here, entry_of(finding), steps, random.Random(1))
    assert words in str(refused.value)
    assert str(refused.value).isprintable()


def test_where_nothing_holds_a_script_configs_are_replayed_and_own_code_if_the_person_said_so():
    assert plan(bench(NOTHING_HOLDS), entry_of(made(source=None)), None, random.Random(1))
    own = entry_of(made(), ME.peer_id)
    with pytest.raises(ReplayRefused, match=r"^#1 brings code of its own, and no sandbox"):
        plan(bench(NOTHING_HOLDS), own, None, random.Random(1))
    assert plan(bench(replace(NOTHING_HOLDS, unsafe=True)), own, None, random.Random(1))


# --- What comes of it ---


@dataclass
class PacedTrainer(SurfaceTrainer):
    """Gives a curve, too, as far away from CURVE as it is told."""

    apart: float = 0.0
    condition: Condition = Condition.STEADY

    async def train(self, job, watcher):
        report = await super().train(job, watcher)
        steps = sorted(
            {*range(1, (job.max_steps or 100) + 1, 7), *(s for s, _ in job.pace if s <= (job.max_steps or 0))}
        )
        curve = tuple(CurvePoint(step=s, seconds=s / 10, train_loss=5 - s / 50 + self.apart) for s in steps)
        return replace(
            report, curve=curve, trial=report.trial.model_copy(update={"curve": curve, "condition": self.condition})
        )


class Desk:
    """A notebook with a replayer and findings of two peers."""

    def __init__(self, folder, requests=None):
        self.heard = []
        events = Events()
        events.listen(self.heard.append)
        self.notebook = notebook_at(folder / "journal.sqlite", events)
        home = Home(folder / "home")
        home.create()
        self.requests = requests or ReplayRequests(home)
        self.replayer = Replayer(
            "tester", self.notebook, TRACK.hardware_class, HELD, self.requests, PLENTY, events, random.Random(7)
        )
        self.alice = PeerLog(ALICE)

    def finding(self, *arguments, **options) -> Entry:
        record = self.alice.sign(encode_finding(made(*arguments, **options)))
        assert self.notebook.receive(record) is None
        return self.notebook.ledger.get(FindingId(record.id))

    def request(self, entry: Entry, steps: int | None = None) -> ReplayRequest:
        return ReplayRequest(brief=BRIEF_ID, finding=entry.id, steps=steps)

    def notices(self) -> list[str]:
        return [event.text for event in self.heard if isinstance(event, Notice)]

    def found(self, entry: Entry):
        (one,) = self.notebook.ledger.replays(entry.id)
        return agreement(self.notebook.ledger, BRIEF.acceptance, entry, one), one


@pytest.fixture
def here(tmp_path):
    made_here = Desk(tmp_path)
    yield made_here
    made_here.notebook.journal.validate()
    made_here.notebook.journal.journal.close()


async def test_a_peers_finding_that_holds_becomes_confirmed_and_the_record_is_ours_to_tell(here, autojump_clock):
    woken = []
    here.notebook.when_own(lambda: woken.append([record.kind for record in here.notebook.journal.unsent()]))
    entry = here.finding(1, surface({"width": 64, "norm": "layernorm", "rope": False}))
    assert here.notebook.ledger.standing(entry) is Standing.CLAIMED
    trainer = SurfaceTrainer()
    await here.replayer.run_one(here.request(entry), trainer)
    found, one = here.found(entry)
    assert (found.agrees, found.outcome_agrees, found.verdict, one.author) == (True, True, True, ME.peer_id)
    assert (one.replay.key, one.replay.node_name) == (entry.finding.proposal.key, "tester")
    assert one.replay.trial.seed == trainer.jobs[0].seed != 4321
    assert here.notebook.ledger.standing(entry) is Standing.CONFIRMED
    assert woken == [["replay"]], "in the journal before anybody is told"
    assert here.notices()[0] == "replaying #1 of brave-otter: run 1, 10 s"
    assert here.notices()[1].startswith("replayed #1 of brave-otter: run 1: 2.2")
    assert here.notices()[1].endswith("allowed: agrees; it is confirmed")
    assert here.notebook.next_number() == 1, "a replay is no run of ours"


async def test_a_peers_finding_that_does_not_hold_becomes_disputed(here, autojump_clock):
    entry = here.finding(1, 1.2)
    await here.replayer.run_one(here.request(entry), SurfaceTrainer())
    found, _ = here.found(entry)
    assert (found.agrees, found.verdict) == (False, False)
    assert found.difference == pytest.approx(surface({"width": 64, "norm": "layernorm", "rope": False}) - 1.2)
    assert found.difference > found.allowed > 0
    assert here.notebook.ledger.standing(entry) is Standing.DISPUTED
    assert "does not agree; it is disputed" in here.notices()[1]


async def test_an_own_finding_gets_one_trial_more_and_keeps_its_standing(here, autojump_clock):
    own = here.notebook.append_own(here.notebook.seal(made(1, 2.2)), "c" * 40)
    await here.replayer.run_one(here.request(own), SurfaceTrainer())
    score = here.notebook.ledger.score(own)
    assert score.trials == 2
    assert score.mean == pytest.approx((2.2 + surface({"width": 64, "norm": "layernorm", "rope": False})) / 2)
    assert here.notebook.ledger.standing(own) is Standing.CLAIMED
    assert here.notebook.next_number() == 2


async def test_a_trial_on_a_disturbed_machine_is_recorded_and_is_no_evidence(here, autojump_clock):
    entry = here.finding(1, 1.2)
    await here.replayer.run_one(here.request(entry), PacedTrainer(condition=Condition.CONTENDED))
    assert here.notebook.ledger.standing(entry) is Standing.CLAIMED
    assert "the machine was contended: it does not count" in here.notices()[1]


@pytest.mark.parametrize(
    ("claimed", "scored", "agrees", "words"),
    [
        (None, None, True, "it ended crashed (RuntimeError: no such layer), as the finding says"),
        (None, 2.2, False, "it ended measured, the finding says crashed"),
        (2.2, None, False, "it ended crashed (RuntimeError: no such layer), the finding says measured"),
    ],
)
async def test_without_two_numbers_the_outcomes_are_compared(here, autojump_clock, claimed, scored, agrees, words):
    entry = here.finding(1, claimed)
    await here.replayer.run_one(here.request(entry), SurfaceTrainer(score=lambda _: scored))
    found, _ = here.found(entry)
    assert (found.outcome_agrees, found.agrees, found.verdict) == (agrees, None, agrees)
    assert here.notices()[1].endswith(words)
    assert here.notebook.ledger.standing(entry) is Standing.CLAIMED


@pytest.mark.parametrize(("apart", "agrees"), [(0.0, True), (MAX_CURVE_DEVIATION / 2, True), (0.5, False)])
async def test_by_steps_the_curves_are_compared_where_the_first_run_reported(here, autojump_clock, apart, agrees):
    entry = here.finding(1, 1.2)
    await here.replayer.run_one(here.request(entry, steps=60), PacedTrainer(apart=apart))
    found, one = here.found(entry)
    assert found.curve_deviation == pytest.approx(apart, abs=0.001)  # of numbers as exact as a record has them
    assert (found.curve_agrees, found.agrees, found.verdict) == (agrees, None, agrees)
    assert [point.step for point in one.replay.trial.curve] == [1, 20, 50], "what any reader can compare"
    assert here.notebook.ledger.standing(entry) is Standing.CLAIMED, "a few steps are no score"
    assert here.notebook.ledger.trials(one.replay.key, TRACK).keys() == {ALICE.peer_id}


async def test_by_steps_without_a_common_step_there_is_nothing_to_compare(here, autojump_clock):
    entry = here.finding(1, 2.0)
    await here.replayer.run_one(here.request(entry, steps=60), SurfaceTrainer(score=lambda _: None))
    found, _ = here.found(entry)
    assert (found.curve_deviation, found.curve_agrees) == (None, None)
    assert "nothing to compare" in here.notices()[1]


async def test_curves_beyond_all_numbers_are_far_apart_and_no_more(here, autojump_clock):
    wild = tuple(
        CurvePoint(step=s, seconds=s / 10, train_loss=(-1) ** s * 1.7e308, progress=s / 10) for s in (1, 2, 3, 4)
    )
    entry = here.finding(1, 2.2, curve=wild)
    one = await here.replayer.run_one(here.request(entry, steps=4), PacedTrainer(apart=1.7e308))
    assert one.replay.curve_agrees is False
    assert share_deviation(CURVE, wild) == 1e6
    json.dumps(views.replays_of(here.notebook.ledger, BRIEF, entry), allow_nan=False)


async def test_a_replay_that_is_stopped_records_nothing(here, autojump_clock):
    entry = here.finding(1, 2.2)
    with trio.move_on_after(TRACK.budget_seconds / 2) as scope:
        await here.replayer.run_one(here.request(entry), SurfaceTrainer())
    assert scope.cancelled_caught
    assert here.notebook.ledger.replays(entry.id) == []
    assert here.notebook.journal.unsent() == []


def test_a_replay_of_another_budget_or_of_something_else_says_nothing_of_the_score(here):
    entry = here.finding(1, 2.2)
    for update in ({"key": "f" * 64}, {"trial": make_trial(2.2, TRACK.model_copy(update={"budget_seconds": 20.0}))}):
        fields = {"of": entry.id, "key": entry.finding.proposal.key, "started_at": "2026-01-01T00:00:00Z"}
        fields |= {"trial": make_trial(2.2)} | update
        one = here.notebook.append_replay(Replay(**fields))
        found = agreement(here.notebook.ledger, BRIEF.acceptance, entry, one)
        assert (found.agrees, found.outcome_agrees, found.verdict) == (None, None, None)
        assert "it ended measured" in sentence(entry, one, found, Standing.CLAIMED)
    assert here.notebook.ledger.standing(entry) is Standing.CLAIMED
    assert len(views.replays_of(here.notebook.ledger, BRIEF, entry)) == 1, "of another thing is not of this finding"


def test_before_a_node_builds_on_a_peers_change_its_own_trial_of_it_is_a_replay(here):
    """The same config and source, found by oneself: adoption confirms, without a record of its own."""
    theirs = here.finding(1, 2.0, width=96)
    assert here.notebook.ledger.standing(theirs) is Standing.CLAIMED
    here.notebook.append_own(here.notebook.seal(made(1, 2.005, width=96)), "c" * 40)
    assert here.notebook.ledger.standing(theirs) is Standing.CONFIRMED


# --- Requests ---


async def test_a_running_node_does_what_waits_oldest_first_and_refuses_with_a_reason(here, autojump_clock):
    first, second = here.finding(1, 2.2), here.finding(2, 2.2, width=96)
    unknown = ReplayRequest(brief=BRIEF_ID, finding=FindingId("e" * 64))
    paths = [here.requests.put(request) for request in (here.request(second), unknown, here.request(first, 200))]
    paths.append(here.requests.put(here.request(first)))
    trainer = SurfaceTrainer()
    await here.replayer.do_waiting(trainer)
    assert [job.config["width"] for job in trainer.jobs] == [96, 64]
    assert here.requests.answered(paths[0])
    assert here.requests.answered(paths[3])
    with pytest.raises(ReplayRefused, match="is not of the topic this node works on"):
        here.requests.answered(paths[1])
    with pytest.raises(ReplayRefused, match="at most 100"):
        here.requests.answered(paths[2])
    assert not any(path.exists() for path in paths), "an answer that was read is gone"
    assert here.requests.take() is None


async def test_a_node_that_is_stopped_leaves_its_request_for_the_next_start(here, autojump_clock):
    path = here.requests.put(here.request(here.finding(1, 2.2)))
    with trio.move_on_after(1):
        await here.replayer.do_waiting(SurfaceTrainer())
    assert not here.requests.answered(path)
    trainer = SurfaceTrainer()
    await here.replayer.do_waiting(trainer)
    assert (len(trainer.jobs), here.requests.answered(path)) == (1, True)


def test_two_workers_never_do_the_same_request(here):
    here.requests.put(here.request(here.finding(1, 2.2)))
    assert here.requests.take() is not None
    assert here.requests.take() is None


GARBAGE = [b"", b"{", b"[]", b"\xff" * 10_000, b'{"brief": 1}', b'{"brief": "x", "finding": "y", "steps": -1}']


@pytest.mark.parametrize("content", GARBAGE)
def test_a_file_that_is_no_request_is_put_out_of_the_way(here, content):
    path = here.requests.put(here.request(here.finding(1, 2.2)))
    bad = path.with_name("0-1.json")
    bad.write_bytes(content)
    assert here.requests.take()[0] == path
    assert not bad.exists()


def test_a_folder_in_the_way_of_a_request_ends_nothing(here):
    path = here.requests.put(here.request(here.finding(1, 2.2)))
    path.with_name("0-1.json").mkdir()
    assert here.requests.take()[0] == path
    assert here.requests.take() is None


def test_an_answer_that_nobody_reads_goes_away_with_time(here):
    path = here.requests.put(here.request(here.finding(1, 2.2)))
    here.requests.refuse(*here.requests.take(), "no")
    assert here.requests.take() is None
    assert path.exists()
    long_ago = path.stat().st_mtime - 2 * STALE_SECONDS
    os.utime(path, (long_ago, long_ago))
    assert here.requests.take() is None
    assert not path.exists()


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path):
    home = Home(tmp_path)
    (tmp_path / "replays").write_text("in the way")
    with pytest.raises(ReplayRefused, match="cannot write the request in"):
        ReplayRequests(home).put(ReplayRequest(brief=BRIEF_ID, finding=FindingId("e" * 64)))


# --- Asking, while a node runs ---


@pytest.fixture(scope="module")
def furnished(tmp_path_factory) -> Home:
    return furnish(tmp_path_factory.mktemp("furnished") / "home")


@pytest.fixture
def home(furnished, tmp_path) -> Home:
    """As a node left it; its run 2 came to 2.0, and a peer's own trial of the same confirmed it."""
    shutil.copytree(furnished.path, tmp_path / "home", dirs_exist_ok=True)
    return Home(tmp_path / "home")


async def ask_a_running_node(home: Home, asked: asking.Asked, do_waiting) -> list[dict]:
    """What a command does, beside a node that holds the home."""
    waited: list[dict] = []
    here = Here(HARDWARE, HELD)
    with home.lock():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(do_waiting)
            with trio.fail_after(10):
                await asking.replay(asked, here, Events(), Unwatched(), waited.append)
            nursery.cancel_scope.cancel()
    return waited


def node_in(home: Home, trainer):
    """The part of a running node that does what waits."""

    async def run() -> None:
        journal = Journal(home.journal)
        try:
            notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
            requests = ReplayRequests(home)
            replayer = Replayer("tester", notebook, TRACK.hardware_class, HELD, requests, PLENTY, Events())
            while True:
                await replayer.do_waiting(trainer)
                await trio.sleep(0.02)
        finally:
            journal.close()

    return run


async def test_a_running_node_is_asked_and_its_record_is_what_is_shown(home):
    asked = await trio.to_thread.run_sync(asking.ask, home, None, "#2", None)
    waited = await ask_a_running_node(home, asked, node_in(home, SurfaceTrainer(seconds=0.05)))
    assert waited[0]["current"] == {"number": 4, "title": "next"}
    facts = asking.outcome(asked)
    assert (facts["number"], facts["replay"]["val_bpb"], facts["score"]["trials"]) == (
        2,
        surface(BRIEF.base_config | {"width": 128}),
        2,
    )
    assert (facts["standing_before"], facts["standing"]) == ("confirmed", "confirmed")
    with views.open_archive(home) as archive:
        assert views.show(archive, "2")["replays"] == [facts["replay"]]


async def test_what_a_running_node_refuses_is_said_by_the_command(home):
    asked = await trio.to_thread.run_sync(asking.ask, home, None, "2", 9)
    with pytest.raises(BaseExceptionGroup) as group:
        await ask_a_running_node(home, asked, node_in(home, SurfaceTrainer(seconds=0.05)))
    assert group.group_contains(ReplayRefused, match="has no --pace")
    with pytest.raises(ReplayRefused, match="gave the request up"):
        asking.outcome(asked)


async def test_a_request_outlives_who_asked(home):
    asked = await trio.to_thread.run_sync(asking.ask, home, None, "2", None)
    with home.lock(), trio.move_on_after(0.3):
        await asking.replay(asked, Here(HARDWARE, HELD), Events(), Unwatched(), lambda _: None)
    _, request = ReplayRequests(home).take()
    assert request == asked.request


@pytest.mark.parametrize(
    ("state", "words"),
    [({"brief_id": "f" * 64, "topic": "else"}, "works on topic else"), ({"proposer": "none"}, "does not train")],
)
async def test_a_node_that_would_never_come_to_it_is_not_asked(home, state, words):
    asked = await trio.to_thread.run_sync(asking.ask, home, "small", "2", None)
    home.write_state(home.read_state() | state)
    with home.lock(), pytest.raises(ReplayRefused, match=words):
        await asking.replay(asked, Here(HARDWARE, HELD), Events(), Unwatched(), lambda _: None)
    assert ReplayRequests(home).take() is None


def test_a_finding_of_another_topic_is_said_to_be_one(home):
    with views.open_archive(home, "other") as archive:
        (other,) = archive.ledger.entries()
    with pytest.raises(views.NothingFound, match=r"is a finding of topic other, not of small; add --topic other"):
        asking.ask(home, None, other.id[:12], None)
    assert asking.ask(home, "other", other.id[:12], None).entry == other


def test_an_unknown_finding_is_one_sentence(home):
    for reference in ("99", "ffffffff", "zz"):
        with pytest.raises(views.NothingFound, match=f"no finding '{reference}'"):
            asking.ask(home, None, reference, None)

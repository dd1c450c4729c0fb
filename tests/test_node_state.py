"""The share of time spent training, by a virtual clock, and the state file that other commands read."""

import pytest
import trio
from small_lab import ALICE, BOB

from node.events import (
    Evaluating,
    Events,
    FindingRecorded,
    Listening,
    ModelAsked,
    NodeStarted,
    Notice,
    PeersChanged,
    Stopped,
    TrialProgress,
    TrialStarted,
)
from node.home import Home
from node.state import WRITE_SECONDS, StateFile, TrainingShare

STARTED = NodeStarted(
    name="swift-hare", peer_id="12D3KooWme", topic="tiny", brief_id="b" * 64, hardware_class="cpu-2", hardware="two",
    sandbox="landlock", budget_s=10.0, proposer="classic", home="/home", results_repository="/results",
    branch="nodes/x/tiny", findings=0,
)  # fmt: skip
LISTENING = Listening(addresses=("/ip4/127.0.0.1/tcp/4001/p2p/x",), ticket="swarm1abc", port=4001)


def trial(number: int) -> TrialStarted:
    return TrialStarted(
        number=number, title="wider", operator="tune", proposer="classic", parent=None, inspirations=(), budget_s=10.0
    )


def progress(number: int, seconds: float) -> TrialProgress:
    return TrialProgress(
        number=number, step=1, seconds=seconds, budget_s=10.0, tokens=9, train_loss=2.5, tokens_per_second=1.0
    )


def recorded(number: int) -> FindingRecorded:
    return FindingRecorded(
        id="f" * 64, number=number, title="wider", outcome="measured", verdict="keep", val_bpb=2.0, effect=None,
        best_val_bpb=2.0, is_best=True, seconds=10.0, commit="c" * 40, reason="",
    )  # fmt: skip


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    return home


async def test_set_up_does_not_count_and_evaluation_does(autojump_clock):
    share = TrainingShare()
    await trio.sleep(500)
    assert share.value() is None
    share.trial_begins()
    assert share.value() is None, "no time has passed"
    await trio.sleep(10)
    assert share.value() == 1.0
    share.trial_trained()
    await trio.sleep(10)
    share.trial_ends()
    assert share.value() == 0.5
    share.trial_begins()
    await trio.sleep(20)
    assert share.value() == 0.75, "a trial under way counts as far as it is"


async def test_what_comes_after_the_last_finding_does_not_count(autojump_clock):
    share = TrainingShare()
    for _ in range(3):
        share.trial_begins()
        await trio.sleep(9)
        share.trial_trained()
        await trio.sleep(1)
        share.trial_ends()
    await trio.sleep(1000)
    assert share.value() == 0.9


async def test_a_wait_between_trials_counts_against_the_share_at_the_next_trial(autojump_clock):
    share = TrainingShare()
    for _ in range(2):
        share.trial_begins()
        await trio.sleep(10)
        share.trial_ends()
        await trio.sleep(20)
    assert share.value() == 0.5  # 20 of the 40 seconds until the last trial's end


async def test_a_trial_that_is_cut_off_counts_as_training(autojump_clock):
    share = TrainingShare()
    share.trial_begins()
    await trio.sleep(10)
    share.trial_ends()
    await trio.sleep(10)
    share.trial_begins()
    await trio.sleep(20)
    assert share.value() == 0.75
    share.trial_trained()
    share.trial_trained()  # twice is once
    assert share.value() == 0.75


async def test_a_share_is_between_nothing_and_all(autojump_clock):
    share = TrainingShare()
    share.trial_trained()
    share.trial_ends()
    assert share.value() is None
    share.trial_begins()
    share.trial_ends()
    assert share.value() is None
    await trio.sleep(5)
    share.trial_begins()
    assert share.value() == 0.0


async def test_the_file_follows_a_day_of_a_node(home, autojump_clock):
    state = StateFile(home)
    events = Events()
    events.listen(state.hear, first=True)
    events.emit(STARTED)
    said = home.read_state()
    assert (said["name"], said["brief_id"], said["budget_s"], said["peers"]) == ("swift-hare", "b" * 64, 10.0, [])
    assert (said["current"], said["started_at"]) == (None, STARTED.at)
    events.emit(LISTENING)
    assert (home.read_state()["ticket"], home.read_state()["port"]) == ("swarm1abc", 4001)
    events.emit(PeersChanged(peers=(ALICE.peer_id, BOB.peer_id)))
    assert home.read_state()["peers"] == [ALICE.peer_id, BOB.peer_id]
    events.emit(trial(7))
    assert home.read_state()["current"]["number"] == 7
    await trio.sleep(10)
    events.emit(Evaluating(number=7))
    await trio.sleep(10)
    events.emit(recorded(7))
    assert (home.read_state()["current"], home.read_state()["training_share"]) == (None, 0.5)
    events.emit(Stopped(reason="enough", experiments=1, best_val_bpb=2.0, training_share=0.5))
    assert home.read_state()["training_share"] == state.training_share == 0.5


async def test_what_comes_often_is_written_within_a_second_and_not_more_often(home, autojump_clock):
    state = StateFile(home)
    state.hear(STARTED)
    state.hear(trial(1))
    writes: list[float] = []
    write = home.write_state
    home.write_state = lambda content: (writes.append(trio.current_time()), write(content))[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(state.run)
        for hundredths in range(500):
            state.hear(progress(1, hundredths / 100))
            await trio.sleep(0.01)
        await trio.sleep(WRITE_SECONDS)
        nursery.cancel_scope.cancel()
    assert 4 <= len(writes) <= 7
    current = home.read_state()["current"]
    assert (current["number"], current["seconds"], current["train_loss"]) == (1, 5.0, 2.5)


async def test_a_port_outlives_a_start_that_never_came_to_listen(home):
    first = StateFile(home)
    first.hear(STARTED)
    first.hear(LISTENING)
    second = StateFile(home)
    second.hear(STARTED)  # killed here, before it listens
    assert home.read_state()["port"] == 4001
    assert "ticket" not in home.read_state(), "its addresses may be others now"


async def test_a_disk_that_takes_nothing_is_no_trouble_here(tmp_path):
    (tmp_path / "file").write_text("")
    state = StateFile(Home(tmp_path / "file" / "home"))
    for event in (STARTED, LISTENING, trial(1), recorded(1)):
        state.hear(event)


async def test_a_notice_is_not_written(home):
    StateFile(home).hear(Notice(text="hello"))
    assert not home.state.exists()


async def test_questions_to_a_language_model_are_counted_by_what_became_of_them(tmp_path):
    home = Home(tmp_path)
    events, state = Events(), StateFile(home)
    events.listen(state.hear)
    events.emit(STARTED)
    for outcome in ("answered", "refused", "answered"):
        events.emit(ModelAsked(by="llm:code", outcome=outcome, calls=1, tokens_in=5, tokens_out=2, cost_usd=None))
    assert home.read_state()["model_questions"] == {"answered": 2, "refused": 1}
    events.emit(STARTED)
    assert home.read_state()["model_questions"] == {}

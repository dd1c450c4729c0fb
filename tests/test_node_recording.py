"""From trial to commit to journal, with real git: a crash in between loses nothing, damage is left aside and said."""

import shutil
import sqlite3
import subprocess

import pytest
import trio
from samples import PLENTY, make_finding, make_trial
from small_lab import ALICE, BRIEF, ME, PeerLog, make_world, notebook_at

from node.events import Events, Notice
from node.recording import Recorder, recover
from node.research import research
from node.results.repository import open_results
from node.trials.trainer import TrialReport

REPORT = [TrialReport(make_trial(2.0), (), "step 1\n", 9.5)]


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    """A home's journal and repository after three findings, recorded for real. Tests work on copies."""
    folder = tmp_path_factory.mktemp("three")
    trio.run(record_three, folder)
    return folder


async def record_three(folder):
    notebook, results = notebook_at(folder / "journal.sqlite"), results_at(folder)
    await results.prepare()
    recorder = Recorder(notebook, results, PLENTY, Events())
    parent = None
    for number, bpb in ((1, 2.2), (2, 2.0), (3, None)):
        finding = make_finding(BRIEF, number, bpb, parent, width=60 + number)
        entry, _ = await recorder.record(finding, REPORT)
        parent = parent or entry
    notebook.journal.journal.close()


def results_at(folder):
    return open_results(folder / "results", ME.peer_id, BRIEF.name, "tester")


@pytest.fixture
def home(three_runs, tmp_path):
    shutil.copytree(three_runs, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def heard():
    return []


@pytest.fixture
def events(heard):
    events = Events()
    events.listen(heard.append)
    return events


def git(home, *arguments: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["git", "-C", str(home / "results"), *arguments], input=stdin, capture_output=True, check=True
    )
    return done.stdout.decode()


def forget(home, *numbers: int) -> None:
    """Take findings out of the journal again, as if the node had been killed right after their commits."""
    with sqlite3.connect(home / "journal.sqlite") as db:
        for number in numbers:
            db.execute("DELETE FROM commits WHERE id IN (SELECT id FROM records WHERE seq = ?)", (number,))
            db.execute("DELETE FROM records WHERE seq = ?", (number,))
    db.close()


def known(home):
    notebook = notebook_at(home / "journal.sqlite")
    notebook.journal.validate()
    state = [(e.id, e.seq, e.finding.number) for e in notebook.own()], notebook.journal.journal.commits()
    notebook.journal.journal.close()
    return state


async def recovered(home, events) -> int:
    notebook = notebook_at(home / "journal.sqlite", events)
    try:
        return await recover(notebook, results_at(home), events)
    finally:
        notebook.journal.journal.close()


async def test_a_finding_is_a_commit_and_a_journal_entry_with_one_id(home):
    entries, commits = known(home)
    lines = git(home, "log", "--reverse", "--format=%H %(trailers:key=Finding-Id,valueonly,separator=)").splitlines()
    assert [tuple(line.split()) for line in lines] == [(commits[id], id) for id, _, _ in entries]
    assert git(home, "fsck", "--strict") == ""


@pytest.mark.parametrize("lost", [(3,), (2, 3), (1, 2, 3)])
async def test_a_crash_between_commit_and_journal_is_recovered(home, events, heard, lost):
    before = known(home)
    forget(home, *lost)
    assert known(home) != before
    assert await recovered(home, events) == len(lost)
    assert known(home) == before
    assert await recovered(home, events) == 0, "once is enough"
    assert not heard


async def test_recovered_findings_are_told_to_peers_and_work_goes_on_behind_them(home, events):
    forget(home, 3)
    notebook = notebook_at(home / "journal.sqlite", events)
    notebook.journal.mark_sent([record.id for record in notebook.journal.unsent()])
    woken: list[int] = []
    notebook.when_own(lambda: woken.append(1))
    await recover(notebook, results_at(home), events)
    assert woken
    assert [record.seq for record in notebook.journal.unsent()] == [3]
    recorder = Recorder(notebook, results_at(home), PLENTY, events)
    entry, commit = await recorder.record(make_finding(BRIEF, 4, 2.1), REPORT)
    assert entry.seq == 4
    assert git(home, "rev-parse", f"nodes/{ME.peer_id}/{BRIEF.name}").strip() == commit
    notebook.journal.journal.close()


async def test_a_lost_commit_table_is_made_again_and_is_no_lost_finding(home, events):
    before = known(home)
    with sqlite3.connect(home / "journal.sqlite") as db:
        db.execute("DELETE FROM commits")
    db.close()
    assert await recovered(home, events) == 0
    assert known(home) == before


async def commit_with(home, record: bytes, finding_id: str, number: int) -> None:
    folder = f"runs/{number:04d}-odd"
    await results_at(home).commit({f"{folder}/record.bin": record}, "odd", {"Finding-Id": finding_id, "Run": folder}, 9)


@pytest.mark.parametrize("damage", ["cut short", "a bit flipped", "empty", "no file"])
async def test_a_damaged_commit_is_left_aside_and_said(home, events, heard, damage):
    frame = PeerLog(ME).finding().frame
    bad = {"cut short": frame[:-9], "a bit flipped": frame[:-9] + b"!" + frame[-8:], "empty": b""}.get(damage)
    if bad is None:
        await results_at(home).commit({"note": b""}, "odd", {"Finding-Id": "f" * 64, "Run": "runs/0009-none"}, 9)
    else:
        await commit_with(home, bad, "f" * 64, 9)
    before = known(home)
    forget(home, 3)
    assert await recovered(home, events) == 1, "the good one beside it is taken"
    assert known(home) == before
    (notice,) = heard
    assert isinstance(notice, Notice)
    assert notice.warning
    assert notice.text.startswith(f"commit {git(home, 'rev-parse', 'HEAD')[:10]} holds no valid record (")
    assert notice.text.endswith("left aside")
    assert "\n" not in notice.text


async def test_somebody_elses_or_another_topics_record_on_our_branch_is_not_taken(home, events):
    before = known(home)
    await commit_with(home, PeerLog(ALICE).finding().frame, "a" * 64, 8)
    await commit_with(home, PeerLog(ME, brief="9" * 64).finding().frame, "b" * 64, 9)
    assert await recovered(home, events) == 0
    assert known(home) == before


async def test_a_commit_without_trailers_is_a_persons_and_no_loss(home, events, heard):
    (home / "results" / "notes.txt").write_text("mine")
    git(home, "add", "notes.txt")
    git(home, "-c", "user.name=p", "-c", "user.email=p@example.org", "commit", "--quiet", "-m", "a note")
    assert await recovered(home, events) == 0
    assert not heard


async def test_a_second_finding_at_a_place_of_our_log_is_left_aside_and_said(home, events, heard):
    """Another finding took the place in the meantime: peers would call the two a contradiction."""
    before = known(home)
    other = PeerLog(ME).finding(1.1)
    await commit_with(home, other.frame, other.id, 9)
    assert await recovered(home, events) == 0
    assert known(home) == before
    assert "left aside" in heard[0].text


async def test_a_cancelled_recording_is_finished(home, events):
    """Committed and in the journal all the same: half of it would be worse than late."""
    notebook = notebook_at(home / "journal.sqlite", events)
    recorder = Recorder(notebook, results_at(home), PLENTY, events)
    with trio.CancelScope() as scope:
        scope.cancel()
        await recorder.record(make_finding(BRIEF, 4, 2.1), REPORT)
    notebook.journal.journal.close()
    entries, commits = known(home)
    assert [number for _, _, number in entries] == [1, 2, 3, 4]
    assert commits[entries[-1][0]] == git(home, "rev-parse", "HEAD").strip()


async def test_two_workers_record_one_after_the_other(home, events):
    notebook = notebook_at(home / "journal.sqlite", events)
    recorder = Recorder(notebook, results_at(home), PLENTY, events)
    async with trio.open_nursery() as nursery:
        for number in (4, 5):
            nursery.start_soon(recorder.record, make_finding(BRIEF, number, 2.1), REPORT)
    assert sorted(entry.seq for entry in notebook.own()) == [1, 2, 3, 4, 5]
    assert sorted(entry.finding.number for entry in notebook.own()) == [1, 2, 3, 4, 5]
    notebook.journal.validate()
    notebook.journal.journal.close()


async def test_the_loop_with_real_recording(tmp_path):
    """Real clock: git's processes are not waited for by a virtual one."""
    results = results_at(tmp_path)
    await results.prepare()
    world = make_world(tmp_path, experiments=2, recorder=lambda *ours: Recorder(ours[0], results, PLENTY, ours[1]))
    world.trainer.seconds = 0.0
    await research(world.lab, world.trainer)
    commits = [event.commit for event in world.events if hasattr(event, "commit")]
    assert git(tmp_path, "rev-list", "--reverse", "HEAD").split() == commits
    world.close()

"""A full disk costs waiting: no finding, no blame for an idea, and nothing is said twice."""

from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from samples import PLENTY, make_finding, make_trial
from small_lab import SurfaceTrainer, make_world, notebook_at

from node.events import Events, Notice
from node.recording import Recorder
from node.research import research
from node.results.repository import ResultsError, open_results
from node.room import ENOUGH_BYTES, LOOK_SECONDS, Room
from node.sandbox.watch import FREE_BYTES
from node.trials.trainer import TrialReport


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def disk(monkeypatch):
    """Free bytes as the test says."""
    free = {"bytes": 10 * ENOUGH_BYTES}
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, free["bytes"]))
    return free


def heard(events: Events) -> list[str]:
    said: list[str] = []
    events.listen(lambda event: said.append(event.text) if isinstance(event, Notice) else None)
    return said


async def test_waiting_is_said_once_and_so_is_its_end(disk, autojump_clock):
    events = Events()
    said = heard(events)
    room = Room(Path("/"), events)
    await room.wait()
    assert said == []
    disk["bytes"] = 1 << 20
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.wait)
        await trio.sleep(10 * LOOK_SECONDS)
        assert len(said) == 1
        assert "only 1.0 MB are free" in said[0]
        disk["bytes"] = ENOUGH_BYTES
    assert len(said) == 2


async def test_no_trial_begins_where_the_sandbox_would_end_it_for_lack_of_room(disk):
    disk["bytes"] = FREE_BYTES
    assert Room(Path("/"), Events()).lacking() is not None


async def test_a_trial_that_a_full_disk_ended_is_run_again_and_not_recorded(tmp_path, disk, autojump_clock):
    def score(_config):
        """Fails as long as the disk is full; somebody makes room later."""
        return None if disk["bytes"] < ENOUGH_BYTES else 2.0

    def begin(number: int) -> None:
        disk["bytes"] = 0 if number == 1 else disk["bytes"]

    world = make_world(tmp_path, experiments=1, trainer=SurfaceTrainer(score=score, on_begin=begin))
    world.lab.room = Room(tmp_path, world.lab.events)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(research, world.lab, world.trainer)
        await trio.sleep(1000)
        assert len(world.trainer.jobs) == 1
        assert world.findings == []
        disk["bytes"] = ENOUGH_BYTES
    assert len(world.trainer.jobs) == 2
    assert [finding.val_bpb for finding in world.findings] == [2.0]


async def test_a_bad_ending_with_room_on_the_disk_is_recorded(tmp_path, disk, autojump_clock):
    world = make_world(tmp_path, experiments=1, trainer=SurfaceTrainer(score=lambda _: None))
    world.lab.room = Room(tmp_path, world.lab.events)
    await research(world.lab, world.trainer)
    assert [finding.outcome for finding in world.findings] == ["crashed"]


async def test_a_measured_trial_waits_for_room_to_be_committed(tmp_path, disk, monkeypatch):
    monkeypatch.setattr("node.room.LOOK_SECONDS", 0.01)
    events = Events()
    said = heard(events)
    notebook = notebook_at(tmp_path / "journal.sqlite", events)
    results = open_results(tmp_path / "results", notebook.me, "small")
    await results.prepare()
    real, failures = results.commit, iter([True, False])

    async def commit(*arguments):
        if next(failures):
            disk["bytes"] = 0
            raise ResultsError("No space left on device")
        return await real(*arguments)

    monkeypatch.setattr(results, "commit", commit)
    recorder = Recorder(notebook, results, Room(tmp_path, events), events)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.record, make_finding(notebook.brief), [TrialReport(make_trial(2.0), (), "", 9.5)])
        while not said:
            await trio.sleep(0.01)
        assert notebook.own() == []
        disk["bytes"] = ENOUGH_BYTES
    assert [entry.val_bpb for entry in notebook.own()] == [2.0]
    assert len(await results.history()) == 1


async def test_a_failed_commit_with_room_on_the_disk_is_a_failure(tmp_path, monkeypatch):
    notebook = notebook_at(tmp_path / "journal.sqlite")
    results = open_results(tmp_path / "results", notebook.me, "small")

    async def commit(*_):
        raise ResultsError("the repository is gone")

    monkeypatch.setattr(results, "commit", commit)
    with pytest.raises(ResultsError, match="is gone"):
        await Recorder(notebook, results, PLENTY, Events()).record(
            make_finding(notebook.brief), [TrialReport(make_trial(2.0), (), "", 9.5)]
        )

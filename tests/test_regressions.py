"""What went wrong once, in circumstances no other test is about: each test failed before its bug was mended."""

import os
import signal
import subprocess
from pathlib import Path

import node_process
import pytest
import trio

from node.events import Notice
from node.home import Home, NoHome
from node.sandbox.confinement import unconfined
from node.sandbox.spec import limits_for
from node.screen import JsonLines
from node.topics.loading import load_topic
from node.trials.hardware import detect
from node.trials.trainer import Job, LocalTrainer, Progress, TrialReport
from swarm.finding import Track
from swarm.words import Outcome


class Unwatched:
    def training(self) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def trained(self) -> None: ...


def train_in_turn(folder: Path, *sources: str | None) -> list[TrialReport]:
    """Trials one after the other by one trainer; None stands for the topic's own train.py."""
    topic = load_topic(str(node_process.write_topic(folder)), folder / "corpora", lambda *_: None)
    brief, hardware, reports = topic.brief, detect(), list[TrialReport]()
    experiments = Path(__file__).parent.parent / "experiments"
    track = Track(hardware_class=hardware.hardware_class, budget_seconds=1.0)
    corpus = brief.corpus
    trainer = LocalTrainer(
        experiments, topic.shards, corpus.validation.raw_bytes, corpus.vocab_size, folder / "scratch", hardware,
        unconfined(limits_for(hardware), unsafe=True),
    )  # fmt: skip

    async def go() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trainer.run)
            with trio.fail_after(60):
                for source in sources:
                    job = Job(brief.source if source is None else source, dict(brief.base_config), 1, track)
                    reports.append(await trainer.train(job, Unwatched()))
            nursery.cancel_scope.cancel()

    trio.run(go)
    return reports


def test_a_script_that_deletes_the_folder_of_trials_costs_one_trial(tmp_path):
    """Every later trial crashed at once, some ten times a second, and each crash was shared."""
    deletes = "import shutil, pathlib; shutil.rmtree(pathlib.Path.cwd().parent)"
    first, second = train_in_turn(tmp_path, deletes, None)
    assert first.trial.outcome is Outcome.CRASHED
    assert second.trial.outcome is Outcome.MEASURED, second.trial.reason


def test_a_warm_process_that_hangs_is_replaced(tmp_path):
    """Every later trial timed out, for ever."""
    stops = "import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(60)"
    first, second = train_in_turn(tmp_path, stops, None)
    assert first.trial.outcome is Outcome.TIMED_OUT
    assert second.trial.outcome is Outcome.MEASURED, second.trial.reason


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full disk in one file")
def test_output_to_a_full_disk_does_not_end_the_research():
    """It ended in a traceback, with the trial that was running."""
    full = open("/dev/full", "w")  # noqa: SIM115 - closing it fails too, which is the point
    JsonLines(full).show(Notice(text="hello"))
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_a_home_that_cannot_be_looked_into_is_one_sentence(tmp_path):
    with pytest.raises(NoHome, match=r"cannot read .*: File name too long; choose another directory with --home"):
        Home(tmp_path / ("n" * 300)).require()


def test_a_lock_without_room_for_its_owners_number_holds(tmp_path, monkeypatch):
    """A full disk at the start was a traceback."""
    home = Home(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with home.lock():
        assert home.running()


def test_a_second_signal_ends_the_node_at_once_with_its_own_exit_status(tmp_path):
    """It was killed by the signal's default action: exit status -15, and a terminal kept its cursor hidden."""
    topic = node_process.write_topic(tmp_path)
    with node_process.NodeProcess("launch", "--topic", str(topic), home=tmp_path / "home") as node:
        node.wait_for("trial_progress")
        node.process.send_signal(signal.SIGTERM)
        node.wait_for("notice", lambda notice: "stopping" in notice["text"])
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() in (0, 130), node.stderr  # 0: it had already stopped in order


def test_a_node_that_ends_with_a_failure_says_so_in_its_last_event(tmp_path):
    """The last event said that it was asked to stop."""
    topic, home = node_process.write_topic(tmp_path), tmp_path / "home"
    home.mkdir()
    (home / "results").write_text("in the way")
    with node_process.NodeProcess("launch", "--topic", str(topic), home=home) as node:
        assert node.wait() == 1
        (stopped,) = node.happened("stopped")
    assert "results" in stopped["reason"]
    assert stopped["reason"] in node.stderr


def test_the_last_finding_is_pushed_too_before_the_end_or_after_the_next_start(tmp_path):
    """A run that was over pushed all findings but the last."""
    topic, home, remote = node_process.write_topic(tmp_path), tmp_path / "home", tmp_path / "remote.git"

    def head(repository: Path) -> str:
        command = ["git", "-C", str(repository), "for-each-ref", "--format=%(objectname)", "refs/heads/nodes"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    options = ("--topic", str(topic), "--budget", "1", "--remote", str(remote))
    with node_process.NodeProcess("launch", *options, "--max-experiments", "1", home=home) as node:
        assert node.wait() == 0, node.stderr
    assert head(remote) == head(home / "results") != ""

    subprocess.run(["git", "-C", str(remote), "update-ref", "-d", f"refs/heads/{branch(node)}"], check=True)
    with node_process.NodeProcess("launch", *options, "--no-train", home=home) as node:
        node_process.until(lambda: head(remote) == head(home / "results"), "the branch is pushed at the start")


def branch(node: node_process.NodeProcess) -> str:
    return node.happened("node_started")[0]["branch"]

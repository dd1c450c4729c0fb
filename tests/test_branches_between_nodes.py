"""Real nodes whose branches travel: by themselves, by hand, and to stock git, with their author gone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from node_process import NodeProcess, until, write_topic
from samples import PLENTY, make_finding

from gossip.identity import load_or_create
from node.branches import remote_helper
from node.cli.commands import run_command_line
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.notebook import Notebook
from node.recording import Recorder
from node.results.repository import open_results
from node.trials.trainer import TrialReport
from swarm.words import BriefId

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).resolve().parents[1]
NOBODY = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
HELPER = "#!/bin/sh\nexec '{python}' -c 'from node.branches.remote_helper import main; main()' \"$@\"\n"


@pytest.fixture
def stock_git(tmp_path):
    """git as a person has it, with the helper on its path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    helper = programs / "git-remote-swarm"
    helper.write_text(HELPER.format(python=sys.executable))
    helper.chmod(0o755)

    def run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "SWARM_HOME": str(home)}
        env |= {"PYTHONPATH": str(ROOT), "GIT_TERMINAL_PROMPT": "0"}
        return subprocess.run(["git", *arguments], env=env, capture_output=True, text=True, check=False, timeout=90)

    return run


def head_of(home: Path, peer: str) -> str | None:
    done = subprocess.run(
        ["git", "-C", str(home / "results"), "for-each-ref", "--format=%(objectname)", f"refs/heads/nodes/{peer}/"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or None


async def find(home: Home, count: int) -> str:
    """Findings as research records them, without the training; the commit of the last."""
    brief_id = BriefId(home.read_state()["brief_id"])
    brief, identity, journal = home.load_brief(brief_id), load_or_create(home.key), Journal(home.journal)
    notebook = Notebook(brief, journal.of(brief_id), identity, Events())
    results = open_results(home.results, identity.peer_id, brief.name, "author")
    await results.prepare()
    recorder, commit = Recorder(notebook, results, PLENTY, Events()), ""
    for number in range(1, count + 1):
        finding = make_finding(brief, number, 2.0).model_copy(update={"number": number})
        proposal = finding.proposal.model_copy(update={"config": brief.base_config})
        finding = finding.model_copy(update={"proposal": proposal})
        _, commit = await recorder.record(finding, [TrialReport(finding.trials[0], (), "log\n", 9.5)])
    journal.close()
    return commit


@pytest.fixture
def command(monkeypatch, capsys):
    """One command of `swarm`, in this process: starting another takes longer than what most of them do."""

    def run(*arguments: str, home: Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["swarm", *arguments, "--home", str(home)])
        capsys.readouterr()
        try:
            run_command_line()
        except SystemExit as end:
            return end.code or 0, *capsys.readouterr()  # type: ignore[return-value]
        return 0, *capsys.readouterr()

    return run


def test_a_branch_reaches_others_outlives_its_author_and_is_cloned_by_stock_git(tmp_path, stock_git, command):
    def told(*arguments: str, home: Path) -> dict[str, Any]:
        status, out, error = command(*arguments, "--json", home=home)
        assert status == 0, error
        return json.loads(out)

    topic = str(write_topic(tmp_path / "topic"))
    author, second, third = tmp_path / "author", tmp_path / "second", tmp_path / "third"
    with NodeProcess("launch", "--topic", topic, "--no-train", home=second) as keeper:
        ticket = keeper.wait_for("listening")["ticket"]
        with NodeProcess("join", ticket, "--topic", topic, "--no-train", home=author) as node:
            peer = node.wait_for("node_started")["peer_id"]
            node.wait_for("peers_changed", lambda event: event["peers"])
            node.terminate()
        newest = trio.run(find, Home(author), 2)
        (author / "results" / ".git" / "shallow").write_text(f"{newest}\n")  # as a peer of an older version could
        with NodeProcess("join", ticket, "--topic", topic, "--no-train", home=author) as node:
            until(lambda: head_of(second, peer) == newest, "the author's branch at the second node")
            node.terminate()
        shown = {one["peer"]: one for one in told("branches", home=second)["branches"]}[peer]
        assert (shown["head"], shown["behind"]) == (newest, 0)
        assert shown["fetched"]["bytes"] > 1000

        # The author is gone. A third node gets its branch from the second, by hand.
        with NodeProcess("join", ticket, "--topic", topic, "--no-train", "--branches", "off", home=third) as other:
            other.wait_for("peers_changed", lambda event: event["peers"])
            other.wait_for("finding_received", lambda event: event["peer"] == peer)
            assert head_of(third, peer) is None
            fetched = told("fetch", peer, home=third)
            assert (fetched["head"], fetched["commits"], fetched["fetched"]) == (newest, 2, True)
            assert not told("fetch", peer, home=third)["fetched"]
            assert head_of(third, peer) == newest
            status, _, error = command("fetch", NOBODY, home=third)
            assert status == 1
            assert "was not found" in error

            # Stock git, through the running node, and by ticket without one.
            clone = tmp_path / "clone"
            done = stock_git("clone", f"swarm://{peer}/tiny", str(clone), home=third)
            assert done.returncode == 0, done.stderr
            assert json.loads(next(clone.glob("runs/0001-*/result.json")).read_text())["peer"] == peer
        by_ticket = tmp_path / "by_ticket"
        done = stock_git("clone", f"swarm://{ticket}/{peer}", str(by_ticket), home=tmp_path / "nowhere")
        assert done.returncode == 0, done.stderr
        assert stock_git("-C", str(by_ticket), "rev-parse", "HEAD", home=tmp_path).stdout.strip() == newest
        done = stock_git("-C", str(by_ticket), "fetch", home=tmp_path / "nowhere")
        assert done.returncode == 0, done.stderr
        pushed = stock_git("-C", str(by_ticket), "push", "origin", "HEAD", home=tmp_path / "nowhere")
        assert pushed.returncode != 0
        assert "can only be read" in pushed.stderr

        # Without a running node here: what a ticket named is not written down, so it takes the ticket again.
        status, _, error = command("fetch", peer, home=third)
        assert (status, "give a ticket" in error) == (1, True)
        assert not told("fetch", peer, "--from", ticket, home=third)["fetched"]


def test_git_says_in_one_sentence_why_it_cannot_clone(tmp_path, stock_git):
    done = stock_git("clone", f"swarm://{NOBODY}/tiny", str(tmp_path / "clone"), home=tmp_path / "home")
    assert done.returncode == 128
    sentences = [line for line in done.stderr.splitlines() if line.startswith("swarm: ")]
    assert len(sentences) == 1
    assert "no node has run in" in sentences[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["swarm://", "swarm://nobody/tiny", "swarm://swarm1aaaa", "swarm://a/b/c"])
def test_addresses_that_are_none(url, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["git-remote-swarm", "origin", url])
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote_helper, "_line", lambda: "connect git-upload-pack\n")
    with pytest.raises(SystemExit) as end:
        remote_helper.main()
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("swarm: ")
    assert said.count("\n") == 1


def test_a_home_that_knows_nobody_says_so(tmp_path, command):
    assert command("fetch", NOBODY, home=tmp_path / "home")[0] == 2
    assert command("fetch", "nobody", home=tmp_path / "home")[0] == 2

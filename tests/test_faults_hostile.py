"""Real nodes that train, and what strangers and copies can do to them: trials go on, and honest findings arrive."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import pytest
from node_process import NodeProcess, facts, until, write_topic

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

STRANGER = Path(__file__).with_name("hostile_peer.py")


@pytest.fixture(scope="module")
def topic(tmp_path_factory) -> str:
    return str(write_topic(tmp_path_factory.mktemp("topic")))


class Stranger:
    """hostile_peer.py, at work until the end of the block."""

    def __init__(self, address: str, brief: str) -> None:
        self.process = subprocess.Popen([sys.executable, str(STRANGER), address, brief], stdout=subprocess.PIPE)
        self.rounds: list[dict[str, int]] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.rounds.extend(json.loads(line) for line in self.process.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_a_hostile_process_stops_neither_trials_nor_the_findings_of_an_honest_peer(topic, tmp_path):
    with NodeProcess("launch", "--topic", topic, "--name", "victim", home=tmp_path / "victim") as node:
        brief = node.wait_for("node_started")["brief_id"]
        listening = node.wait_for("listening")
        with Stranger(listening["addresses"][0], brief) as stranger:
            node.wait_for("notice", lambda e: "is kept out for" in e["text"])
            with NodeProcess("join", listening["ticket"], "--topic", topic, home=tmp_path / "honest") as honest:
                theirs = honest.wait_for("finding_recorded")["id"]
                node.wait_for("finding_received", lambda e: e["id"] == theirs)
                ours = node.wait_for("finding_recorded")["id"]
                honest.wait_for("finding_received", lambda e: e["id"] == ours)
            until(lambda: len(stranger.rounds) >= 2, "two rounds of everything that a stranger can do")
            assert stranger.process.poll() is None
            later = node.wait_for("trial_started")["number"]
            node.wait_for("finding_recorded", lambda e: e["number"] == later and e["outcome"] == "measured")
        node.terminate()
        assert node.wait() == 0, node.stderr
        assert node.stderr == ""
        assert not [e["text"] for e in node.happened("notice") if "network stopped" in e["text"]]
    authors = {finding["peer"] for finding in facts("log", tmp_path / "victim", "--all")["findings"]}
    assert len(authors) == 2, "of what the stranger signed nothing is a finding"


def test_a_copied_identity_is_said_and_research_goes_on(topic, tmp_path):
    first, copy, honest = (tmp_path / name for name in ("first", "copy", "honest"))
    with NodeProcess("launch", "--topic", topic, "--no-train", home=honest) as third:
        ticket = third.wait_for("listening")["ticket"]
        with NodeProcess("join", ticket, "--topic", topic, home=first) as one:
            told = one.wait_for("finding_recorded")["id"]
            third.wait_for("finding_received", lambda e: e["id"] == told)
            copy.mkdir()
            (copy / "identity.key").write_bytes((first / "identity.key").read_bytes())
            (copy / "identity.key").chmod(0o600)
            with NodeProcess("join", ticket, "--topic", topic, home=copy) as other:
                assert other.wait_for("node_started")["peer_id"] == facts("status", first)["peer_id"]
                other.wait_for("finding_recorded")
                until(lambda: said(one) or said(other), "that the identity is used twice")
                for node in (one, other):
                    node.wait_for("finding_recorded")
        third.terminate()
    known = facts("log", honest, "--all")["findings"]
    forked = any("contradict" in event["text"] for event in third.happened("notice"))
    assert forked == (known == []), "of an identity with two stories nothing is believed, else all of the one told"
    numbers = [finding["number"] for finding in known]
    assert len(numbers) == len(set(numbers)), "one story"
    assert forked or told in {finding["id"] for finding in known}


def said(node: NodeProcess) -> bool:
    """Whether it has said that somebody else has its key. Reads what is there, without waiting."""
    while not node._queue.empty() and (line := node._queue.get()) is not None:
        node.events.append(json.loads(line))
    words = ("used by another machine", "another node writes with the key", "peers hold findings of this node")
    return any(word in event.get("text", "") for event in node.events for word in words)

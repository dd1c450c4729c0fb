"""Real nodes: several processes, real libp2p on loopback, real training at tiny budgets, real git.

Waits end when the awaited thing has happened; their limits only bound a failure. Nothing here asserts a speed.
"""

import json
import random
import subprocess
import time
from pathlib import Path

import pytest
from node_process import NodeProcess, facts, is_alive, swarm, until, write_topic
from openai_server import OpenAIServer, Question, Reply, Say, Status, answer_config

pytestmark = pytest.mark.end_to_end

RUN_FILES = {"config.json", "result.json", "curve.csv", "curve.png", "report.md", "patch.diff", "log.txt", "record.bin"}


@pytest.fixture(scope="module")
def topic(tmp_path_factory) -> str:
    return str(write_topic(tmp_path_factory.mktemp("topic")))


def git(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(home / "results"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def check_branch(home: Path) -> list[dict[str, object]]:
    """What must hold for a results repository at any time. Returns the findings of the log."""
    git(home, "fsck", "--strict")
    findings = facts("log", home)["findings"]
    numbers = [finding["number"] for finding in findings]
    assert len(numbers) == len(set(numbers)), f"a run number appears twice: {numbers}"
    branch = facts("status", home)["branch"]
    trailers = git(home, "log", "--format=%(trailers:key=Finding-Id,valueonly,separator=)", branch).split()
    assert sorted(trailers) == sorted(finding["id"] for finding in findings), "branch and journal differ"
    for finding in findings:
        folder = next(
            n for n in git(home, "ls-tree", "--name-only", branch, "runs/").split() if f"{finding['number']:04}-" in n
        )
        files = {Path(n).name for n in git(home, "ls-tree", "--name-only", branch, folder + "/").split()}
        assert files >= RUN_FILES, f"{folder} lacks {RUN_FILES - files}"
        result = json.loads(git(home, "show", f"{branch}:{folder}/result.json"))
        norms = result.pop("gradient_norm")  # as the script said; it is in no record
        assert finding["outcome"] != "measured" or norms["first"] > 0
        of_today = {key: finding[key] for key in ("commit", "standing", "score", "verdict_follows")}
        assert finding["verdict_follows"]
        assert {**result, **of_today} == finding
    return findings


def test_a_node_alone_finds_things_and_goes_on_where_it_was(topic, tmp_path):
    home = tmp_path / "home"
    with NodeProcess("launch", "--topic", topic, "--max-experiments", "3", home=home) as node:
        assert node.wait() == 0, node.stderr
        assert node.stderr == ""
        peer = node.happened("node_started")[0]["peer_id"]
        assert node.happened("listening")[0]["ticket"].startswith("swarm1")
        assert node.happened("trial_progress")
        assert node.happened("stopped")[0]["experiments"] == 3
    findings = check_branch(home)
    assert [finding["number"] for finding in findings] == [1, 2, 3]
    assert findings[0]["operator"] == "draft"
    assert findings[0]["outcome"] == "measured"
    assert findings[1]["config"] != findings[0]["config"]
    status = facts("status", home)
    assert status["best"]["val_bpb"] <= findings[0]["val_bpb"]
    assert 0 < status["training_share"] <= 1
    assert not status["running"]
    assert (home / "results" / "README.md").exists(), "the work tree follows the branch"
    assert (
        (home / "results" / "results.tsv").read_text().startswith("commit\tval_bpb\tmemory_gb\tstatus\tdescription\n")
    )

    with NodeProcess("launch", "--topic", topic, "--max-experiments", "1", home=home) as again:
        assert again.wait() == 0, again.stderr
        assert again.happened("node_started")[0]["peer_id"] == peer
    assert [finding["number"] for finding in check_branch(home)] == [1, 2, 3, 4]


def test_two_nodes_share_and_a_third_catches_up(topic, tmp_path):
    homes = [tmp_path / name for name in ("a", "b", "c")]
    with NodeProcess("launch", "--topic", topic, "--name", "first", home=homes[0]) as first:
        ticket = first.wait_for("listening")["ticket"]
        assert facts("ticket", homes[0]) == {"ticket": ticket, "private": False, "running": True}
        with NodeProcess("join", ticket, "--topic", topic, home=homes[1]) as second:
            second.wait_for("peers_changed", lambda e: len(e["peers"]) == 1)
            heard = second.wait_for("finding_received")
            board = [entry["id"] for entry in facts("leaderboard", homes[1])["entries"]]
            assert heard["val_bpb"] is None or heard["id"] in board
            inspired = second.wait_for("trial_started", lambda e: heard["id"] in e["inspirations"])
            second.wait_for("finding_recorded", lambda e: e["number"] == inspired["number"])
            mine = next(f for f in facts("log", homes[1])["findings"] if f["number"] == inspired["number"])
            assert heard["id"] in mine["inspirations"]
            first.wait_for("finding_received", lambda e: e["id"] == mine["id"])
            known = {f["id"] for f in facts("log", homes[0], "--all")["findings"]}
            with NodeProcess("join", ticket, "--topic", topic, "--no-train", home=homes[2]) as third:
                third.wait_for("listening")
                until(
                    lambda: {f["id"] for f in facts("log", homes[2], "--all")["findings"]} >= known,
                    "the late joiner has every finding",
                )
                branches = {branch["peer"] for branch in facts("branches", homes[2])["branches"]}
                assert len(branches) == 3
        first.terminate()
    check_branch(homes[0])


def test_kill_9_at_any_moment_loses_nothing_and_leaves_nothing(topic, tmp_path):
    home, moments = tmp_path / "home", random.Random(8)
    peers, reported = set(), set()
    for _ in range(4):
        with NodeProcess("launch", "--topic", topic, home=home) as node:
            peers.add(node.wait_for("node_started")["peer_id"])
            node.wait_for("trial_started")
            time.sleep(moments.uniform(0, 5))  # the moment of the kill, not a wait for anything
            orphans = node.kill_9()
            assert not orphans, f"left behind: {[p.cmdline() for p in orphans]}"
            node.wait()
            reported |= {event["id"] for event in node.happened("finding_recorded")}
    with NodeProcess("launch", "--topic", topic, "--max-experiments", "1", home=home) as node:
        assert node.wait() == 0, node.stderr
        peers |= {event["peer_id"] for event in node.happened("node_started")}
    assert len(peers) == 1
    assert reported <= {finding["id"] for finding in check_branch(home)}


def test_a_commit_that_missed_the_journal_is_taken_from_the_branch(topic, tmp_path):
    """The instant between commit and journal, made by taking the last record out of the journal again."""
    import sqlite3

    home = tmp_path / "home"
    with NodeProcess("launch", "--topic", topic, "--max-experiments", "2", home=home) as node:
        assert node.wait() == 0, node.stderr
    before = check_branch(home)
    with sqlite3.connect(home / "journal.sqlite") as db:
        db.execute("DELETE FROM records WHERE id = ?", (before[-1]["id"],))
        db.execute("DELETE FROM commits WHERE id = ?", (before[-1]["id"],))
    db.close()
    with NodeProcess("launch", "--topic", topic, "--max-experiments", "1", home=home) as node:
        assert node.wait() == 0, node.stderr
    after = check_branch(home)
    assert [f["id"] for f in after[:2]] == [f["id"] for f in before]
    assert [f["number"] for f in after] == [1, 2, 3]


def test_sigterm_stops_cleanly_and_records_no_result(topic, tmp_path):
    home = tmp_path / "home"
    with NodeProcess("launch", "--topic", topic, "--budget", "60", home=home) as node:
        node.wait_for("trial_progress")
        family = node.family()
        node.terminate()
        assert node.wait() == 0, node.stderr
        assert node.happened("stopped")
        assert not [process for process in family if is_alive(process)]
    assert facts("log", home)["findings"] == []


def test_a_dead_bootstrap_is_said_once_and_research_goes_on(topic, tmp_path):
    dead = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWNeyMAf8HrkBFLEhpYqFZWNWBkuhGabcYoXBH87kooJ79"
    arguments = ["launch", "--topic", topic, "--bootstrap", dead, "--max-experiments", "2"]
    with NodeProcess(*arguments, home=tmp_path / "home") as node:
        assert node.wait() == 0, node.stderr
        said = [event["text"] for event in node.happened("notice") if "bootstrap" in event["text"]]
        assert len(said) == 1, said
        assert "/tcp/9/" in said[0]
        assert len(node.happened("finding_recorded")) == 2


KEY = "secret-key-of-nobody-0123456789"
SPY = """if __name__ == "__main__":
    import os
    print("SPY BEGINS", sorted(os.environ.items()), "SPY ENDS", flush=True)
"""


def by_what_is_asked(question: Question) -> Reply:
    """Whoever is asked for code prints its environment; each answer repeats the key it came with."""
    if "<<<<<<< SEARCH" in question.messages[0]["content"]:
        lines = SPY.replace("SPY BEGINS", f"SPY {question.number} BEGINS")
        main = 'if __name__ == "__main__":\n'
        return Say(f"title: a spy\nrationale: none\n<<<<<<< SEARCH\n{main}=======\n{lines}>>>>>>> REPLACE\n")
    rates = {"norm": "rmsnorm", "learning_rate": round(1.1e-3 + 1e-5 * question.number, 6)}
    return answer_config(rates, "better", "because")


def test_a_language_model_proposes_settings_and_code_and_its_key_is_nowhere(topic, tmp_path):
    home = tmp_path / "home"
    with OpenAIServer(by_what_is_asked) as server:
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": KEY, "OPENAI_MODEL": "small-one"}
        arguments = ["launch", "--topic", topic, "--budget", "4", "--proposer", "llm"]
        arguments += ["--director-model", "wise-one", "--director-every", "2"]
        with NodeProcess(*arguments, home=home, env=env) as node:
            assert node.wait_for("node_started")["proposer"] == "llm:small-one"
            waiting = {"llm:config/small-one", "llm:code/small-one"}
            while waiting:
                started = node.wait_for("trial_started")
                node.wait_for("finding_recorded", lambda e, n=started["number"]: e["number"] == n)
                waiting.discard(started["proposer"])
            server.play([Status(401, body=json.dumps({"error": {"message": f"bad key {KEY}"}}).encode())])
            node.wait_for("notice", lambda e: "refuses the key" in e["text"])
            node.terminate()
            assert node.wait() == 0, node.stderr
            assert {event["outcome"] for event in node.happened("model_asked")} >= {"answered", "refused"}
            told = json.dumps(node.events) + node.stderr
        assert {q.authorization for q in server.requests} == {f"Bearer {KEY}"}
        assert "wise-one" in {q.model for q in server.requests}
    findings = check_branch(home)
    by_model = [f for f in findings if f["proposer"].startswith("llm:")]
    assert any(f["config"]["norm"] == "rmsnorm" for f in by_model)
    assert all(f["model_usage"]["calls"] >= 1 for f in by_model)
    status = facts("status", home)
    assert status["model"]["questions"]["refused"] >= 1
    assert status["model"]["total"]["tokens_in"] > 0
    assert {"llm:config", "llm:code"} <= {arm["arm"] for arm in status["arms"]}
    branch = status["branch"]
    assert "What did not" in git(home, "show", f"{branch}:NOTES.md")
    logs = [
        git(home, "show", f"{branch}:{name}")
        for name in git(home, "ls-tree", "-r", "--name-only", branch).split()
        if name.endswith("log.txt")
    ]
    assert any("SPY" in log and "ENDS" in log for log in logs), "the spy has looked at its environment"
    written = [path for path in home.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    objects = ["git", "-C", str(home / "results"), "cat-file", "--batch", "--batch-all-objects"]  # files are packed
    history = subprocess.run(objects, capture_output=True, check=True, timeout=60).stdout
    assert b"BEGINS" in history
    assert KEY.encode() not in history
    assert KEY not in told
    assert b"OPENAI" not in history, "no setting of the model's reaches a trial"


def test_a_dead_language_model_is_said_once_and_research_goes_on(topic, tmp_path):
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_MODEL": "gone"}
    with NodeProcess("launch", "--topic", topic, home=tmp_path / "home", env=env) as node:
        node.wait_for("notice", lambda e: "language model" in e["text"])
        node.wait_for("finding_recorded", lambda e: e["number"] >= 3)
        node.terminate()
        assert node.wait() == 0, node.stderr
        said = [event["text"] for event in node.happened("notice") if "language model" in event["text"]]
        assert len(said) == 1, said
        assert "127.0.0.1:9" in said[0]
        assert "OPENAI_BASE_URL" in said[0]
        assert node.happened("model_asked")[0]["outcome"] == "unreachable"
    had = [f["proposer"].partition("/")[0] for f in facts("log", tmp_path / "home")["findings"]]
    assert had[:3] == ["baseline", "classic", "classic"]


def test_a_second_start_on_a_running_home_is_refused(topic, tmp_path):
    with NodeProcess("launch", "--topic", topic, "--no-train", home=tmp_path) as node:
        node.wait_for("listening")
        done = swarm("launch", "--topic", topic, "--home", str(tmp_path))
        assert done.returncode == 1
        assert f"another node (process {node.process.pid}) is running" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_sentence(topic, tmp_path):
    with NodeProcess("launch", "--topic", topic, "--no-train", home=tmp_path / "a") as node:
        address = node.wait_for("listening")["addresses"][0].split("/p2p/")[0]
        done = swarm("launch", "--topic", topic, "--home", str(tmp_path / "b"), "--listen", address, "--plain")
        assert done.returncode == 1
        assert done.stderr.startswith("swarm: cannot listen on " + address)
        assert done.stderr.count("\n") == 1

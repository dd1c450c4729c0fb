"""A real node serves its page: said when it starts, live while it works, never in the way of starting or stopping."""

import json
import socket
import urllib.request

import pytest
from node_process import NodeProcess, swarm, write_topic

pytestmark = pytest.mark.end_to_end


def ask(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def test_a_node_serves_what_it_finds_and_stops_while_somebody_listens(tmp_path):
    topic = write_topic(tmp_path / "topic")
    topic.write_text(topic.read_text() + "noise_trials = 1\n")  # the baseline is run once
    with NodeProcess("launch", "--topic", str(topic), "--proposer", "random", home=tmp_path / "home") as node:
        page = node.wait_for("node_started")["dashboard"]
        assert page.startswith("http://127.0.0.1:")
        recorded = node.wait_for("finding_recorded")
        made = json.loads(ask(f"{page}runs/1.json"))
        assert (made["id"], made["val_bpb"]) == (recorded["id"], recorded["val_bpb"])
        assert made["commit"] == recorded["commit"]
        node.wait_for("trial_progress")
        overview = json.loads(ask(f"{page}index.json"))
        assert overview["now"]["running"]
        assert b"swarm_node_up 1.0" in ask(f"{page}metrics")
        port = int(page.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as listener:
            listener.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in listener.recv(200)
            assert node.terminate() < 10
        assert node.wait() == 0
    with NodeProcess("launch", "--topic", str(topic), "--no-train", home=tmp_path / "home") as again:
        assert again.wait_for("node_started")["dashboard"] == page, "remembered"


def test_a_port_that_is_taken_is_said_and_the_node_goes_on(tmp_path):
    topic = write_topic(tmp_path / "topic")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        launch = ("launch", "--topic", str(topic), "--no-train", "--dashboard", address)
        with NodeProcess(*launch, home=tmp_path / "home") as node:
            notice = node.wait_for("notice", lambda event: "the page cannot be served" in event["text"])
            assert notice["warning"]
            assert node.wait_for("node_started")["dashboard"] is None
            node.wait_for("listening")


def test_no_page_where_none_is_wanted_and_none_for_strangers_by_a_slip(tmp_path):
    topic = write_topic(tmp_path / "topic")
    with NodeProcess(
        "launch", "--topic", str(topic), "--no-train", "--dashboard", "off", home=tmp_path / "home"
    ) as node:
        assert node.wait_for("node_started")["dashboard"] is None
    for command in (("launch", "--topic", str(topic), "--no-train"), ("browse",)):
        done = swarm(*command, "--home", str(tmp_path / "home"), "--dashboard", "0.0.0.0:0")
        assert done.returncode == 2
        assert "--dashboard-expose" in done.stderr
    done = swarm("browse", "--home", str(tmp_path / "home"), "--dashboard", "localhost:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert swarm("browse", "--home", str(tmp_path / "nowhere")).returncode == 2

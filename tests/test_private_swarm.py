"""Private swarms end to end: real processes, real libp2p on loopback, started as a person would start them."""

import stat
from pathlib import Path

import pytest
from node_process import NodeProcess, facts, swarm, write_topic

from gossip.ticket import decode_ticket

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def topic(tmp_path_factory) -> str:
    return str(write_topic(tmp_path_factory.mktemp("topic")))


def everything_in(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_only_who_has_the_ticket_gets_in_and_the_key_stays_where_it_belongs(topic, tmp_path):
    home, joined, stranger = tmp_path / "home", tmp_path / "joined", tmp_path / "stranger"
    ticket_file = tmp_path / "ticket"
    quiet = ("--topic", topic, "--no-train")
    with NodeProcess(
        "launch", "--private", "--topic", topic, "--max-experiments", "2", "--ticket-file", str(ticket_file), home=home
    ) as one:
        listening = one.wait_for("listening")
        assert listening["private"]
        assert listening["ticket"] is None
        said = facts("ticket", home)
        assert said["private"]
        ticket = decode_ticket(said["ticket"])
        assert ticket.psk is not None
        assert ticket_file.read_text().strip() == said["ticket"]
        assert stat.S_IMODE(ticket_file.stat().st_mode) == 0o600
        with (
            NodeProcess("join", said["ticket"], "--no-train", home=joined) as two,
            NodeProcess("launch", *quiet, "--bootstrap", ticket.addresses[0], home=stranger) as three,
        ):
            two.wait_for("peers_changed", lambda event: event["peers"] == [facts("status", home)["peer_id"]])
            three.wait_for("notice", lambda event: "no answer from bootstrap" in event["text"])
            two.wait_for("finding_received")
            status = facts("status", joined)
            assert status["private"]
            assert status["peers"] == [facts("status", home)["peer_id"]]
            strange = facts("status", stranger)
            assert not strange["private"]
            assert strange["peers"] == []
            assert strange["findings_known"] == 0
            assert one.wait() == 0, one.stderr
            for node in (two, three):
                node.terminate()
                assert node.wait() == 0, node.stderr
        said_by_all = "".join(map(str, one.events + two.events)) + one.stderr + two.stderr
    assert said["ticket"] not in said_by_all
    key = ticket.psk
    assert key not in everything_in(home / "results"), "the key is in the results"
    holders = [path for path in home.rglob("*") if path.is_file() and key in path.read_bytes()]
    assert holders == [home / "private" / f"{ticket.brief}.key"]
    assert said["ticket"].encode() not in everything_in(home / "results")
    shown = swarm("status", "--home", str(home)).stdout
    assert "private: only who has its ticket can connect" in shown


def test_the_next_start_is_private_again_without_being_told(topic, tmp_path):
    home = tmp_path / "home"
    keys = []
    for options in (["--private"], []):
        with NodeProcess("launch", *options, "--topic", topic, "--no-train", home=home) as node:
            assert node.wait_for("listening")["private"]
            keys.append(decode_ticket(facts("ticket", home)["ticket"]).psk)
            node.terminate()
            assert node.wait() == 0
    assert keys[0] == keys[1] is not None


def test_wrong_use_is_one_sentence_and_exit_code_2(topic, tmp_path):
    public, private = tmp_path / "public", tmp_path / "private"
    tickets = []
    for home, options in ((public, []), (private, ["--private"])):
        with NodeProcess("launch", *options, "--topic", topic, "--no-train", home=home) as node:
            node.wait_for("listening")
            tickets.append(facts("ticket", home)["ticket"])
            node.terminate()
    for arguments, says in (
        (
            ("join", tickets[0], "--private", "--home", str(tmp_path / "new")),
            "--private: this ticket is of a public swarm",
        ),
        (("join", tickets[0], "--home", str(private)), "choose another --home"),
    ):
        done = swarm(*arguments, "--topic", topic, "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns")
        assert done.returncode == 2, done
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert says in done.stderr

"""What the doctor finds of the network, layer by layer, with a node running and without."""

import socket
import time

import pytest
import trio
from openai_server import NeverListening, OpenAIServer
from small_home import furnish
from small_lab import ALICE, BOB, BRIEF_ID

from gossip.envelope import seal
from gossip.heard import Heard, Way
from gossip.identity import Identity
from gossip.libp2p_bus import Libp2pBus
from gossip.refusal import Answer
from node import doctor
from node import network_checks as checks
from node.clock import wall_clock
from node.home import Home
from node.journal import Journal
from swarm.brief import topic_name

FRESH = "12D3KooWNeyMAf8HrkBFLEhpYqFZWNWBkuhGabcYoXBH87kooJ79"


@pytest.fixture(scope="module")
def furnished(tmp_path_factory) -> Home:
    return furnish(tmp_path_factory.mktemp("doctor") / "home")


@pytest.fixture
def home(furnished):
    before = furnished.read_state()
    yield furnished
    furnished.write_state(before)
    for name in ("network.json", "peers.json"):
        (furnished.path / name).unlink(missing_ok=True)


def hear(home: Home, author: int, ahead_seconds: float, times: int = 3) -> None:
    journal, who, prev = Journal(home.journal), Identity(bytes([author]) * 32), ""
    topic, now = journal.of(BRIEF_ID), wall_clock()
    for seq in range(1, times + 1):
        record = seal(who, "note", BRIEF_ID, seq, prev, int((now + ahead_seconds) * 1000), b"x")
        topic.append(record, received=now, own=False, heard=Heard(ALICE.peer_id, Way.BROADCAST))
        prev = record.id
    journal.close()


def test_a_clock_is_compared_with_those_of_peers(tmp_path):
    home = furnish(tmp_path / "home")
    assert "not tested" in checks.check_clock(Home(tmp_path / "none")).found
    assert "not tested" in checks.check_clock(home).found
    hear(home, 20, 0.5)
    assert checks.check_clock(home) == checks.Seen("ok", "agrees with 1 peer to within a minute")
    hear(home, 21, -0.5)
    hear(home, 22, 900)
    seen = checks.check_clock(home)
    assert seen.state == "ok"
    assert "15 min ahead" in seen.found
    for author in (23, 24, 25):
        hear(home, author, 600)
    seen = checks.check_clock(home)
    assert seen.state == "warning"
    assert seen.found == "4 peers of 6 have a clock 10 min ahead of ours"
    assert "NTP" in seen.advice


def test_a_port_that_another_program_has_is_a_warning_and_a_free_one_is_fine(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        home.write_state({"port": port})
        assert checks.check_listen_port(home).state == "warning"
        with home.lock():  # the node that runs here listens there
            assert checks.check_listen_port(home) == checks.Seen("ok", f"{port}: this node answers at 127.0.0.1")
    assert checks.check_listen_port(home) == checks.Seen("ok", f"{port} is free")
    with home.lock():
        assert checks.check_listen_port(home).state == "problem"
    home.write_state({})
    assert "none chosen" in checks.check_listen_port(home).found


def test_reachability_is_proven_by_who_came_and_otherwise_not_tested(home):
    assert "not tested" in checks.check_reachability(home).found
    with home.lock():
        assert "not tested" in checks.check_reachability(home).found
        for counters, word in (
            ({"bus.accepted_private": 3}, "local network (3"),
            ({"bus.accepted_global": 2}, "other networks have come in: 2"),
        ):
            written = {"format": 1, "counters": counters}
            (home.path / "network.json").write_text(str(written).replace("'", '"'))
            assert word in checks.check_reachability(home).found


def remember(home: Home, *addresses: str) -> None:
    entries = [{"address": one, "last_success": 5.0, "source": 3} for one in addresses]
    (home.path / "peers.json").write_text(str({"format": 1, "addresses": entries}).replace("'", '"'))


def test_nobody_to_dial_is_said(home):
    assert checks.check_bootstrap(home).found.startswith("nobody to dial")
    with home.lock():  # it writes down whom it met every half minute
        assert checks.check_bootstrap(home).found == "the running node has found 1 peer"
    home.write_state({})
    assert checks.check_bootstrap(home).found.startswith("nobody to dial")


async def test_known_peers_are_really_dialled_and_must_be_who_they_are_said_to_be(home):
    bus = Libp2pBus(BOB, topic_name(BRIEF_ID), ["/ip4/127.0.0.1/tcp/0"], lambda *_: Answer.IGNORE, lambda *_: b"",
                    wall_clock=time.time)  # fmt: skip
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # not listening: refuses
        dead = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}/p2p/{FRESH}"
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.run)
            (address,) = bus.addresses()
            remember(home, address, dead)
            seen = await trio.to_thread.run_sync(checks.check_bootstrap, home)
            assert seen == checks.Seen("ok", "1 of 2 addresses of known peers answer")
            remember(home, address.replace(BOB.peer_id, ALICE.peer_id), dead)
            seen = await trio.to_thread.run_sync(checks.check_bootstrap, home)
            assert seen.state == "warning"
            assert seen.found.startswith("none of 2 addresses of known peers answers: ")
            assert seen.advice
            nursery.cancel_scope.cancel()


def test_mesh_and_topic(home, tmp_path):
    assert "not tested" in checks.check_mesh(home).found
    with home.lock():
        assert checks.check_mesh(home).found.startswith("1 peer of the topic: ")
        home.write_state(home.read_state() | {"peers": []})
        assert checks.check_mesh(home).state == "warning"
    assert checks.check_topic(home) == checks.Seen("ok", "small: 7 records of 2 authors")
    assert checks.check_topic(Home(tmp_path / "none")).state == "ok"


def test_every_layer_is_tested_by_its_name(home, monkeypatch):
    for slow in ("check_torch", "check_hardware", "check_sandbox"):
        monkeypatch.setattr(doctor, slow, lambda: doctor.Check("slow", "ok", "left out here"))
    names = [check.name for check in doctor.examine(home, {})]
    layers = ["key", "clock", "listen port", "reachability", "bootstrap", "mesh", "topic"]
    assert [name for name in names if name in layers] == layers


def test_a_damaged_journal_is_a_problem_of_the_topic(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    home.write_state({"brief_id": BRIEF_ID})
    home.journal.write_text("this is no database, however long it gets " * 100)
    assert checks.check_topic(home).state == "problem"
    assert checks.check_clock(home).state == "ok"


def test_the_doctor_asks_the_language_model():
    assert doctor.check_model({}).state == "ok"
    with OpenAIServer("tune") as server:
        answered = doctor.check_model({"OPENAI_BASE_URL": server.base_url, "OPENAI_MODEL": "tiny"})
        assert server.requests == [], "no tokens are spent"
    assert (answered.state, answered.found) == ("ok", f"127.0.0.1:{server.port} answers; tiny will be asked")
    with NeverListening() as gone:
        dead = doctor.check_model({"OPENAI_BASE_URL": gone.base_url})
    assert dead.state == "problem"
    assert "cannot be reached" in dead.found
    assert doctor.check_model({"OPENAI_BASE_URL": "nonsense"}).state == "problem"

"""Metrics that Prometheus can read, bounded whatever strangers do; and a server that nobody can hurt or hang."""

import random
import socket
import sys

import click
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from small_home import furnish
from small_lab import ALICE, BRIEF_ID, ME, notebook_at, until

from gossip.doorkeeper import PeerLists
from gossip.heard import RefusedRecords
from gossip.memory_bus import MemoryNetwork
from gossip.service import Snapshot
from gossip.traffic import Kind, Traffic
from node import metrics_server
from node.cli import main
from node.cli.launch import MetricsType
from node.events import Events
from node.home import Home
from node.metrics import CONTENT_TYPE, exposition
from node.metrics_server import MetricsAddress, MetricsError, MetricsServer
from node.network import Network, NetworkSettings
from node.network_file import network_facts, read_network, write_network

HERE = MetricsAddress("127.0.0.1", 0)


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def facts(traffic: Traffic) -> dict:
    counters = {"admission.accepted": 7, "admission.bad_signature": 2, "door.bans": 1, "bus.dialled": 3}
    snapshot = Snapshot((), ("a", "b"), (), counters, traffic)
    return network_facts(snapshot, RefusedRecords(), {"a": 5.0}, PeerLists(), 100.0)


def test_names_units_and_labels():
    traffic = Traffic()
    traffic.received("a", Kind.BLOB, 1000, 1)
    traffic.sent("a", Kind.CATCHUP, 30, 2)
    state = {"topic": 'o"dd\n', "hardware_class": "cpu", "started_at": "2026-01-01T00:00:00Z", "training_share": 0.97,
             "current": {"seconds": 5.0, "train_loss": 2.5},
             "model_questions": {"answered": 3, "rate_limited": 1}}  # fmt: skip
    found = samples(exposition(state, facts(traffic), running=True))
    assert found["swarm_node_up", ()] == 1
    assert found["swarm_model_questions_total", (("outcome", "rate_limited"),)] == 1
    assert found["swarm_traffic_bytes_total", (("direction", "in"), ("kind", "blob"))] == 1000
    assert found["swarm_traffic_messages_total", (("direction", "out"), ("kind", "catchup"))] == 2
    assert found["swarm_admission_total", (("reason", "bad_signature"),)] == 2
    assert found["swarm_door_total", (("event", "bans"),)] == 1
    assert found["swarm_peers", ()] == 1
    assert found["swarm_connections", ()] == 2
    assert found["swarm_training_ratio", ()] == 0.97
    assert found["swarm_trial_elapsed_seconds", ()] == 5.0
    assert found["swarm_node_info", (("hardware_class", "cpu"), ("topic", 'o"dd\n'))] == 1
    assert found["swarm_node_started_timestamp_seconds", ()] == 1767225600
    assert all(name.startswith("swarm_") for name, _ in found)


def test_no_peer_becomes_a_label_and_the_number_of_series_is_bounded():
    traffic = Traffic()
    few = len(samples(exposition({}, facts(traffic), running=True)))
    for number in range(5000):
        traffic.received(f"peer-{number}", Kind.BROADCAST, 1, 1)
    text = exposition({}, facts(traffic), running=True)
    assert len(samples(text)) == few
    assert b"peer-" not in text


@pytest.mark.parametrize("broken", [{}, {"counters": 3, "traffic": []}, {"traffic": {"totals": {"x": 1}}, "peers": 1}])
def test_files_of_another_version_or_none_are_no_trouble(broken):
    assert samples(exposition({"started_at": "x", "current": 5}, broken, running=False))["swarm_node_up", ()] == 0


async def ask(port: int, request: bytes) -> bytes:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(request)
        answer = b""
        with trio.fail_after(10):
            while piece := await stream.receive_some(65_536):
                answer += piece
        return answer


@pytest.fixture
async def port(nursery):
    return await nursery.start(MetricsServer(HERE, lambda: (CONTENT_TYPE, b"swarm_node_up 1\n")).run)


async def test_it_answers_one_get_and_closes(port):
    head, _, body = (await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"text/plain; version=0.0.4" in head
    assert b"Connection: close" in head
    assert body == b"swarm_node_up 1\n"
    assert (await ask(port, b"GET /metrics?a=b HTTP/1.0\r\n\r\n")).endswith(b"swarm_node_up 1\n")
    head_only = await ask(port, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert head_only.endswith(b"\r\n\r\n")
    assert b"Content-Length: 16" in head_only


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /metrics/../state.json HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"405"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00 TLS of a browser\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", b"431"),
    ],
)
async def test_what_is_no_such_request_is_told_so_and_the_next_is_answered(port, request_bytes, status):
    assert (await ask(port, request_bytes)).startswith(b"HTTP/1.1 " + status)
    assert b"200" in await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_random_bytes_and_connections_that_are_cut_off_hurt_nobody(port):
    rng = random.Random(5)
    for _ in range(60):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(rng.randbytes(rng.randrange(1, 400)))
        if rng.random() < 0.5:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        await stream.aclose()
    assert b"200" in await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_slow_clients_have_their_places_until_their_time_is_up_and_the_rest_none(port, monkeypatch):
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 0.4)
    slow = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(metrics_server.MAX_CONNECTIONS + 5)]
    for stream in slow:
        await stream.send_all(b"GET /metr")
    with trio.fail_after(10):
        for stream in slow:
            assert await stream.receive_some() == b""
            await stream.aclose()
    assert b"200" in await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_a_bug_in_what_is_counted_is_an_answer_of_500(nursery):
    def broken() -> tuple[str, bytes]:
        raise KeyError("oops")

    port = await nursery.start(MetricsServer(HERE, broken).run)
    assert (await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 500")


async def test_a_port_in_use_is_said_in_a_sentence(port):
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery:
            await nursery.start(MetricsServer(MetricsAddress("127.0.0.1", port), lambda: ("", b"")).run)
    assert caught.group_contains(MetricsError, match="--metrics-port 127.0.0.1:.*in use; choose another port")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:9464", ("::1", 9464)),
        ("0", ("127.0.0.1", 0)),
    ],
)
def test_an_address_for_metrics_is_loopback_unless_one_is_given(text, address):
    made = MetricsType().convert(text, None, None)
    assert (made.host, made.port) == address


@pytest.mark.parametrize("text", ["", "x", "70000", "-1", "localhost:9464", ":9464", "1:2:3", "²"])
def test_what_is_no_address_for_metrics_is_wrong_usage(text):
    with pytest.raises(click.UsageError, match="is not a port"):
        MetricsType().convert(text, None, None)


async def test_a_running_node_writes_what_it_counts_and_who_is_there(tmp_path, autojump_clock):
    net = MemoryNetwork(random.Random(3))
    homes, networks, notebooks = [], [], []
    for who in (ME, ALICE):

        class InMemory(Network):
            def _bus_factory(self, topic, listen, who=who):
                return lambda deliver, serve: net.bus(who.peer_id, topic, deliver, serve)

        home = Home(tmp_path / who.peer_id)
        home.create()
        notebook = notebook_at(home.journal, identity=who)
        lists = PeerLists(allow=frozenset({ALICE.peer_id})) if who is ME else PeerLists()
        bootstrap = () if who is ME else (net.address(ME.peer_id),)
        settings = NetworkSettings(listen=(), bootstrap=bootstrap, mdns=False, lists=lists)
        homes.append(home)
        notebooks.append(notebook)
        networks.append(InMemory(home, who, notebook, settings, Events()))
    async with trio.open_nursery() as nursery:
        for one in networks:
            nursery.start_soon(one.run)
        await until(lambda: networks[0].peers)
        await trio.sleep(11)
        written = read_network(homes[0], BRIEF_ID)
        assert list(written["peers"]) == [ALICE.peer_id]
        assert written["lists"] == {"allow": [ALICE.peer_id], "deny": []}
        assert written["traffic"]["peers"][ALICE.peer_id]["catchup"]["messages_in"] > 0
        assert samples(exposition({}, written, running=True))["swarm_peers", ()] == 1
        nursery.cancel_scope.cancel()
    assert read_network(homes[0], "c" * 64) == {}, "of another topic"
    for notebook in notebooks:
        notebook.journal.journal.close()


def test_a_network_file_that_cannot_be_read_or_written_is_no_trouble(tmp_path):
    home = Home(tmp_path)
    assert read_network(home) == {}
    for text in ("", "[]", "{", '{"format": 99}'):
        (tmp_path / "network.json").write_text(text)
        assert read_network(home) == {}
    write_network(Home(tmp_path / "none"), BRIEF_ID, facts(Traffic()))


def test_the_command_prints_what_the_files_of_the_home_say(tmp_path, monkeypatch, capsys):
    home = furnish(tmp_path / "home")
    traffic = Traffic()
    traffic.received("a", Kind.BLOB, 1000, 1)
    write_network(home, BRIEF_ID, facts(traffic))
    monkeypatch.setattr(sys, "argv", ["swarm", "metrics", "--home", str(home.path)])
    with home.lock():
        main()
    running = samples(capsys.readouterr().out.encode())
    main()
    stopped = samples(capsys.readouterr().out.encode())
    assert (running["swarm_node_up", ()], stopped["swarm_node_up", ()]) == (1, 0)
    assert running["swarm_traffic_bytes_total", (("direction", "in"), ("kind", "blob"))] == 1000
    assert running["swarm_training_ratio", ()] == 0.97

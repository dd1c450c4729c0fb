"""The page's server: costs nothing until somebody comes, bounds whoever does, and never keeps a node from stopping."""

import json
import socket

import httpx
import pytest
import trio
from served_page import served
from small_home import furnish

from node.browse import live, server
from node.browse.address import FIRST_PORT, BrowseError, PageAddress, listen, port_of, remembered_port
from node.browse.asked import Asked
from node.browse.desk import MAX_WAITING, Desk, DeskBusy
from node.browse.live import Live, event
from node.browse.server import PageServer
from node.home import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return furnish(tmp_path_factory.mktemp("server") / "home")


async def test_a_port_in_use_is_said_in_a_sentence_or_another_one_is_taken(home):
    first = listen(PageAddress(port=0))
    taken = port_of(first)
    with pytest.raises(BrowseError, match=f"port {taken}: .*in use; choose another with --dashboard"):
        PageServer(home, PageAddress(port=taken), None)
    other = listen(PageAddress(), remembered=taken)
    assert port_of(other) != taken
    for one in (first, other):
        one.socket.close()


async def test_the_port_of_the_last_time_is_taken_again():
    first = listen(PageAddress(port=0))
    port = port_of(first)
    first.socket.close()
    again = listen(PageAddress(), remembered=port)
    assert port_of(again) == port
    again.socket.close()
    assert remembered_port("http://127.0.0.1:7421/") == 7421
    assert remembered_port("http://[::1]:9/") == 9
    assert [remembered_port(what) for what in (None, "", "x:y", "http://h:0/", "http://h:99999/")] == [None] * 5
    assert FIRST_PORT == 7420


async def test_nothing_is_imported_before_somebody_comes(tmp_path):
    code = (
        "import sys, trio; from pathlib import Path; from node.home import Home\n"
        "from node.browse.address import PageAddress; from node.browse.server import PageServer\n"
        f"s = PageServer(Home(Path({str(tmp_path)!r})), PageAddress(port=0), None)\n"
        "async def main():\n"
        "    with trio.move_on_after(0.2): await s.run()\n"
        "trio.run(main)\n"
        "print(sorted({'starlette', 'hypercorn', 'jinja2', 'pygments'} & set(sys.modules)))"
    )
    done = await trio.run_process([__import__("sys").executable, "-c", code], capture_stdout=True)
    assert done.stdout.decode().strip() in ("[]", "['pygments']"), "rich may bring pygments"


async def test_a_client_that_takes_nothing_is_left_and_keeps_nobody_waiting(home, monkeypatch):
    monkeypatch.setattr(server, "SEND_SECONDS", 0.3)
    async with served(home) as page:
        stream = await trio.open_tcp_stream("127.0.0.1", page.port)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(b"GET /static/page.css HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        with trio.fail_after(30):
            while page.server.open_connections:
                await trio.sleep(0.05)
        await stream.aclose()
        assert (await page.client.get("/")).status_code == 200


async def test_a_node_stops_at_once_whoever_listens_or_stalls(home):
    server_ = PageServer(home, PageAddress(port=0), None)
    port = int(server_.url.rstrip("/").rpartition(":")[2])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server_.run)
        listener = await trio.open_tcp_stream("127.0.0.1", port)
        await listener.send_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in await listener.receive_some(1000)
        stalled = await trio.open_tcp_stream("127.0.0.1", port)
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stalled.send_all(b"GET /static/page.css HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
        await stalled.receive_some(100)
        with trio.fail_after(5):
            nursery.cancel_scope.cancel()
            await trio.lowlevel.checkpoint_if_cancelled()
    await listener.aclose()
    await stalled.aclose()


async def test_connections_are_bounded_in_number(home, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 5)
    async with served(home) as page:
        assert (await page.client.get("/", headers={"connection": "close"})).status_code == 200
        streams = [await trio.open_tcp_stream("127.0.0.1", page.port) for _ in range(12)]
        with trio.fail_after(20):
            while page.server.open_connections < 5:
                await trio.sleep(0.02)
            assert await streams[-1].receive_some() == b""
        for stream in streams:
            await stream.aclose()
        with trio.fail_after(20):
            while page.server.open_connections:
                await trio.sleep(0.02)
        assert (await page.client.get("/")).status_code == 200


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01 TLS\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70_000,
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 500,
        UPGRADE,
    ],
    ids=["tls", "a long head", "half a line", "http/2", "a websocket"],
)
async def test_what_is_no_request_for_a_page_hurts_nobody(home, request_bytes):
    async with served(home) as page:
        stream = await trio.open_tcp_stream("127.0.0.1", page.port)
        await stream.send_all(request_bytes)
        await stream.send_eof()
        with trio.fail_after(30):
            try:
                while await stream.receive_some(65_536):
                    pass
            except trio.BrokenResourceError:
                pass
        await stream.aclose()
        assert (await page.client.get("/")).status_code == 200


# --- live ---------------------------------------------------------------------------------------------------------


async def events_of(lines) -> "tuple[str, str]":
    """The next event of a stream: its name and text."""
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            return name, json.loads(line[6:])
    raise AssertionError("the stream ended")


async def test_an_open_page_hears_what_the_node_does_and_that_there_are_new_runs(home, monkeypatch):
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    async with served(home) as page, page.client.stream("GET", "/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        with trio.fail_after(30):
            name, text = await events_of(lines)
            assert (name, "No node runs in" in text) == ("now", True)
            state = home.read_state()
            home.write_state(state | {"notices": [{"at": "2026-01-01T00:00:00Z", "text": "x", "warning": False}]})
            assert (await events_of(lines))[0] == "now"
            _hear_something(home)
            while (await events_of(lines))[0] != "runs":
                pass
            home.write_state(state)


def _hear_something(home: Home) -> None:
    from small_lab import BOB, BRIEF, BRIEF_ID, PeerLog

    from gossip.identity import load_or_create
    from node.events import Events
    from node.journal import Journal
    from node.notebook import Notebook

    journal = Journal(home.journal)
    notebook = Notebook(BRIEF, journal.of(BRIEF_ID), load_or_create(home.key), Events())
    assert notebook.receive(PeerLog(BOB).finding(1.8)) is None
    journal.close()


async def test_so_many_may_listen_and_a_place_is_free_when_one_goes(home, monkeypatch):
    monkeypatch.setattr(live, "MAX_LISTENERS", 2)
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    async with served(home) as page:
        async with page.client.stream("GET", "/live"), page.client.stream("GET", "/live"):
            assert (await page.client.get("/live")).status_code == 503
        with trio.fail_after(30):
            while True:
                client = httpx.AsyncClient(base_url=page.server.url, trust_env=False)
                async with client, client.stream("GET", "/live") as answer:
                    if answer.status_code == 200:
                        break
                await trio.sleep(0.05)


async def test_listening_ends_after_a_while_and_looks_are_shared(home, monkeypatch):
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(live, "LISTEN_SECONDS", 0.2)
    made = Live(Desk(home))
    async with trio.open_nursery() as nursery:
        for _ in range(3):

            async def listen_once() -> None:
                pieces = [piece async for piece in made.listen(Asked("now"))]
                assert pieces[0] == b"retry: 3000\n\n"
                assert any(piece.startswith(b"event: now") for piece in pieces)

            nursery.start_soon(listen_once)
    assert made.has_room


def test_a_text_cannot_become_a_field_of_the_stream():
    hostile = "a\n\nevent: runs\rdata: 1\u2028x"
    lines = event("now", hostile).decode().split("\n")
    assert len(lines) == 4
    assert json.loads(lines[1].removeprefix("data: ")) == hostile


async def test_the_desk_turns_away_who_comes_when_too_many_wait(home):
    desk, refused = Desk(home), 0

    async def ask() -> None:
        nonlocal refused
        try:
            await desk.ask(None, lambda sight: sight.read)
        except DeskBusy:
            refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(MAX_WAITING + 10):
            nursery.start_soon(ask)
    assert 0 < refused <= 10

"""Private swarms: the handshake over a stream in memory and over real libp2p on loopback, and who is kept out."""

import base64
import contextlib
import os
import time
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import IOException
from noise.connection import NoiseConnection

from gossip.bus import PeerUnreachable
from gossip.events import BootstrapUnreachable
from gossip.libp2p_bus import Libp2pBus
from gossip.libp2p_factory import libp2p_bus_factory
from gossip.libp2p_private import HANDSHAKE_SECONDS, PrivateStream, WrongSwarm, enter
from gossip.libp2p_tcp import MAX_AT_THE_WALL
from gossip.refusal import Answer
from tests.simworld.gossip_world import TOPIC, Node, identity, until

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
QUICK_SECONDS = 5.0


class Pipe(ReadWriteCloser):
    """One end of a stream in memory, as libp2p sees streams. Keeps what was written to it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.written = bytearray()

    async def read(self, n: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(n))

    async def write(self, data: bytes) -> None:
        self.written += data
        await self._stream.send_all(data)

    async def close(self) -> None:
        await self._stream.aclose()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None


def pipe() -> tuple[Pipe, Pipe]:
    one, two = trio.testing.memory_stream_pair()
    return Pipe(one), Pipe(two)


async def met(ours: bytes = KEY, theirs: bytes = KEY):
    """What becomes of both sides: a PrivateStream or WrongSwarm."""
    ends, came = pipe(), {}

    async def one(end: Pipe, key: bytes, dialled: bool) -> None:
        try:
            came[dialled] = await enter(end, key, dialled=dialled)
        except WrongSwarm as error:
            came[dialled] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, ends[0], ours, True)
        nursery.start_soon(one, ends[1], theirs, False)
    return came[True], came[False], ends


async def test_with_the_same_key_bytes_pass_both_ways_and_none_of_them_in_clear() -> None:
    dialled, listened, ends = await met()
    sent = os.urandom(200_000) + b"a secret" * 100
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialled.write, sent)
        got = bytearray()
        while len(got) < len(sent):
            got += await listened.read(70_000)
    assert bytes(got) == sent
    await listened.write(b"answer")
    assert await dialled.read(3) == b"ans"
    assert await dialled.read(None) == b"wer"
    assert b"a secret" not in bytes(ends[0].written)
    await dialled.close()
    assert await listened.read(1) == b""


async def test_another_key_fails_on_both_sides_at_once_and_the_listener_has_said_nothing(autojump_clock) -> None:
    dialled, listened, ends = await met(KEY, OTHER_KEY)
    assert isinstance(dialled, WrongSwarm)
    assert isinstance(listened, WrongSwarm)
    assert trio.current_time() < HANDSHAKE_SECONDS  # nothing waited
    assert bytes(ends[1].written) == b""


async def test_a_stranger_who_says_nothing_is_closed_after_seconds(autojump_clock) -> None:
    silent, ours = pipe()
    with pytest.raises(WrongSwarm):
        await enter(ours, KEY, dialled=False)
    assert trio.current_time() == pytest.approx(HANDSHAKE_SECONDS, abs=0.01)
    assert await silent.read(1) == b""


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_other_bytes_are_a_wrong_swarm_and_nothing_else(data: bytes) -> None:
    async def meet() -> None:
        for dialled in (True, False):
            stranger, ours = pipe()
            await stranger.write(data)
            await stranger._stream.send_eof()
            with pytest.raises(WrongSwarm):
                await enter(ours, KEY, dialled=dialled)

    trio.run(meet)


@given(st.binary(min_size=1, max_size=200))
@settings(deadline=None)
def test_bytes_put_into_the_connection_end_it(data: bytes) -> None:
    async def meet() -> None:
        _, listened, ends = await met()
        await ends[0].write(data)
        await ends[0]._stream.send_eof()
        with pytest.raises(IOException):
            await listened.read(100)

    trio.run(meet)


async def test_a_message_that_was_changed_or_comes_twice_ends_the_connection() -> None:
    dialled, listened, ends = await met()
    await dialled.write(b"one")
    message = bytes(ends[0].written[-21:])
    assert await listened.read(10) == b"one"
    await ends[0].write(message)
    with pytest.raises(IOException):
        await listened.read(10)


async def test_a_read_that_was_cancelled_loses_nothing() -> None:
    dialled, listened, ends = await met()
    await dialled.write(b"one")
    message = bytes(ends[0].written[-21:])
    assert await listened.read(10) == b"one"
    ends[0].written.clear()
    ends[0].write = _only_noted(ends[0])
    await dialled.write(b"two")
    message = bytes(ends[0].written)
    await ends[0]._stream.send_all(message[:7])
    with trio.move_on_after(0.02) as gave_up:
        await listened.read(10)
    assert gave_up.cancelled_caught
    await ends[0]._stream.send_all(message[7:])
    assert await listened.read(10) == b"two"


def _only_noted(end: Pipe):
    async def write(data: bytes) -> None:
        end.written += data

    return write


async def test_the_handshake_is_the_one_of_the_document() -> None:
    """docs/protocol.md, "Private swarms", spelled out with a Noise library and nothing of ours."""
    ours, theirs = pipe()
    noise = NoiseConnection.from_name(b"Noise_NNpsk0_25519_ChaChaPoly_SHA256")
    noise.set_psks(psk=KEY)
    noise.set_prologue(b"/swarm/private/1")
    noise.set_as_initiator()
    noise.start_handshake()
    entered: list[PrivateStream] = []

    async def listen() -> None:
        entered.append(await enter(ours, KEY, dialled=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await theirs.write(b"\x00\x30" + bytes(noise.write_message()))
        answer = await theirs.read(1000)
        assert answer[:2] == b"\x00\x30"
        noise.read_message(answer[2:])
    hello = noise.encrypt(b"hello")
    await theirs.write(len(hello).to_bytes(2, "big") + hello)
    assert await entered[0].read(100) == b"hello"


# --- over libp2p ---


def private_node(number: int, key: bytes | None, *, bootstrap: list[str] | None = None) -> Node:
    who = identity(number)
    factory = libp2p_bus_factory(who, TOPIC, [LOOPBACK], wall_clock=time.time, swarm_key=key)
    return Node(who, factory, bootstrap=bootstrap or [], wall_clock=time.time)


async def address_of(node: Node) -> str:
    await until(lambda: node.service.snapshot().addresses, seconds=5)
    return node.service.snapshot().addresses[0]


async def test_nodes_with_the_key_share_records_and_go_on_while_strangers_knock() -> None:
    one = private_node(1, KEY)
    async with one.running():
        bootstrap = [await address_of(one)]
        two, public, other = (
            private_node(n, key, bootstrap=bootstrap) for n, key in ((2, KEY), (3, None), (4, OTHER_KEY))
        )
        async with two.running(), public.running(), other.running():
            await until(lambda: two.service.snapshot().peers == (one.peer_id,), seconds=10)
            await until(lambda: public.said(BootstrapUnreachable) and other.said(BootstrapUnreachable), seconds=10)
            for n in range(50):
                (one, two)[n % 2].write(os.urandom(500) + bytes([n]))
            await until(lambda: len(one.store) == len(two.store) == 50, seconds=10)
            assert one.service.snapshot().peers == (two.peer_id,)
            assert not public.service.snapshot().peers
            assert not other.service.snapshot().peers
            assert len(public.store) == len(other.store) == 0


@asynccontextmanager
async def running_bus(number: int, key: bytes | None):
    def serve(peer: str, message: bytes) -> bytes:
        return message

    bus = Libp2pBus(
        identity(number), TOPIC, [LOOPBACK], lambda *_: Answer.ACCEPT, serve, wall_clock=time.time, swarm_key=key
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.run)
        yield bus
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("theirs", "ours"), [(KEY, None), (None, KEY), (KEY, OTHER_KEY)])
async def test_without_the_same_key_no_connection_comes_about_and_that_is_known_within_seconds(
    theirs: bytes | None, ours: bytes | None
) -> None:
    async with running_bus(1, theirs) as one, running_bus(2, ours) as two, running_bus(3, theirs) as friend:
        started = trio.current_time()
        with pytest.raises(PeerUnreachable):
            await two.dial(one.addresses()[0])
        assert trio.current_time() - started < QUICK_SECONDS
        assert one.connected() == two.connected() == ()
        await friend.dial(one.addresses()[0])  # and both are well
        await until(lambda: one.peers() == (friend.peer_id,), seconds=5)
        assert await friend.request(one.peer_id, b"still there") == b"still there"


async def test_private_refusals_are_counted() -> None:
    async with running_bus(1, KEY) as one, running_bus(2, OTHER_KEY) as two:
        with pytest.raises(PeerUnreachable, match="does not have the key of this private swarm"):
            await two.dial(one.addresses()[0])
        await until(lambda: one.statistics().get("private_refused") == 1, seconds=5)
        assert two.statistics()["private_not_let_in"] == 1


async def test_many_silent_strangers_do_not_keep_a_member_out_for_longer_than_seconds() -> None:
    async with running_bus(1, KEY) as one, running_bus(2, KEY) as two, contextlib.AsyncExitStack() as open_ones:
        port = int(one.addresses()[0].split("/")[4])
        for _ in range(MAX_AT_THE_WALL + 20):
            stranger = await trio.open_tcp_stream("127.0.0.1", port)
            open_ones.push_async_callback(stranger.aclose)
        await until(lambda: one.statistics().get("private_wall_full", 0) >= 20, seconds=5)

        async def inside() -> bool:
            with contextlib.suppress(PeerUnreachable):
                await two.dial(one.addresses()[0])
            return bool(two.connected())

        with trio.fail_after(HANDSHAKE_SECONDS + QUICK_SECONDS):
            while not await inside():
                await trio.sleep(0.2)


def test_the_key_does_not_show_in_what_a_ticket_says_of_itself() -> None:
    from gossip.ticket import Ticket, decode_ticket, encode_ticket

    ticket = Ticket("tiny", "ab" * 32, (), KEY)
    assert ticket.is_private
    assert decode_ticket(encode_ticket(ticket)) == ticket
    for shown in (repr(ticket), str(ticket)):
        assert repr(KEY) not in shown
        assert KEY.hex() not in shown
        assert base64.b32encode(KEY).decode() not in shown

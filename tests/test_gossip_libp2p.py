"""Nodes over real libp2p on loopback, and what strangers can throw at them."""

import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr

from gossip.bus import BusFailed, ListenError
from gossip.catchup import PROTOCOL
from gossip.events import BootstrapUnreachable, CaughtUp, PeerSpeaksAnotherVersion
from gossip.identity import Identity
from gossip.libp2p_bus import Libp2pBus
from gossip.libp2p_factory import libp2p_bus_factory
from gossip.libp2p_host import build_host, swarm_of
from gossip.libp2p_tcp import BoundTcp, bind
from gossip.refusal import Answer
from tests.simworld.gossip_world import TOPIC, Node, identity, until

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


def libp2p_node(number: int, *, bootstrap: list[str] | None = None, listen: str = LOOPBACK) -> Node:
    who = identity(number)
    return Node(
        who,
        libp2p_bus_factory(who, TOPIC, [listen], wall_clock=time.time),
        bootstrap=bootstrap or [],
        wall_clock=time.time,
    )


async def address_of(node: Node) -> str:
    await until(lambda: node.service.snapshot().addresses, seconds=5)
    return node.service.snapshot().addresses[0]


@pytest.fixture(autouse=True)
def _nothing_is_printed(capfd: pytest.CaptureFixture[str]):
    yield
    assert capfd.readouterr() == ("", "")


async def test_two_nodes_share_records_both_ways_and_a_late_joiner_gets_all_of_them() -> None:
    one = libp2p_node(1)
    async with one.running():
        bootstrap = [await address_of(one)]
        two, late = libp2p_node(2, bootstrap=bootstrap), libp2p_node(3, bootstrap=bootstrap)
        async with two.running():
            await until(lambda: one.service.snapshot().peers and two.service.snapshot().peers, seconds=10)
            for n in range(200):
                (one, two)[n % 2].write(os.urandom(500) + bytes([n]))
            await until(lambda: len(one.store) == len(two.store) == 200, seconds=15)
            async with late.running():
                await until(lambda: len(late.store) == 200, seconds=10)
                assert late.store.ids() == one.store.ids()
                await until(lambda: late.said(CaughtUp), seconds=5)
                fresh = late.write(b"hello from the late one")
                await until(lambda: fresh.id in one.store.ids() and fresh.id in two.store.ids(), seconds=10)


async def test_restarted_nodes_find_each_other_by_the_addresses_they_kept() -> None:
    one = libp2p_node(1)
    async with one.running():
        address = await address_of(one)
        two = libp2p_node(2, bootstrap=[address])
        async with two.running():
            await until(lambda: one.book.known(two.peer_id) and two.service.snapshot().peers, seconds=10)
            two_address = await address_of(two)
    one_again = libp2p_node(1, listen=address.split("/p2p/")[0])
    two_again = libp2p_node(2, listen=two_address.split("/p2p/")[0])
    for again, before in ((one_again, one), (two_again, two)):
        again.store = before.store
        again.book.load_json(before.book.to_json())
        again.fresh_service()
    async with one_again.running(), two_again.running():
        await until(lambda: one_again.service.snapshot().peers and two_again.service.snapshot().peers, seconds=10)
        for n in range(60):  # sequence numbers of broadcasts must not repeat after a restart
            two_again.write(bytes([n]))
        await until(lambda: len(one_again.store) == 60, seconds=10)


async def test_a_dead_bootstrap_is_one_clear_sentence() -> None:
    dead = f"/ip4/127.0.0.1/tcp/1/p2p/{identity(9).peer_id}"
    node = libp2p_node(1, bootstrap=[dead])
    async with node.running():
        await until(lambda: node.said(BootstrapUnreachable), seconds=5)
        assert dead in str(node.said(BootstrapUnreachable)[0])


async def test_a_port_in_use_is_one_clear_sentence() -> None:
    one = libp2p_node(1)
    async with one.running():
        taken = (await address_of(one)).split("/p2p/")[0]
        with pytest.raises(ListenError, match="port in use by another program; choose another with --listen"):
            await libp2p_node(2, listen=taken).service.run()


@pytest.mark.parametrize(
    ("listen", "says"),
    [
        ("/ip4/203.0.113.1/tcp/0", "does not have that address"),
        ("/dns4/localhost/tcp/0", "name an IP address"),
        ("nonsense", "is not an address"),
        ("/ip4/127.0.0.1/tcp/99999", "is not an address"),
    ],
)
async def test_a_wrong_listen_address_is_one_clear_sentence(listen: str, says: str) -> None:
    with pytest.raises(ListenError, match=says):
        await libp2p_node(1, listen=listen).service.run()


async def test_a_wildcard_address_is_announced_as_concrete_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossip.libp2p_bus.ip4_addresses", lambda: ("192.0.2.1", "127.0.0.1"))
    bus = Libp2pBus(identity(1), TOPIC, [], lambda p, f: Answer.ACCEPT, lambda p, m: m, wall_clock=time.time)
    bus._listening = ("/ip4/0.0.0.0/tcp/4001",)
    assert [a.split("/p2p/")[0] for a in bus.addresses()] == ["/ip4/192.0.2.1/tcp/4001", "/ip4/127.0.0.1/tcp/4001"]


async def test_an_exception_inside_libp2p_is_a_failed_bus() -> None:
    bus = Libp2pBus(identity(1), TOPIC, [LOOPBACK], lambda p, f: Answer.ACCEPT, lambda p, m: m, wall_clock=time.time)

    async def boom() -> None:
        raise RuntimeError("deep inside")

    with trio.fail_after(10), pytest.RaisesGroup(pytest.RaisesExc(BusFailed, match="deep inside")):
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.run)
            assert bus._pubsub is not None
            bus._pubsub.manager.run_task(boom)


async def test_a_restarted_bus_keeps_its_port() -> None:
    make = libp2p_bus_factory(identity(1), TOPIC, [LOOPBACK], wall_clock=time.time)
    seen: list[tuple[str, ...]] = []
    for _ in range(2):
        bus = make(lambda p, f: Answer.ACCEPT, lambda p, m: m)
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.run)
            seen.append(bus.addresses())
            nursery.cancel_scope.cancel()
    assert seen[0] == seen[1]


QUIET = """
import time, trio
from gossip.identity import Identity
from gossip.libp2p_bus import Libp2pBus
from gossip.refusal import Answer

def bus(number):
    return Libp2pBus(Identity(bytes([number]) * 32), "/swarm/1/x", ["/ip4/127.0.0.1/tcp/0"],
                     lambda p, f: Answer.ACCEPT, lambda p, m: m, wall_clock=time.time)

async def main():
    one, two, gone = bus(1), bus(2), bus(3)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        for address in (one.addresses()[0], "/ip4/127.0.0.1/tcp/1/p2p/" + gone.peer_id):
            try:
                await two.dial(address)
            except Exception:
                pass
        stream = await trio.open_tcp_stream("127.0.0.1", int(one.addresses()[0].split("/")[4]))
        await stream.send_all(b"garbage" * 100)
        with trio.fail_after(10):
            while not one.peers() or not two.peers():
                await trio.sleep(0.01)
        await stream.aclose()
        await one.publish(b"x")
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()

trio.run(main)
"""


async def test_nothing_is_printed_in_a_plain_program() -> None:
    """Outside pytest, whose log capture would hide what the library logs."""
    ran = await trio.run_process([sys.executable, "-c", QUIET], capture_stdout=True, capture_stderr=True)
    assert (ran.stdout, ran.stderr) == (b"", b"")


# --- strangers ---


@asynccontextmanager
async def stranger(target: str, protocols: Mapping[str, Callable[[INetStream], Awaitable[None]]] | None = None):
    """A libp2p host that is connected to `target` and speaks none of our protocols until told to."""
    bound = await bind([LOOPBACK])
    tcp = BoundTcp(bound)
    async with trio.open_nursery() as nursery:
        tcp.nursery = nursery
        host = build_host(Identity(os.urandom(32)).seed, tcp, list)
        for protocol, serve in (protocols or {}).items():
            host.set_stream_handler(TProtocol(protocol), serve)
        async with host.run(listen_addrs=[Multiaddr(address) for address in bound]):
            await swarm_of(host).dial_addr(Multiaddr(target), ID.from_base58(target.rsplit("/", 1)[1]))
            yield host
        nursery.cancel_scope.cancel()
    tcp.close_sockets()


def framed(data: bytes) -> bytes:
    return encode_varint_prefixed(data)


def undecodable_key() -> bytes:
    message = rpc_pb2.Message(
        data=b"x", topicIDs=[TOPIC], from_id=b"\x12\x20" + bytes(32), seqno=b"1", key=b"?", signature=b"?"
    )
    return framed(rpc_pb2.RPC(publish=[message]).SerializeToString())


def control(**fields: object) -> bytes:
    return framed(rpc_pb2.RPC(control=rpc_pb2.ControlMessage(**fields)).SerializeToString())


HOSTILE_RPCS: dict[str, bytes] = {
    "random bytes": os.urandom(200),
    "framed random bytes": framed(b"\xff" * 100),
    "varint that never ends": b"\xff" * 20,
    "2^62 bytes announced": b"\x80\x80\x80\x80\x80\x80\x80\x80\x40",
    "cut short": framed(bytes(100))[:50],
    "key that does not decode": undecodable_key(),
    "bad peer record": framed(rpc_pb2.RPC(senderRecord=b"garbage").SerializeToString()),
    "unsigned message": framed(
        rpc_pb2.RPC(
            publish=[rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=b"y", seqno=b"1")]
        ).SerializeToString()
    ),
    "message without anything": framed(rpc_pb2.RPC(publish=[rpc_pb2.Message(topicIDs=[TOPIC])]).SerializeToString()),
    "thousands of grafts": control(graft=[rpc_pb2.ControlGraft(topicID=f"t{n}") for n in range(2000)]),
    "thousands of ihaves": control(ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=[b"\xff" * 20] * 3000)]),
    "thousands of subscriptions": framed(
        rpc_pb2.RPC(
            subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"t{n}") for n in range(6000)]
        ).SerializeToString()
    ),
}


async def sent_on(host: IHost, peer: str, protocol: str, data: bytes) -> None:
    stream = await host.new_stream(ID.from_base58(peer), [TProtocol(protocol)])
    await stream.write(data)
    await trio.sleep(0.05)


async def still_works(one: Node, two: Node) -> None:
    record = one.write(os.urandom(20))
    await until(lambda: record.id in two.store.ids(), seconds=10)
    assert not [event for event in (*one.events, *two.events) if "stopped" in str(event)]


@asynccontextmanager
async def pair():
    one = libp2p_node(1)
    async with one.running():
        two = libp2p_node(2, bootstrap=[await address_of(one)])
        async with two.running():
            await until(lambda: one.service.snapshot().peers and two.service.snapshot().peers, seconds=10)
            yield one, two


async def test_hostile_rpcs_stop_nobody() -> None:
    async with pair() as (one, two):
        target = await address_of(one)
        for data in HOSTILE_RPCS.values():
            async with stranger(target) as host:
                await sent_on(host, one.peer_id, "/meshsub/1.1.0", data)
        await still_works(two, one)
        await still_works(one, two)
        assert one.service.snapshot().counters["bus.survived_pubsub_stream"] >= 1
        assert one.service.snapshot().counters["bus.survived_pubsub_message"] >= 1


async def test_hostile_catch_up_requests_stop_nobody() -> None:
    async with pair() as (one, two):
        async with stranger(await address_of(one)) as host:
            for data in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x05garba", b"\x00", os.urandom(64), b"\x00\x00\x00\x00"):
                await sent_on(host, one.peer_id, PROTOCOL, data)
        await still_works(one, two)


async def test_raw_garbage_on_the_port_stops_nobody() -> None:
    async with pair() as (one, two):
        port = int((await address_of(one)).split("/")[4])
        idle = []
        for data in (os.urandom(500), b"GET / HTTP/1.1\r\n\r\n", b"\x13/multistream/1.0.0\n" + os.urandom(100), b""):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            if data:
                await stream.send_all(data)
            idle.append(stream)
        await still_works(one, two)
        for stream in idle:
            await stream.aclose()


async def test_inbound_slots_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossip.libp2p_hardening.MAX_HANDSHAKES", 2)
    one = libp2p_node(1)
    async with one.running():
        target = await address_of(one)
        for _ in range(6):
            async with stranger(target) as host:
                assert host.get_connected_peers()
        assert "bus.survived_handshakes_full" not in one.service.snapshot().counters


async def test_plaintext_is_not_spoken() -> None:
    one = libp2p_node(1)
    async with one.running():
        port = int((await address_of(one)).split("/")[4])
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(b"\x13/multistream/1.0.0\n" + b"\x11/plaintext/2.0.0\n")
            heard = b""
            with trio.fail_after(5):
                while b"na\n" not in heard and b"/plaintext" not in heard:
                    heard += await stream.receive_some()
            assert b"na\n" in heard


async def test_a_raising_validator_does_not_end_the_bus() -> None:
    def deliver(peer: str, frame: bytes) -> Answer:
        raise ValueError(frame)

    def make(number: int, hook: Callable[[str, bytes], Answer]) -> Libp2pBus:
        return Libp2pBus(identity(number), TOPIC, [LOOPBACK], hook, lambda p, m: m, wall_clock=time.time)

    one, two = make(1, deliver), make(2, lambda p, f: Answer.ACCEPT)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        await two.dial(one.addresses()[0])
        await until(lambda: one.peers() and two.peers(), seconds=5)
        await trio.sleep(0.1)
        await two.publish(b"x")
        await until(lambda: one.statistics().get("deliver_failed") == 1, seconds=5)
        assert one.peers() == (two.peer_id,)
        nursery.cancel_scope.cancel()


async def test_a_peer_of_another_version_is_mentioned_once() -> None:
    async def ignore(stream: INetStream) -> None:
        return

    one = libp2p_node(1)
    async with one.running():
        target = await address_of(one)
        async with stranger(target, {"/swarm/catchup/2": ignore}):
            await until(lambda: one.said(PeerSpeaksAnotherVersion), seconds=10)
            assert "/swarm/catchup/2" in str(one.said(PeerSpeaksAnotherVersion)[0])

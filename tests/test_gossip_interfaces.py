"""The machine's own addresses, IPv6 beside IPv4, and addresses that change while a bus runs."""

import ipaddress
import shutil
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from libp2p.peer.id import ID

from gossip.interfaces import has_ip6, ip4_addresses, ip6_addresses
from gossip.libp2p_bus import Libp2pBus
from gossip.libp2p_hardening import MAX_ADDRESSES_OF_A_PEER
from gossip.libp2p_tcp import bind
from gossip.refusal import Answer
from tests.simworld.gossip_world import TOPIC, identity, until


class Listed(NamedTuple):
    family: int
    address: str


needs_ip6 = pytest.mark.skipif(not has_ip6(), reason="this machine has no IPv6, not even ::1")


def test_this_machine_has_at_least_loopback_and_it_comes_last() -> None:
    assert ip4_addresses()[-1] == "127.0.0.1"
    assert ip6_addresses()[-1] == "::1"
    assert all(ipaddress.ip_address(host).version == 6 for host in ip6_addresses())


def test_those_that_everyone_can_reach_come_first_and_link_local_ip6_not_at_all(monkeypatch) -> None:
    listed = {
        "lo": [Listed(socket.AF_INET, "127.0.0.1"), Listed(socket.AF_INET6, "::1")],
        "eth0": [
            Listed(socket.AF_INET, "169.254.1.1"),
            Listed(socket.AF_INET, "10.0.0.5"),
            Listed(socket.AF_INET, "8.8.8.8"),
            Listed(socket.AF_INET6, "fe80::1%eth0"),
            Listed(socket.AF_INET6, "fd00::1"),
            Listed(socket.AF_INET6, "2a00:1450::1"),
            Listed(-1, "00:11:22:33:44:55"),
        ],
    }
    monkeypatch.setattr("gossip.interfaces.psutil.net_if_addrs", lambda: listed)
    assert ip4_addresses() == ("8.8.8.8", "10.0.0.5", "169.254.1.1", "127.0.0.1")
    assert ip6_addresses() == ("2a00:1450::1", "fd00::1", "::1")


def test_a_machine_with_hundreds_of_addresses_tells_a_few_and_loopback(monkeypatch) -> None:
    many = [Listed(socket.AF_INET, f"10.0.{n // 250}.{1 + n % 250}") for n in range(600)]
    monkeypatch.setattr("gossip.interfaces.psutil.net_if_addrs", lambda: {"eth0": many})
    assert len(ip4_addresses()) == 17
    assert ip4_addresses()[-1] == "127.0.0.1"


# --- buses ---


@asynccontextmanager
async def running_bus(number: int, *listen: str):
    bus = Libp2pBus(
        identity(number), TOPIC, listen, lambda *_: Answer.ACCEPT, lambda _, message: message, wall_clock=time.time
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.run)
        yield bus
        nursery.cancel_scope.cancel()


@needs_ip6
async def test_both_families_listen_on_one_port_and_can_be_dialled() -> None:
    async with running_bus(1, "/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0") as one:
        ports = {listening.split("/")[4] for listening in one.listening}
        assert len(ports) == 1
        (port,) = ports
        told = [address.split("/p2p/")[0] for address in one.addresses()]
        assert f"/ip4/127.0.0.1/tcp/{port}" in told
        assert f"/ip6/::1/tcp/{port}" in told
        assert not any("fe80" in address or "/::/" in address for address in told)
        for number, host in ((2, "ip4/127.0.0.1"), (3, "ip6/::1")):
            async with running_bus(number, "/ip4/127.0.0.1/tcp/0") as two:
                await two.dial(f"/{host}/tcp/{port}/p2p/{one.peer_id}")
                await until(lambda bus=two: bus.peers() == (one.peer_id,), seconds=5)
                assert await two.request(one.peer_id, b"hello") == b"hello"


@needs_ip6
async def test_a_node_on_ip6_alone_is_heard_and_dialled_back() -> None:
    async with running_bus(1, "/ip6/0:0:0:0::1/tcp/0") as one, running_bus(2, "/ip6/::1/tcp/0") as two:
        assert one.addresses()[0].startswith("/ip6/::1/tcp/")
        await two.dial(one.addresses()[0])
        await until(lambda: one.peers() == (two.peer_id,), seconds=5)
        await until(lambda: two.addresses()[0] in one.peer_addresses(two.peer_id), seconds=5)


@needs_ip6
async def test_a_port_that_is_taken_in_the_other_family_means_another_port_there() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("::1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        bound = await bind([f"/ip4/127.0.0.1/tcp/{port}", "/ip6/::1/tcp/0"])
        for listener in bound.values():
            await listener.aclose()
    assert [address.split("/")[4] == str(port) for address in bound] == [True, False]


async def test_new_addresses_are_told_to_peers_and_replace_the_old_ones(monkeypatch) -> None:
    monkeypatch.setattr("gossip.libp2p_bus._UPKEEP_SECONDS", 0.1)
    mine = ["192.0.2.1", "127.0.0.1"]
    monkeypatch.setattr("gossip.libp2p_bus.ip4_addresses", lambda: tuple(mine))
    async with running_bus(1, "/ip4/0.0.0.0/tcp/0") as one, running_bus(2, "/ip4/127.0.0.1/tcp/0") as two:
        port = one.listening[0].split("/")[4]

        def as_two_knows() -> set[str]:
            return {address.split("/")[2] for address in two.peer_addresses(one.peer_id)}

        await two.dial(f"/ip4/127.0.0.1/tcp/{port}/p2p/{one.peer_id}")
        await until(lambda: as_two_knows() == {"192.0.2.1", "127.0.0.1"}, seconds=5)
        mine[0] = "198.51.100.7"
        await until(lambda: as_two_knows() == {"198.51.100.7", "127.0.0.1"}, seconds=5)
        assert one.statistics()["addresses_changed"] == 1
        assert two.peers() == (one.peer_id,)


async def test_a_peer_that_tells_hundreds_of_addresses_takes_no_memory_with_them(monkeypatch) -> None:
    monkeypatch.setattr("gossip.libp2p_bus._UPKEEP_SECONDS", 0.1)
    mine = [["192.0.2.1"]]
    monkeypatch.setattr("gossip.libp2p_bus.ip4_addresses", lambda: tuple(mine[0]))
    async with running_bus(1, "/ip4/0.0.0.0/tcp/0") as one, running_bus(2, "/ip4/127.0.0.1/tcp/0") as two:
        await one.dial(two.addresses()[0])
        await until(lambda: two.peer_addresses(one.peer_id), seconds=5)
        for round_number in range(3):
            mine[0] = [f"10.{round_number}.{n // 250}.{n % 250}" for n in range(200)]
            newest = f"/10.{round_number}."
            await until(lambda newest=newest: newest in " ".join(two.peer_addresses(one.peer_id)), seconds=5)
        assert two._host is not None
        store, peer = two._host.get_peerstore(), ID.from_base58(one.peer_id)
        await until(lambda: len(store.addrs(peer)) <= MAX_ADDRESSES_OF_A_PEER, seconds=5)


MOVING = """
import subprocess, sys, time
import trio
from gossip.identity import Identity
from gossip.libp2p_bus import Libp2pBus
from gossip.refusal import Answer

def ip(*words):
    subprocess.run(["ip", *words], check=True)

def bus(number):
    return Libp2pBus(Identity(bytes([number]) * 32), "/swarm/1/test", ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"],
                     lambda *_: Answer.ACCEPT, lambda _, message: message, wall_clock=time.time)

async def until(condition):
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.05)

async def main():
    ip("link", "set", "lo", "up")
    ip("addr", "add", "10.1.0.1/32", "dev", "lo")
    one, two, three = bus(1), bus(2), bus(3)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        home = next(address for address in one.addresses() if "127.0.0.1" in address)
        await two.dial(home)
        await until(lambda: two.peers() == (one.peer_id,))
        ip("addr", "del", "10.1.0.1/32", "dev", "lo")
        ip("addr", "add", "10.2.0.1/32", "dev", "lo")
        ip("-6", "addr", "add", "fd00::7/128", "dev", "lo", "nodad")
        await until(lambda: {"10.2.0.1", "fd00::7"} <= {a.split("/")[2] for a in two.peer_addresses(one.peer_id)})
        assert not any("10.1.0.1" in address for address in two.peer_addresses(one.peer_id))
        await nursery.start(three.run)  # a third hears where the first is now, and gets there, without any restart
        for address in two.peer_addresses(one.peer_id):
            if address.split("/")[2] in ("10.2.0.1", "fd00::7"):
                await three.dial(address)
                await until(lambda: one.peer_id in three.peers())
                three.drop(one.peer_id)
                await until(lambda: not three.connected())
        print("moved")
        nursery.cancel_scope.cancel()

trio.run(main)
"""


@needs_ip6
@pytest.mark.skipif(shutil.which("unshare") is None or shutil.which("ip") is None, reason="needs unshare and ip")
def test_a_machine_that_moves_to_another_network_is_found_there_without_a_restart() -> None:
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine gives no network namespace to this user")
    done = subprocess.run(
        [*alone, sys.executable, "-c", MOVING],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert (done.returncode, done.stdout) == (0, "moved\n"), done.stderr

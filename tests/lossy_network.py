"""A network of its own for some processes: a namespace for each, and one program that carries packets between them.

Every namespace has one TUN device; the carrier reads whole IP packets from each, drops some, keeps them for a while and
writes them to the device they are addressed to. What the processes have is the kernel's own TCP on a bad line. It needs
user namespaces and /dev/net/tun, but neither rights nor `tc netem`, which is a kernel module that many machines lack.
"""

import ctypes
import fcntl
import heapq
import json
import math
import os
import random
import select
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NEW_MOUNT, NEW_USER, NEW_NET = 0x00020000, 0x10000000, 0x40000000  # linux/sched.h
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN_NO_PI = 0x1001
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C  # linux/sockios.h
IFF_UP = 1
MTU = 1500  # bytes
LIBC = ctypes.CDLL(None, use_errno=True)


class NoNamespaces(Exception):
    """This machine does not let us make a network."""


def host_of(number: int) -> str:
    """On a network of its own, where everybody reaches everybody."""
    return f"10.99.0.{number + 1}"


def public_host_of(number: int) -> str:
    """On the internet of a test, by libp2p's and our own judgement."""
    return f"185.99.0.{number + 1}"


def hidden_host_of(number: int) -> str:
    """Behind a NAT whose outside is public_host_of(number)."""
    return f"172.16.0.{number + 1}"


@dataclass
class Line:
    """How packets fare. `groups`: who reaches whom, by number; None: everybody everybody."""

    delay_seconds: float = 0.0  # one way
    loss: float = 0.0  # share of packets
    groups: list[list[int]] | None = None
    moves_ports: bool = False  # NATs give every way out a port of its own: nobody can know it beforehand
    worse: dict[str, tuple[float, float, float]] = field(default_factory=dict[str, tuple[float, float, float]])
    """Hosts on a worse line, by number: more seconds of delay, more loss, bytes a second."""

    def of_host(self, number: int) -> tuple[float, float, float]:
        return self.worse.get(str(number), (0.0, 0.0, math.inf))

    def connects(self, one: int, other: int) -> bool:
        return self.groups is None or any(one in group and other in group for group in self.groups)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise NoNamespaces(f"{what}: {os.strerror(ctypes.get_errno())}")


def own_user_namespace(others: int = 0) -> None:
    """From here on this process may do in its namespaces what root may. It must not have started a thread. Raises
    NoNamespaces."""
    user, group = os.getuid(), os.getgid()
    _check(LIBC.unshare(NEW_USER | others), "no user namespace")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError as error:
            raise NoNamespaces(f"{name} of a user namespace: {error.strerror}") from None


def mount_small_disks(disks: Mapping[str, int]) -> None:
    """An empty disk of so many bytes, in memory, at each of these folders, for this process and whom it starts.
    Raises NoNamespaces."""
    _check(LIBC.unshare(NEW_MOUNT), "no mount namespace")
    for folder, octets in disks.items():
        os.makedirs(folder, exist_ok=True)
        _check(LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={octets}".encode()), "no tmpfs")


def make_namespaces(hosts: Sequence[str]) -> tuple[list[int], list[int]]:
    """(namespaces, TUN devices) of hosts by their IPv4 addresses, as file descriptors. The caller is in the last one
    from here on, and must not have started a thread. Raises NoNamespaces."""
    own_user_namespace(NEW_NET)
    namespaces: list[int] = []
    devices: list[int] = []
    for host in hosts:
        _check(LIBC.unshare(NEW_NET), "no network namespace")
        try:
            devices.append(_device(host))
        except OSError as error:
            raise NoNamespaces(f"no TUN device: {error.strerror}") from None
        namespaces.append(os.open("/proc/self/ns/net", os.O_RDONLY))
    return namespaces, devices


def enter(namespace: int) -> None:
    _check(LIBC.setns(namespace, NEW_NET), "cannot enter a network namespace")


def _netmask_of(host: str) -> str:
    """The upper half of all addresses is one network to whoever is in it: the public ones, and those behind NATs."""
    return "128.0.0.0" if int(host.split(".")[0]) >= 128 else "255.255.255.0"


def _device(host: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
        for request, address in ((SIOCSIFADDR, host), (SIOCSIFNETMASK, _netmask_of(host))):
            fcntl.ioctl(ask, request, struct.pack("16sHH4s8x", b"tun0", socket.AF_INET, 0, socket.inet_aton(address)))
        for name in (b"lo", b"tun0"):
            flags = struct.unpack("16sH22x", fcntl.ioctl(ask, SIOCGIFFLAGS, struct.pack("16sH22x", name, 0)))[1]
            fcntl.ioctl(ask, SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | IFF_UP))
    return device


@dataclass
class Nat:
    """Of one host. Lets in only what answers: from an address and port that its host has written to from there."""

    hidden: bytes
    public: bytes
    _way_out: dict[tuple[int, bytes, int], int] = field(default_factory=dict[tuple[int, bytes, int], int])
    _way_in: dict[tuple[int, bytes, int], int] = field(default_factory=dict[tuple[int, bytes, int], int])

    def out(self, packet: bytes, *, moves_ports: bool) -> bytes:
        at = 4 * (packet[0] & 15)
        inner, there = struct.unpack_from(">HH", packet, at)
        way = (inner, packet[16:20], there)
        outer = self._way_out.setdefault(way, 20000 + len(self._way_out) if moves_ports else inner)
        self._way_in[outer, packet[16:20], there] = inner
        return _readdressed(packet, 12, self.public, at, outer)

    def back(self, packet: bytes) -> bytes | None:
        at = 4 * (packet[0] & 15)
        there, outer = struct.unpack_from(">HH", packet, at)
        inner = self._way_in.get((outer, packet[12:16], there))
        return None if inner is None else _readdressed(packet, 16, self.hidden, at + 2, inner)


def _readdressed(packet: bytes, address_at: int, address: bytes, port_at: int, port: int) -> bytes:
    """With sums that fit again. TCP only; its pseudo-header holds the addresses, too."""
    changed = bytearray(packet)
    changed[address_at : address_at + 4] = address
    struct.pack_into(">H", changed, port_at, port)
    header = 4 * (packet[0] & 15)
    changed[10:12] = b"\0\0"
    changed[10:12] = _sum(bytes(changed[:header]))
    changed[header + 16 : header + 18] = b"\0\0"
    pseudo = bytes(changed[12:20]) + struct.pack(">HH", socket.IPPROTO_TCP, len(changed) - header)
    changed[header + 16 : header + 18] = _sum(pseudo + bytes(changed[header:]))
    return bytes(changed)


def _sum(octets: bytes) -> bytes:
    """RFC 1071."""
    words = struct.unpack(f">{(len(octets) + 1) // 2}H", octets + b"\0" * (len(octets) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)


@dataclass
class Carrier:
    """Between the devices. Answers each order on `orders`, JSON of a Line, when it is in force; ends with it."""

    hosts: Sequence[str]  # addresses, in the order of the devices; a hidden one gets a NAT
    devices: list[int]
    orders: socket.socket
    rng: random.Random
    line: Line = field(default_factory=Line)
    _under_way: list[tuple[float, int, int, bytes]] = field(default_factory=list[tuple[float, int, int, bytes]])
    _number: int = 0
    _busy_until: dict[int, float] = field(default_factory=dict[int, float])  # the line of a host

    def __post_init__(self) -> None:
        self._at = {socket.inet_aton(host): number for number, host in enumerate(self.hosts)}
        self._nats: dict[int, Nat] = {}
        for number, host in enumerate(self.hosts):
            if host == hidden_host_of(number):
                hidden, public = socket.inet_aton(host), socket.inet_aton(public_host_of(number))
                self._nats[number] = Nat(hidden, public)
                self._at[public] = self._at.pop(hidden)

    def run(self) -> None:
        self._wait = select.poll()
        for file in (self.orders.fileno(), *self.devices):
            self._wait.register(file, select.POLLIN)
        while True:
            patience = None if not self._under_way else max(0.0, self._under_way[0][0] - time.monotonic())
            for file, _ in self._wait.poll(None if patience is None else 1000 * patience + 1):
                if file != self.orders.fileno():
                    self._take(file)
                elif not self._obey():
                    return
            self._hand_over()

    def _obey(self) -> bool:
        order = self.orders.recv(65536)
        if not order:
            return False
        self.line = Line(**json.loads(order))
        self.orders.send(b"done")
        return True

    def _take(self, device: int) -> None:
        sender = self.devices.index(device)
        while True:
            try:
                packet = os.read(device, MTU)
            except BlockingIOError:
                return
            if packet[0] >> 4 != 4:
                continue
            if sender in self._nats:
                if packet[9] != socket.IPPROTO_TCP:
                    continue
                packet = self._nats[sender].out(packet, moves_ports=self.line.moves_ports)
            receiver = self._at.get(packet[16:20])
            if receiver is not None and self.line.connects(sender, receiver):
                self._send(sender, receiver, packet)

    def _send(self, sender: int, receiver: int, packet: bytes) -> None:
        due, kept = time.monotonic() + self.line.delay_seconds, 1 - self.line.loss
        for host in (sender, receiver):
            delay_seconds, loss, rate = self.line.of_host(host)
            free_at = max(time.monotonic(), self._busy_until.get(host, 0.0)) + len(packet) / rate
            self._busy_until[host] = free_at
            due, kept = max(due, free_at) + delay_seconds, kept * (1 - loss)
        if self.rng.random() < kept:
            self._number += 1
            heapq.heappush(self._under_way, (due, self._number, receiver, packet))

    def _hand_over(self) -> None:
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            *_, receiver, packet = heapq.heappop(self._under_way)
            if receiver in self._nats:
                let_in = self._nats[receiver].back(packet)
                if let_in is None:
                    continue
                packet = let_in
            try:
                os.write(self.devices[receiver], packet)
            except OSError:  # its queue is full: one more packet lost
                continue

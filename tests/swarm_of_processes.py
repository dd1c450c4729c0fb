"""A swarm whose every peer is a process (peer_process): started, killed, cut off and brought back by a test.

Waits end when the awaited thing has happened; PATIENCE_SECONDS only bounds a failure.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import trio
from samples import make_brief

from swarm.brief import encode_brief
from tests.lossy_network import Line, host_of

PROGRAM = Path(__file__).with_name("peer_process.py")
PATIENCE_SECONDS = 120.0
SMALL_BRIEF = encode_brief(make_brief())


class NoNetwork(Exception):
    """This machine does not let us make namespaces, for a network or for disks. The text says why."""


@dataclass
class Peer:
    """One process, and what it has said. `ids`: of the findings it has."""

    name: str
    host: int | None
    pid: int
    stdin: trio.lowlevel.FdStream
    known: tuple[str, ...] = ()  # addresses it was given
    peer_id: str = ""
    address: str = ""
    peers: tuple[str, ...] = ()
    ids: set[str] = field(default_factory=set[str])
    kept: dict[str, float] = field(default_factory=dict[str, float])  # its own: when it was in the journal
    improved: set[str] = field(default_factory=set[str])  # of its own
    unkept: int = 0  # findings that a full disk did not take
    full: bool = False  # its disk, as it was told
    got: dict[str, float] = field(default_factory=dict[str, float])  # others': when it was
    met_at: float | None = None  # when it first had a peer
    notices: list[str] = field(default_factory=list[str])
    states: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    alive: bool = True
    changed: trio.Event = field(default_factory=trio.Event)

    async def listen(self, stdout: trio.lowlevel.FdStream) -> None:
        rest = b""
        async for chunk in stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.hear(json.loads(line))
            self.wake()
        self.alive = False
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def hear(self, said: dict[str, Any]) -> None:
        match said:
            case {"peer": peer, "ids": ids}:
                self.peer_id = peer
                self.ids.update(ids)
            case {"address": address}:
                self.address = address
            case {"peers": peers, "at": at}:
                self.peers = tuple(peers)
                if peers and self.met_at is None:
                    self.met_at = at
            case {"kept": id, "at": at}:
                self.kept[id] = at
                self.ids.add(id)
                if said.get("improved"):
                    self.improved.add(id)
            case {"unkept": _}:
                self.unkept += 1
            case {"full": full}:
                self.full = full
            case {"got": id, "at": at}:
                self.got[id] = at
                self.ids.add(id)
            case {"notice": text}:
                self.notices.append(text)
            case {"state": state}:
                self.states.append(state)
            case _:
                raise AssertionError(f"{self.name} said {said}")

    async def until(self, holds: Callable[["Peer"], object], what: str) -> None:
        with trio.move_on_after(PATIENCE_SECONDS):
            while not holds(self):
                assert self.alive, f"{self.name} ended before: {what}; it said {self.notices}"
                await self.changed.wait()
            return
        raise AssertionError(
            f"{self.name}: not within {PATIENCE_SECONDS:.0f} s: {what}; {len(self.ids)} findings, "
            f"{len(self.peers)} peers, it said {self.notices}"
        )

    async def tell(self, order: str) -> None:
        await self.stdin.send_all(f"{order}\n".encode())

    async def publish(self, count: int = 1) -> list[str]:
        """Ids of new findings, when they are in its journal."""
        before = set(self.kept)
        await self.tell(f"publish {count}")
        await self.until(lambda p: len(p.kept) >= len(before) + count, f"{count} findings of its own")
        return [id for id in self.kept if id not in before]

    async def state(self) -> dict[str, Any]:
        """What is on its disk and in its ledger now."""
        asked = len(self.states)
        await self.tell("state")
        await self.until(lambda p: len(p.states) > asked, "its state")
        return self.states[-1]

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        await self._gone()

    def pause(self) -> None:
        """SIGSTOP: to the others, a machine that hangs. Needs `resume` or `kill`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def set_disk(self, *, full: bool) -> None:
        await self.tell("fill" if full else "empty")
        await self.until(lambda p: p.full is full, "a disk that is full" if full else "room on its disk")

    async def leave(self) -> None:
        """As with Ctrl-C: it writes down what it knows of others."""
        await self.stdin.aclose()
        await self._gone()

    async def _gone(self) -> None:
        with trio.fail_after(PATIENCE_SECONDS):
            while self.alive:
                await self.changed.wait()
        await self.stdin.aclose()


PeerKind = TypeVar("PeerKind", bound=Peer)


class ProcessSwarm:
    def __init__(
        self, folder: Path, control: trio.socket.SocketType, nursery: trio.Nursery, hosts: Sequence[str], pid: int
    ) -> None:
        self.folder = folder
        self.pid = pid  # the parent of all peers, and of what they leave behind
        self.hosts = tuple(hosts)
        self.peers: dict[str, Peer] = {}
        self._control = control
        self._nursery = nursery
        self._lock = trio.Lock()

    def home(self, name: str) -> Path:
        return self.folder / name

    async def start(
        self, name: str, known: Sequence[str] | None = None, *, wrong_by: float = 0.0, host: int | None = None
    ) -> Peer:
        """A peer that listens. A name that was used before: the same home, host, address, and `known` if not given."""
        before = self.peers.get(name)
        assert before is None or not before.alive, f"{name} is running"
        known = known if known is not None else before.known if before is not None else ()
        if before is not None or not self.hosts:
            host = before.host if before is not None else None
        else:
            host = len(self.peers) if host is None else host
        peer = self.peers[name] = await self._spawn(name, host, before, known, wrong_by)
        await peer.until(lambda p: p.peer_id and p.address, "an address")
        return peer

    async def grow(self, count: int, known_each: int = 3) -> list[Peer]:
        """Peers 0 to count - 1, each told where some before it listen; all connected with somebody."""
        for number in range(count):
            known = [peer.address for peer in self.peers.values()]
            await self.start(str(number), known[-known_each:] if number > known_each else known)
        peers = list(self.peers.values())
        await each(peers, lambda p: len(p.peers) >= min(known_each, count - 1), "peers")
        return peers

    async def line(self, line: Line) -> None:
        """How packets fare from here on; needs hosts."""
        await self._order({"line": asdict(line)})

    def running(self) -> list[Peer]:
        return [peer for peer in self.peers.values() if peer.alive]

    async def _spawn(
        self, name: str, host: int | None, before: Peer | None, known: Sequence[str], wrong_by: float
    ) -> Peer:
        listen = "/ip4/127.0.0.1/tcp/0" if host is None else f"/ip4/{self.hosts[host]}/tcp/4001"
        if before is not None and before.address:
            listen = before.address.split("/p2p/")[0]
        order = {
            "home": str(self.home(name)),
            "brief": str(self.folder / "brief"),
            "listen": listen,
            "known": list(known),
            "wrong_by": wrong_by,
            "host": host,
            "program": [],
        }
        return await self.fork(order, lambda pid, stdin: Peer(name, host, pid, stdin, tuple(known)))

    async def fork(
        self, order: dict[str, object], make: Callable[[int, trio.lowlevel.FdStream], "PeerKind"]
    ) -> "PeerKind":
        """A process by an order of peer_process, listened to. `make` is given its pid and standard input."""
        their_in, our_out = os.pipe()
        our_in, their_out = os.pipe()
        pid = int(await self._order(order, [their_in, their_out]))
        for file in (their_in, their_out):
            os.close(file)
        peer = make(pid, trio.lowlevel.FdStream(our_out))
        self._nursery.start_soon(self._listen, peer, trio.lowlevel.FdStream(our_in))
        return peer

    async def _listen(self, peer: Peer, stdout: trio.lowlevel.FdStream) -> None:
        async with stdout:
            await peer.listen(stdout)

    async def _order(self, order: dict[str, object], files: Collection[int] = ()) -> bytes:
        message = json.dumps(order).encode()
        async with self._lock:
            if files:
                ancillary = [
                    (socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(f.to_bytes(4, sys.byteorder) for f in files))
                ]
                await self._control.sendmsg([message], ancillary)
            else:
                await self._control.send(message)
            return await self._control.recv(1024)


async def each(peers: Iterable[Peer], holds: Callable[[Peer], object], what: str) -> None:
    for peer in peers:
        await peer.until(holds, what)


async def all_have(peers: Iterable[Peer], ids: Collection[str]) -> None:
    wanted = frozenset(ids)
    await each(peers, lambda p: p.ids >= wanted, f"all of {len(wanted)} findings")


async def check_equal(peers: Iterable[Peer], ids: Collection[str]) -> None:
    """On every disk exactly these findings, and the same ledger made of them."""
    states = [await peer.state() for peer in peers]
    assert all(state["ids"] == sorted(ids) for state in states), [len(state["ids"]) for state in states]
    assert len({state["ledger"] for state in states}) == 1, "ledgers differ"


def _environment() -> dict[str, str]:
    """Without a language model that whoever runs this may have configured."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "SWARM_"))}
    return mine | {"OPENBLAS_NUM_THREADS": "1"}


@asynccontextmanager
async def process_swarm(
    folder: Path,
    *,
    hosts: int | Sequence[str] = 0,
    disks: Mapping[str, int] | None = None,
    brief: bytes = SMALL_BRIEF,
) -> AsyncGenerator[ProcessSwarm]:
    """Nothing outlives it. `hosts`: each peer in a network namespace of its own, with these addresses or so many on one
    network. `disks`: names whose home is a disk of its own, of so many bytes. Raises NoNetwork."""
    hosts = [host_of(number) for number in range(hosts)] if isinstance(hosts, int) else list(hosts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "brief").write_bytes(brief)
    ours, theirs = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    places = {"hosts": hosts, "disks": {str(folder / name): size for name, size in (disks or {}).items()}}
    command = [sys.executable, str(PROGRAM), str(theirs.fileno()), json.dumps(places)]
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for whoever runs the swarm, who then ends it
        )
        theirs.close()
        try:
            with trio.fail_after(PATIENCE_SECONDS):
                greeting = (await ours.recv(1024)).decode()
            if greeting.startswith("unable: "):
                raise NoNetwork(greeting.removeprefix("unable: "))
            assert greeting == "ready", f"{PROGRAM.name} did not start"
            swarm = ProcessSwarm(folder, ours, nursery, hosts, process.pid)
            yield swarm
        finally:
            ours.close()
            with trio.CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            nursery.cancel_scope.cancel()

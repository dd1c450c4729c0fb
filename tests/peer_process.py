"""Peers that do not train, each a process of its own: a node's identity, journal, ledger and network, on orders.

    python tests/peer_process.py CONTROL PLACES

Importing takes a second, so this program does it once and forks for each order that comes on the socket with the file
descriptor CONTROL. PLACES is JSON: "hosts", the addresses of hosts that each get a network namespace, and "disks",
folders that get a small disk of their own, with their sizes (lossy_network). An order with a "program" becomes that
program instead of a peer. All end with whoever holds the other end, and whatever a peer leaves behind becomes a child
of this process. What a peer is told on standard input, and what it says on standard output, is in PeerProcess below.
"""

import ctypes
import hashlib
import json
import os
import random
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tests import lossy_network  # noqa: E402

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
FLOOD_BYTES = 1000  # of a record's payload
BALLAST = "ballast"  # the file that fills a disk
FIRST_BPB, STEP_BPB = 20.0, 0.2  # improvements of a peer: where they begin, and what each gains


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps({**fields, "at": time.monotonic()}) + "\n")
    sys.stdout.flush()


class PeerProcess:
    """Lines on standard input: `publish N`, `improve` (on its own best), `flood N` records that say nothing, `state`,
    `fill` and `empty` its disk, `clock SECONDS` (wrong by so much from now on); its end is ours.

    Lines on standard output, JSON: {"peer", "ids"} of the journal at the start, {"address"}, {"peers"}, {"kept": id} of
    a finding of ours that is in the journal, {"unkept"} of one that a full disk did not take, {"got": id}, {"notice"},
    {"full"} of its disk, and {"state": {"ids", "findings", "ledger",
    "counters"}}: ids are those on disk, findings those in the ledger, and "ledger" is a digest of it. "at" is the
    machine's steady clock, the same for all processes.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        from gossip.identity import load_or_create
        from node.events import Events
        from node.home import Home
        from node.journal import Journal
        from node.network import Network, NetworkSettings
        from node.notebook import Notebook
        from swarm.brief import brief_id, decode_brief

        self.true_clock, self.wrong_by = time.time, float(order["wrong_by"])
        time.time = lambda: self.true_clock() + self.wrong_by  # of everything in this process, the library included
        self.home = home = Home(Path(order["home"]))
        home.create()
        self.identity = identity = load_or_create(home.key)
        events = Events()
        events.listen(self.hear)
        brief = Path(order["brief"]).read_bytes()
        self.notebook = Notebook(decode_brief(brief), Journal(home.journal).of(brief_id(brief)), identity, events)
        settings = NetworkSettings(listen=(order["listen"],), bootstrap=tuple(order["known"]), mdns=False)
        self.network = Network(home, identity, self.notebook, settings, events)
        self.rng = random.Random()
        say(peer=identity.peer_id, ids=self.ids())

    def hear(self, event: object) -> None:
        from node.events import FindingReceived, Listening, Notice, PeersChanged

        match event:
            case Listening():
                say(address=event.addresses[0])
            case PeersChanged():
                say(peers=event.peers)
            case FindingReceived():
                say(got=event.id)
            case Notice():
                say(notice=event.text)
            case _:
                pass

    def ids(self) -> list[str]:
        return sorted(record.id for record in self.notebook.journal.records())

    def publish(self) -> None:
        from samples import make_finding

        number, rate = self.notebook.next_number(), self.rng.uniform(1e-4, 1e-2)
        finding = make_finding(self.notebook.brief, number, 1 + self.rng.random(), learning_rate=rate)
        say(kept=self.notebook.append_own(self.notebook.seal(finding), "c" * 40).id)

    def improve(self) -> None:
        """On what it found last: what others are told at once in a swarm of any size."""
        from samples import make_finding

        own = self.notebook.own()
        parent = next((entry for entry in reversed(own) if entry.finding.verdict.decision.value == "keep"), None)
        bpb = FIRST_BPB if parent is None or parent.val_bpb is None else parent.val_bpb - STEP_BPB
        rate = self.rng.uniform(1e-4, 1e-2)
        made = make_finding(self.notebook.brief, self.notebook.next_number(), bpb, parent, learning_rate=rate)
        say(kept=self.notebook.append_own(self.notebook.seal(made), "c" * 40).id, improved=True)

    async def flood(self, count: int) -> None:
        """As node/simulation/adversaries.py does it."""
        import trio

        from gossip.envelope import seal

        journal, me = self.notebook.journal, self.identity.peer_id
        for _ in range(count):
            seq, previous = journal.last(me)
            payload = f"{seq}".encode().ljust(FLOOD_BYTES)
            record = seal(self.identity, "note", journal.brief, seq + 1, previous, int(1000 * time.time()), payload)
            journal.append(record, received=time.time(), own=True)
            self.network._service.announce()
            await trio.lowlevel.checkpoint()

    def fill(self) -> None:
        """Until the last byte."""
        with suppress(OSError), (self.home.path / BALLAST).open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def state(self) -> dict[str, object]:
        ledger = self.notebook.ledger
        lines = sorted(f"{entry.id} {ledger.standing(entry).value}" for entry in ledger.entries())
        counters = self.network._service.snapshot().counters
        return {
            "ids": self.ids(),
            "findings": sorted(entry.id for entry in ledger.entries()),
            "ledger": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            "counters": counters,
        }

    async def run(self) -> None:
        import trio

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.network.run)
            await self.obey()
            nursery.cancel_scope.cancel()

    async def obey(self) -> None:
        import trio

        from node.journal import JournalError

        async for line in trio.wrap_file(sys.stdin):
            word, _, number = line.strip().partition(" ")
            if word in ("publish", "improve"):
                for _ in range(int(number or 1)):
                    try:
                        self.publish() if word == "publish" else self.improve()
                    except JournalError as error:  # a full disk: nothing was found
                        say(unkept=str(error))
                    await trio.lowlevel.checkpoint()
            elif word == "flood":
                await self.flood(int(number))
            elif word == "fill":
                self.fill()
                say(full=True)
            elif word == "empty":
                (self.home.path / BALLAST).unlink(missing_ok=True)
                say(full=False)
            elif word == "state":
                say(state=self.state())
            elif word == "clock":
                self.wrong_by = float(number)
            else:
                raise AssertionError(f"no such order: {line!r}")


def become_peer(order: dict[str, Any], stdin: int, stdout: int, namespaces: list[int]) -> None:
    import trio

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    if order["host"] is not None:
        lossy_network.enter(namespaces[order["host"]])
    if order["program"]:
        errors = os.open(order["errors"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        os.dup2(errors, 2)
    os.closerange(3, 256)
    if order["program"]:
        os.execv(order["program"][0], order["program"])
    random.seed()  # the library's choices; else every peer makes the same
    trio.run(PeerProcess(order).run)


def start_carrier(hosts: list[str], devices: list[int], control: socket.socket) -> socket.socket:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        control.close()
        here.close()
        lossy_network.Carrier(hosts, devices, there, random.Random(1)).run()
        os._exit(0)
    there.close()
    return here


def serve(control: socket.socket, namespaces: list[int], carrier: socket.socket | None) -> None:
    while True:
        message, files, _, _ = socket.recv_fds(control, 1 << 20, 2)
        if not message:
            return
        order = json.loads(message)
        if "line" in order:
            assert carrier is not None
            carrier.send(json.dumps(order["line"]).encode())
            control.send(carrier.recv(64))
            continue
        pid = os.fork()
        if pid == 0:
            try:
                become_peer(order, *files, namespaces)
            except BaseException:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            finally:
                os._exit(1)
        for file in files:
            os.close(file)
        control.send(str(pid).encode())


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    control.setblocking(True)
    places = json.loads(sys.argv[2])
    hosts, disks = places["hosts"], places["disks"]
    namespaces: list[int] = []
    carrier = None
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:  # before anything starts a thread
        if hosts:
            namespaces, devices = lossy_network.make_namespaces(hosts)
            carrier = start_carrier(hosts, devices, control)
        elif disks:
            lossy_network.own_user_namespace()
        if disks:
            lossy_network.mount_small_disks(disks)
    except lossy_network.NoNamespaces as error:
        control.send(f"unable: {error}".encode())
        return
    import samples  # noqa: F401
    import trio  # noqa: F401

    import gossip.libp2p_bus  # noqa: F401
    import node.network  # noqa: F401

    control.send(b"ready")
    serve(control, namespaces, carrier)


if __name__ == "__main__":
    main()

"""Whole nodes among the processes of a test swarm: `swarm launch`, heard by its events, seen by what it uses.

What they leave behind when they are killed becomes a child of the swarm's own process, so that it can be counted.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from gossip.identity import load_or_create
from node.home import Home
from node.journal import Journal
from node.notebook import ledger_of
from swarm.words import BriefId
from tests.swarm_of_processes import Peer, ProcessSwarm

COMMAND = (sys.executable, "-c", "from node.cli import main; main()")
Children = frozenset[psutil.Process]


@dataclass
class NodePeer(Peer):
    """`kept`: its own findings; `got`: others'. It ends with SIGTERM."""

    brief: str = ""
    stopped: bool = False  # it has said goodbye
    outcomes: Counter[str] = field(default_factory=Counter[str])  # of its findings
    reasons: Counter[str] = field(default_factory=Counter[str])  # of those that ended badly

    def hear(self, said: dict[str, Any]) -> None:
        match said:
            case {"event": "node_started", "peer_id": peer, "brief_id": brief}:
                self.peer_id, self.brief = peer, brief
            case {"event": "listening", "addresses": [address, *_]}:
                self.address = address
            case {"event": "peers_changed", "peers": peers}:
                self.peers = tuple(peers)
            case {"event": "finding_recorded", "id": id, "outcome": outcome, "reason": reason}:
                self.kept[id] = 0.0
                self.ids.add(id)
                self.outcomes[outcome] += 1
                if reason:
                    self.reasons[reason[:100]] += 1
            case {"event": "finding_received", "id": id}:
                self.ids.add(id)
            case {"event": "notice", "text": text}:
                self.notices.append(text)
            case {"event": "stopped"}:
                self.stopped = True
            case _:
                pass

    async def leave(self) -> None:
        """As with Ctrl-C."""
        os.kill(self.pid, signal.SIGTERM)
        await self._gone()


async def start_node(
    swarm: ProcessSwarm,
    name: str,
    topic: Path,
    known: Sequence[str],
    *options: str,
    host: int | None = None,
    program: Sequence[str] = COMMAND,
) -> NodePeer:
    """Until it listens. A name that was used before: the same home and address."""
    before = swarm.peers.get(name)
    assert before is None or not before.alive, f"{name} is running"
    where = "127.0.0.1/tcp/0" if host is None else f"{swarm.hosts[host]}/tcp/4001"
    listen = before.address.split("/p2p/")[0] if before is not None and before.address else f"/ip4/{where}"
    command = [*program, "launch", "--home", str(swarm.home(name)), "--topic", str(topic), "--name", name, "--no-mdns"]
    command += ["--json", "--listen", listen, "--dashboard", "off", "--proposer", "classic", *options]
    for address in known:
        command += ["--bootstrap", address]
    order = {"program": command, "errors": str(swarm.folder / f"{name}.err"), "host": host}
    node = await swarm.fork(order, lambda pid, stdin: NodePeer(name, host, pid, stdin, tuple(known)))
    swarm.peers[name] = node
    await node.until(lambda p: p.peer_id and p.address, f"an address; see {name}.err")
    return node


def left_behind(swarm: ProcessSwarm, before: Children) -> list[psutil.Process]:
    """Children of the swarm's process that are neither peers nor were there `before` any: whose parents have died."""
    peers = {peer.pid for peer in swarm.peers.values() if peer.alive}
    children = [one for one in psutil.Process(swarm.pid).children() if one not in before and one.pid not in peers]
    return [one for one in children if _is_there(one)]


def _is_there(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def found_in(home: Path, brief: str) -> tuple[frozenset[str], str]:
    """(ids of findings, what the ledger says of each) on a node's disk. Whether it runs makes no difference."""
    place = Home(home)
    me, journal = load_or_create(place.key).peer_id, Journal(place.journal, readonly=True)
    try:
        records = journal.of(brief)
        ledger = ledger_of(place.load_brief(BriefId(brief)), records.records(), ignored=records.unwanted() - {me})
        lines = sorted(f"{entry.id} {ledger.standing(entry).value}" for entry in ledger.entries())
    finally:
        journal.close()
    return frozenset(line.split()[0] for line in lines), "\n".join(lines)

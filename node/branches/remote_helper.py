"""`git-remote-swarm`: lets stock git clone and fetch `swarm://` addresses. Started by git, never by a person.

    git clone swarm://<peer id>/<topic>      the branch of a peer, through the node of the home or by its address book
    git clone swarm://<ticket>[/<peer id>]   the branch of whoever the ticket names, or of a peer it leads to

Owns git's conversation with its helpers: one capability, connect, after which git speaks with a peer's upload-pack
directly. The way to the peer is `by_hand.py`'s. Nothing can be pushed: a branch is its owner's.
"""

import os
import sys
from pathlib import Path

import trio

from gossip.bus import innermost
from gossip.refusal import GossipError
from gossip.ticket import decode_ticket
from node.branches.by_hand import (
    CannotReach,
    Goal,
    check_peer,
    goal_of_peer,
    goal_of_ticket,
    names_of,
    topic_of_home,
    visiting,
)
from node.branches.door import PIPE_LIMITS, copy_both, through_the_door
from node.home import Home, default_home
from swarm.words import SwarmError

SCHEME = "swarm://"
TICKET = "swarm1"  # what every ticket begins with


def main() -> None:
    """Exit status 0 when git said everything; 1 after a sentence on standard error."""
    try:
        if len(sys.argv) != 3:
            raise CannotReach("git-remote-swarm is started by git: git clone swarm://<ticket>")
        home = Home(Path(os.environ.get("SWARM_HOME") or default_home()))
        while (line := _line()) not in ("", "\n"):
            if _obey(line.strip(), home, sys.argv[2]):
                return  # what git says after that was said to the peer
    except (SwarmError, GossipError, BaseExceptionGroup) as error:
        cause = innermost(error)
        if not isinstance(cause, SwarmError | GossipError):
            raise
        sys.stderr.write(f"swarm: {cause}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _line() -> str:
    """From git, byte by byte: what follows the last line is not ours to read."""
    line = bytearray()
    while (byte := os.read(0, 1)) and byte != b"\n":
        line += byte
    return (line + byte).decode(errors="replace")


def _obey(command: str, home: Home, url: str) -> bool:
    """True when it was the last command."""
    if command == "capabilities":
        os.write(1, b"connect\n\n")
        return False
    if command == "connect git-upload-pack":
        trio.run(_connect, home, *parse_url(url))
        return True
    if command.startswith("connect "):
        raise CannotReach("a peer's branch can only be read: nothing was pushed")
    raise CannotReach(f"git asks for {command[:80]!r}, which git-remote-swarm does not know; update research-swarm")


def parse_url(url: str) -> tuple[str, str]:
    """(ticket or peer id, what follows). Raises CannotReach."""
    place, _, rest = url.removeprefix(SCHEME).strip("/").partition("/")
    if not url.startswith(SCHEME) or not place or "/" in rest:
        raise CannotReach(f"{url[:200]!r} is not swarm://<peer id>/<topic> or swarm://<ticket>")
    return place, rest


async def _connect(home: Home, place: str, rest: str) -> None:
    """By ticket where the ticket leads, by peer id what the home knows; through its node, if one runs on that topic."""
    ticket = decode_ticket(place) if place.lower().startswith(TICKET) else None
    peer = check_peer(rest) if ticket is not None and rest else "" if ticket is not None else check_peer(place)
    running = home.running()
    state = home.read_state()
    if ticket is None and running:
        await _through_node(home, rest, peer, [])
    elif ticket is not None and running and state.get("brief_id") == ticket.brief and state.get("peer_id") != peer:
        named = [address.rpartition("/p2p/")[2] for address in ticket.addresses]
        await _through_node(home, "", peer, named)
    else:
        if ticket is None:
            home.require()
            goal = goal_of_peer(home, *topic_of_home(home, rest), peer)
        else:
            goal = goal_of_ticket(ticket, peer)
        await _by_visit(home, goal, as_home=not running)


async def _through_node(home: Home, topic: str, peer: str, sources: list[str]) -> None:
    request = {"v": 1, "do": "pipe", "topic": topic, "peer": peer, "from": sources}
    async with through_the_door(home, request) as (_, stream):
        await copy_both(_hello(), stream)


async def _by_visit(home: Home, goal: Goal, *, as_home: bool) -> None:
    async with visiting(home, goal, as_home=as_home) as bus:
        why: list[str] = []
        for peer in sorted(bus.connected(), key=lambda one: one != goal.peer):
            git = _Late()
            try:
                await bus.join(peer, names_of(goal), git, PIPE_LIMITS)
                return
            except GossipError as error:
                if git.opened:
                    raise
                why.append(str(error))
        raise CannotReach(f"the branch was not found: {'; '.join(why) or 'nobody is connected'}")


def _hello() -> trio.abc.HalfCloseableStream:
    """git's two pipes, once the way to the peer is there."""
    os.write(1, b"\n")
    return trio.StapledStream(trio.lowlevel.FdStream(os.dup(1)), trio.lowlevel.FdStream(os.dup(0)))


class _Late(trio.abc.HalfCloseableStream):
    """git's two pipes. It is told of a way when the first byte has come along it, and says nothing before."""

    def __init__(self) -> None:
        self._stream: trio.abc.HalfCloseableStream | None = None
        self._arrived = trio.Event()

    @property
    def opened(self) -> bool:
        return self._stream is not None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._stream is None:
            self._stream = _hello()
            self._arrived.set()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        if self._stream is not None:
            await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        await self._arrived.wait()
        assert self._stream is not None
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()

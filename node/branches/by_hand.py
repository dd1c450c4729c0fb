"""Branches on a person's word: the way of `swarm fetch` and of the remote helper, through a running node or alone.

Owns the choice between the two, and the short-lived host that takes the node's place. It knows peers from a ticket or
from the home's address book, takes part in nothing, and ends with what it was started for.
"""

import os
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from gossip.address_book import AddressBook
from gossip.addresses import parse_dialable
from gossip.bus import BlobAbsent, Bus, PeerUnreachable, innermost
from gossip.identity import Identity, load_or_create, public_key_of
from gossip.refusal import Answer, GossipError, RefusalReason, Refused
from gossip.ticket import Ticket
from node.branches.fetching import Fetched, Fetcher
from node.branches.words import Owned
from node.home import Home
from node.network import book_file, bus_factory
from swarm.brief import topic_name
from swarm.words import BriefId, SwarmError, short

DIAL_SECONDS = 15.0  # for the first peer to answer
VISITED = "/visit"  # a topic nobody else is in: visitors are no peers of the swarm
Json = dict[str, Any]  # Any: a JSON document


class CannotReach(SwarmError):
    """No way to a peer or a branch."""


@dataclass(frozen=True)
class Goal:
    """Where a branch is looked for."""

    topic: str
    brief: BriefId
    addresses: tuple[str, ...]
    swarm_key: bytes | None = None
    peer: str = ""  # whose branch; "": that of whoever answers


def goal_of_ticket(ticket: Ticket, peer: str = "") -> Goal:
    return Goal(ticket.topic, BriefId(ticket.brief), ticket.addresses, ticket.psk, peer)


def goal_of_peer(home: Home, brief: BriefId, topic: str, peer: str) -> Goal:
    """By what the home knows of its peers. Raises CannotReach."""
    key = home.load_swarm_key(brief)
    book = AddressBook("", random.Random(peer))
    file = book_file(home, brief, key)
    book.load_json(file.read_text(errors="replace") if file.exists() else "")
    addresses = book.due(float("inf"), set(), 64)
    nearest = sorted(addresses, key=lambda address: parse_dialable(address).peer != peer)
    if not nearest:
        raise CannotReach(
            f"no node runs in {home.path}, and no address of any peer is known there: start one with swarm launch, or "
            "give a ticket"
        )
    return Goal(topic, brief, tuple(nearest), key, peer)


def topic_of_home(home: Home, topic: str) -> tuple[BriefId, str]:
    """A topic by its name, the one last worked on first; "": that one. Raises CannotReach, HomeError."""
    latest = home.read_state().get("brief_id")
    known = sorted((BriefId(path.stem) for path in home.briefs.glob("*.json")), key=lambda id: id != latest)
    for id in known:
        if topic in ("", name := home.load_brief(id).name):
            return id, name
    raise CannotReach(f"no topic {topic[:80]!r} in {home.path}; swarm topic list names those there are")


@asynccontextmanager
async def visiting(home: Home, goal: Goal, *, as_home: bool) -> AsyncGenerator[Bus]:
    """A bus that is connected with somebody of the goal. `as_home`: under the home's own name; no node may run then.

    Raises CannotReach, ListenError.
    """
    identity = load_or_create(home.key) if as_home and home.key.exists() else Identity(os.urandom(32))
    topic = f"{topic_name(goal.brief)}{VISITED}"
    make = bus_factory(identity, topic, ("/ip4/127.0.0.1/tcp/0",), swarm_key=goal.swarm_key)
    bus = make(lambda _forwarder, _frame: Answer.IGNORE, _refuse)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.run)
            await _dial(bus, goal)
            yield bus
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        _, errors = group.split(trio.Cancelled)
        if errors is not None and isinstance(cause := innermost(errors), SwarmError | GossipError):
            raise cause from None
        raise


async def _dial(bus: Bus, goal: Goal) -> None:
    """All at once, the wanted one for as long as that takes, else the first who answers."""
    failed: list[str] = []
    ended: list[str] = []

    async def dial(address: str) -> None:
        try:
            await bus.dial(address)
        except PeerUnreachable as error:
            failed.append(str(error))
        finally:
            ended.append(address)

    with trio.move_on_after(DIAL_SECONDS):
        async with trio.open_nursery() as nursery:
            for address in goal.addresses[:16]:
                nursery.start_soon(dial, address)
            while len(ended) < len(goal.addresses[:16]):
                if bus.connected() and (not goal.peer or goal.peer in bus.connected()):
                    break
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    if not bus.connected():
        why = failed[0].partition(": SwarmException")[0] if failed else "within the time"  # the library says no more
        raise CannotReach(f"no peer answers: {why}; is a node running there?")


async def fetch_of(author: str, fetcher: Fetcher, connected: Sequence[str]) -> Json:
    """The branch of `author`, from itself or from whoever has it. Raises BranchRefused, CannotReach, ResultsError."""
    why: list[str] = []
    for peer in sorted(connected, key=lambda peer: peer != author):
        try:
            found = await fetcher.fetch(peer, [author], again=True)
        except BlobAbsent:
            why.append(f"{short(peer)} does not have it")
            continue
        except PeerUnreachable as error:
            why.append(str(error))
            continue
        if found.refused:
            raise found.refused[0]
        if found.taken or found.current:
            return fetched_json(found)
        why.append(f"{short(peer)} does not have it")
    asked = "; ".join(why[:3]) or "no peer is connected"
    raise CannotReach(f"the branch of {author} was not found: {asked}")


def fetched_json(found: Fetched) -> Json:
    one = found.taken[0] if found.taken else None
    return {
        "branch": one.owned.branch if one else found.current[0],
        "source": found.peer,
        "fetched": one is not None,
        "old": one.old if one else None,
        "head": one.new if one else None,
        "commits": one.commits if one else 0,
        "bytes": one.bytes if one else 0,
    }


def check_peer(peer: str) -> str:
    """Raises CannotReach."""
    if public_key_of(peer) is None:
        raise CannotReach(f"{peer[:80]!r} is not a peer id; one has 52 characters and begins with 12D3KooW")
    return peer


def names_of(goal: Goal) -> list[str]:
    return [Owned(goal.peer, goal.topic).branch] if goal.peer else []


def _refuse(_peer: str, _message: bytes) -> bytes:
    raise Refused(RefusalReason.WRONG_BRIEF, "a visitor has no records")

"""What `swarm doctor` says of the network, layer by layer: clock, listen port, reachability, bootstrap, mesh, topic.

Each looks at one layer only, with a node running in the home or without; what cannot be tested is called not tested.
Dials real peers, with an identity made for that moment, and changes nothing.
"""

import contextlib
import socket
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from random import Random, SystemRandom
from statistics import median
from typing import Literal, cast

import trio

from gossip.address_book import AddressBook
from gossip.addresses import dialable, parse_dialable
from gossip.bus import BusFailed, ListenError, PeerUnreachable, innermost
from gossip.identity import Identity
from gossip.refusal import Answer, GossipError, RefusalReason, Refused
from gossip.ticket import decode_ticket
from node.clock import wall_clock
from node.clock_skew import WORTH_SAYING_SECONDS, ahead_of_us, in_words
from node.home import Home
from node.journal import Journal
from node.network import book_file, bus_factory
from node.network_file import read_network
from node.text import clean
from swarm.brief import topic_name
from swarm.words import BriefId, SwarmError, short

DIALLED = 6  # addresses, at most
DIAL_SECONDS = 5.0  # for all of them together
State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Seen:
    """What was found of one layer."""

    state: State
    found: str
    advice: str = ""


def check_clock(home: Home) -> Seen:
    """Against the times in peers' records as they came."""
    now = wall_clock()
    try:
        with _journal(home) as journal:
            arrivals = [one for brief in journal.briefs()[:4] for one in journal.of(brief).latest_arrivals(500)]
    except SwarmError:
        return Seen("ok", "not tested: no record of a peer has come yet")
    arrivals = [one for one in arrivals if now - one.received < 7 * 86_400]
    ahead = ahead_of_us(arrivals)
    if not ahead:
        return Seen("ok", "not tested: no fresh record of a peer tells the time")
    off = {author: seconds for author, seconds in ahead.items() if abs(seconds) >= WORTH_SAYING_SECONDS}
    if not off:
        return Seen("ok", f"agrees with {_peers(len(ahead))} to within a minute")
    if len(off) * 2 > len(ahead):
        middle = median(off.values())
        advice = "set this machine's clock (NTP); records carry its time, their order does not depend on it"
        return Seen("warning", f"{_peers(len(off))} of {len(ahead)} have a clock {in_words(middle)} of ours", advice)
    worst = max(off, key=lambda author: abs(off[author]))
    return Seen("ok", f"agrees with most; {short(worst)} has a clock {in_words(off[worst])}")


def check_listen_port(home: Home) -> Seen:
    """Where the node listens: does it answer, if it runs; can it be bound, if not."""
    state = home.read_state()
    port = state.get("port")
    if not isinstance(port, int) or not 0 < port < 65_536:
        return Seen("ok", "none chosen yet; the first start takes a free one")
    if not home.running():
        return _can_be_bound(port)
    for host in _listening_hosts(state.get("addresses")):
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2):
            return Seen("ok", f"{port}: this node answers at {host}")
    advice = "restart the node; if that does not help, choose another port with --listen"
    return Seen("problem", f"{port}: the running node does not answer there", advice)


def _can_be_bound(port: int) -> Seen:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            advice = "the next start takes another one; peers and tickets that know this one will not find it"
            return Seen("warning", f"{port}: {error.strerror}", advice)
    return Seen("ok", f"{port} is free")


def _listening_hosts(addresses: object) -> Iterable[str]:
    texts = [str(text) for text in cast("list[object]", addresses)] if isinstance(addresses, list) else []
    listened = [parse_dialable(text) for text in dialable(texts)]
    return [address.host for address in listened if not address.relay] or ["127.0.0.1"]


def check_reachability(home: Home) -> Seen:
    """From outside: nobody is asked to dial back; but whoever has dialled us did reach us."""
    if not home.running():
        return Seen("ok", "not tested: no node is running, so that nobody can dial it")
    counters = read_network(home).get("counters", {})
    from_outside, nearby = counters.get("bus.accepted_global", 0), counters.get("bus.accepted_private", 0)
    if from_outside:
        return Seen("ok", f"connections from other networks have come in: {from_outside}")
    relayed = [text for text in home.read_state().get("addresses", []) if "/p2p-circuit" in str(text)]
    if relayed:
        return Seen("ok", f"through relays, at {len(relayed)} addresses; nobody has come in directly from outside")
    near = f"only from the local network ({nearby} connections)" if nearby else "not tested: nobody has dialled in yet"
    return Seen("ok", near, "peers elsewhere reach this node only if its port is open to them, or through a relay")


def check_bootstrap(home: Home) -> Seen:
    """Dial whom earlier starts met."""
    brief_id = home.read_state().get("brief_id")
    addresses = _cached(home, brief_id)
    if not addresses and home.running() and (peers := home.read_state().get("peers", [])):
        return Seen("ok", f"the running node has found {_peers(len(peers))}")
    if not isinstance(brief_id, str) or not addresses:
        return Seen("ok", "nobody to dial: no peer was met yet", "join with the ticket of a node that runs")
    try:
        answered, why_not = trio.run(_dial_all, home, BriefId(brief_id), addresses)
    except (GossipError, SwarmError) as error:
        return Seen("warning", f"could not be tested: {clean(str(error), 200)}")
    if answered:
        return Seen("ok", f"{answered} of {len(addresses)} addresses of known peers answer")
    advice = (
        "are those nodes running, and does a firewall let this machine out? A new ticket has their addresses of now"
    )
    return Seen("warning", f"none of {len(addresses)} addresses of known peers answers: {clean(why_not, 200)}", advice)


def _cached(home: Home, brief_id: object) -> list[str]:
    """Of the peers of the topic last worked on, and of the ticket's other nodes."""
    if not isinstance(brief_id, str):
        return []
    own = _own_peer(home)
    book = AddressBook(own, Random(0))
    with contextlib.suppress(OSError):
        book.load_json(book_file(home, BriefId(brief_id), _key(home, BriefId(brief_id))).read_text(errors="replace"))
    return book.due(wall_clock(), set(), DIALLED)


def _own_peer(home: Home) -> str:
    with contextlib.suppress(GossipError):
        addresses = decode_ticket(str(home.read_state().get("ticket", ""))).addresses
        return parse_dialable(addresses[0]).peer if addresses else ""
    return ""


async def _dial_all(home: Home, brief_id: BriefId, addresses: list[str]) -> tuple[int, str]:
    """How many answer as who they are said to be, and why the last that does not, does not. Raises GossipError."""
    answered: set[str] = set()
    why_not = ["nobody within the time"]
    visitor = Identity(SystemRandom().randbytes(32))  # the home's own would be taken for the node itself
    make_bus = bus_factory(visitor, topic_name(brief_id), ["/ip4/127.0.0.1/tcp/0"], swarm_key=_key(home, brief_id))
    bus = make_bus(_not_kept, _nothing_here)

    async def dial(address: str) -> None:
        try:
            await bus.dial(address)
            answered.add(address)
        except PeerUnreachable as error:
            why_not.append(str(error))

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.run)
            with trio.move_on_after(DIAL_SECONDS):
                async with trio.open_nursery() as dialling:
                    for address in addresses:
                        dialling.start_soon(dial, address)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        cause = innermost(group)
        if isinstance(cause, (BusFailed, ListenError)):
            raise cause from None
        raise
    return len(answered), why_not[-1]


def _key(home: Home, brief_id: BriefId) -> bytes | None:
    return home.load_swarm_key(brief_id) if home.is_private(brief_id) else None


def _not_kept(_forwarder: str, _frame: bytes) -> Answer:
    return Answer.IGNORE


def _nothing_here(_peer: str, _message: bytes) -> bytes:
    raise Refused(RefusalReason.WRONG_BRIEF, "no records here")


def check_mesh(home: Home) -> Seen:
    """Who takes part in the topic with the running node."""
    if not home.running():
        return Seen("ok", "not tested: no node is running")
    peers = home.read_state().get("peers", [])
    if not peers:
        connections = read_network(home).get("connections", 0)
        found = f"the running node has no peers of its topic ({connections} connections)"
        return Seen("warning", found, "join with a ticket of the others, or check that they can be reached from here")
    return Seen("ok", f"{_peers(len(peers))} of the topic: {', '.join(short(str(peer)) for peer in peers[:5])}")


def check_topic(home: Home) -> Seen:
    """What is known in the topic last worked on."""
    brief_id = home.read_state().get("brief_id")
    if not isinstance(brief_id, str):
        return Seen("ok", "none yet: no node has run here")
    try:
        with _journal(home) as journal:
            counts = journal.of(brief_id).counts()
    except SwarmError as error:
        if not home.journal.exists():
            return Seen("ok", "no records yet")
        return Seen("problem", str(error), "move the journal away; peers give back what they have of it")
    name = clean(str(home.read_state().get("topic", "")), 40)
    return Seen("ok", f"{name}: {sum(counts.values())} records of {len(counts)} authors")


@contextlib.contextmanager
def _journal(home: Home) -> Generator[Journal]:
    journal = Journal(home.journal, readonly=True)
    try:
        yield journal
    finally:
        journal.close()


def _peers(count: int) -> str:
    return "1 peer" if count == 1 else f"{count} peers"

"""Gets a brief and its shards from peers, by their hashes, before a topic is known here.

Owns a bus of the brief's topic for as long as that takes, the dialling, and what a person reads meanwhile. Waits for
peers for ever, unless told otherwise. How one blob is fetched and verified is gossip/blob_fetch.py; whether what came
may be used here is `node/topics/joining.py`.
"""

import math
import random
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio

from gossip.address_book import AddressBook, Source
from gossip.addresses import parse_dialable
from gossip.blob_fetch import SPARE_BYTES, BlobFetch, FetchError, Wanted
from gossip.bus import Bus, BusFactory, BusFailed, PeerUnreachable, innermost
from gossip.events import GossipEvent
from gossip.mdns import LocalDiscovery
from gossip.refusal import Answer, RefusalReason, Refused
from node.clock import wall_clock
from node.events import Events, Preparing
from node.home import Home
from node.text import clean
from node.topics.corpus import receiving_folder, shard_files, take_in
from swarm.brief import MAX_BRIEF_BYTES, Brief
from swarm.words import BriefId, SwarmError, short

MAX_CORPUS_BYTES = 16 << 30  # all shards together; a guess at what nobody minds to have fetched for a night's research
BYTES_VOCABULARY = 256
DIAL_SECONDS = 1.0  # between two looks at whom to dial
RESTART_SECONDS = 2.0  # after the network broke
MAX_DIALLED = 8
SHOWN_SECONDS = 0.25  # between two words on the progress of one blob
T = TypeVar("T")


class CannotFetch(SwarmError):
    """What a ticket leads to cannot be fetched, or not be used here."""


class TicketPeers:
    """Those whom a ticket and the person name, and whom the local network shows."""

    def __init__(
        self,
        peer_id: str,
        topic: str,  # its name in the ticket: for people
        addresses: Sequence[str],
        home: Home,
        make_bus: BusFactory,
        events: Events,
        discovery: LocalDiscovery | None = None,
        *,
        book_file: Path | None = None,  # whom earlier starts met
        admits: Callable[[str], bool] = lambda _peer: True,  # who is neither dialled nor asked: denied, banned
    ) -> None:
        self._topic, self._addresses, self._home, self._events = topic, tuple(addresses), home, events
        self._make_bus, self._discovery, self._admits = make_bus, discovery, admits
        self._book = AddressBook(peer_id, random.Random(peer_id))
        self._book.load_json("" if book_file is None else _text(book_file))
        self._book.learn(self._addresses, Source.GIVEN)
        self._failed: set[str] = set()
        self._said_silent = False
        self._fetches: dict[Path, BlobFetch] = {}

    async def meet(self, work: Callable[[Bus], Awaitable[T]]) -> T:
        """Run `work` with a bus, again whenever the network breaks. Raises what it raises, and ListenError."""
        while True:
            bus = self._make_bus(_ignore, _refuse)
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(bus.run)
                    nursery.start_soon(self._keep_dialling, bus)
                    if self._discovery is not None:
                        nursery.start_soon(self._discovery.run, bus.addresses, self._found, self._hear)
                    done = await work(bus)
                    nursery.cancel_scope.cancel()
                    return done
            except BaseExceptionGroup as group:
                failed, rest = group.split(BusFailed)
                _, rest = (None, None) if rest is None else rest.split(trio.Cancelled)
                if rest is not None:
                    raise innermost(rest) from None
                if failed is None:
                    raise
                self._events.notice(clean(f"network stopped, restarting it: {innermost(failed)}", 1000), warning=True)
            await trio.sleep(RESTART_SECONDS)

    async def fetch_brief(self, bus: Bus, id: BriefId, patience_seconds: float = math.inf) -> bytes:
        """Its bytes. Raises NobodyGives, FetchError."""
        target = self._home.briefs / f".{id}.fetched"
        await self._fetch(bus, Wanted(id, None, MAX_BRIEF_BYTES, target), "brief", patience_seconds)
        brief_bytes = target.read_bytes()
        target.unlink()
        return brief_bytes

    async def fetch_shards(self, bus: Bus, brief: Brief, patience_seconds: float = math.inf) -> None:
        """Into the home's corpora, where `find_shards` finds them. Raises NobodyGives, FetchError, CannotFetch."""
        folder = receiving_folder(brief.corpus, self._home.corpora)
        files = shard_files(brief.corpus)
        wanted = {
            name: Wanted(shard.sha256, shard.tokens, shard.tokens, folder / name) for name, shard in files.items()
        }
        check_size(brief, sum(one.limit_bytes - _size(one.target) - _size(one.part) for one in wanted.values()),
                   self._home.corpora)  # fmt: skip
        for name, one in wanted.items():
            await self._fetch(bus, one, f"{name.removesuffix('.bin')} shard", patience_seconds)
        await trio.to_thread.run_sync(take_in, brief.corpus, self._home.corpora)

    async def _fetch(self, bus: Bus, wanted: Wanted, what: str, patience_seconds: float) -> None:
        known = self._fetches.get(wanted.target)
        if known is None or known.patience_seconds != patience_seconds:
            watcher = _Told(self._events, f"{what} of topic {self._topic or 'of the ticket'} from peers")
            known = self._fetches[wanted.target] = BlobFetch(wanted, watcher, patience_seconds)
        await known.run(bus)

    # --- peers ---

    async def _keep_dialling(self, bus: Bus) -> None:
        self._events.emit(Preparing(what=f"looking for peers of topic {self._topic}".rstrip(), done=0, total=None))
        async with trio.open_nursery() as nursery:
            dialling: set[str] = set()
            while True:
                connected = bus.connected()
                for unwanted in [peer for peer in connected if not self._admits(peer)]:
                    bus.drop(unwanted)
                for address in self._book.due(wall_clock(), {*connected, *dialling}, MAX_DIALLED):
                    peer = parse_dialable(address).peer
                    if not self._admits(peer):
                        self._failed.add(address)
                        continue
                    dialling.add(peer)
                    nursery.start_soon(self._dial, bus, address, peer, dialling)
                self._say_silent(connected)
                await trio.sleep(DIAL_SECONDS)

    async def _dial(self, bus: Bus, address: str, peer: str, dialling: set[str]) -> None:
        try:
            await bus.dial(address)
        except PeerUnreachable:
            self._book.failed(address, wall_clock())
            self._failed.add(address)
        else:
            self._book.succeeded(address, wall_clock())
        finally:
            dialling.discard(peer)

    def _say_silent(self, connected: tuple[str, ...]) -> None:
        """Once, when every address that was given has been tried in vain."""
        if connected or self._said_silent or not self._failed.issuperset(self._addresses):
            return
        self._said_silent = True
        named = ", ".join(self._addresses) or "it names none"
        self._events.notice(
            f"no peer of the ticket answers ({named}): waiting until one does; is a node of this topic running, and "
            "can it be reached from here?",
            warning=True,
        )

    def _found(self, addresses: tuple[str, ...]) -> None:
        self._book.learn(addresses, Source.PEER)

    def _hear(self, event: GossipEvent) -> None:
        self._events.notice(clean(str(event), 1000), warning=True)


@dataclass
class _Told:
    """What a person reads of one blob."""

    events: Events
    what: str
    _shown_at: float = -math.inf

    def progress(self, done_bytes: int, total_bytes: int | None) -> None:
        whole = done_bytes == total_bytes
        if whole or trio.current_time() - self._shown_at >= SHOWN_SECONDS:
            self._shown_at = trio.current_time()
            self.events.emit(Preparing(what=self.what, done=done_bytes, total=total_bytes))

    def refused(self, peer: str, why: str) -> None:
        self.events.notice(clean(f"{self.what}: {short(peer)} is not asked any more: {why}", 400), warning=True)

    def nobody_has_it(self, peers: tuple[str, ...]) -> None:
        named = ", ".join(short(peer) for peer in peers[:4])
        self.events.notice(f"{self.what}: nobody who is connected has it ({named}): waiting for others", warning=True)


def check_size(brief: Brief, missing_bytes: int, place: Path) -> None:
    """Before anything is fetched that a stranger's brief names."""
    total_bytes = sum(shard.tokens for shard in shard_files(brief.corpus).values())
    if brief.corpus.vocab_size != BYTES_VOCABULARY:
        raise CannotFetch(
            f"topic {brief.name} has a vocabulary of {brief.corpus.vocab_size} tokens, this version knows bytes "
            f"({BYTES_VOCABULARY}): update research-swarm"
        )
    if total_bytes > MAX_CORPUS_BYTES:
        raise CannotFetch(
            f"the text of topic {brief.name} is {total_bytes / 2**30:.1f} GB, at most {MAX_CORPUS_BYTES >> 30} GB are "
            "fetched from peers; get its topic file and name it with --topic FILE.toml"
        )
    free = shutil.disk_usage(place).free
    if missing_bytes + SPARE_BYTES > free:
        raise FetchError(
            f"not enough room on the disk of {place}: {missing_bytes / 2**20:.0f} MB of topic {brief.name} are still "
            f"to come, {free / 2**20:.0f} MB are free; make room there, or choose another home with --home"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _ignore(_forwarder: str, _frame: bytes) -> Answer:
    """Records are not kept before the topic is known; catch-up brings them."""
    return Answer.IGNORE


def _refuse(_peer: str, _message: bytes) -> bytes:
    raise Refused(RefusalReason.WRONG_BRIEF, "no records here yet")

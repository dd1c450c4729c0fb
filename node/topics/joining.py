"""Someone joins by a ticket alone: from the ticket to a topic that is ready on this machine.

Owns the order in which text is looked for (here, made from what is installed, from peers, downloaded) and which briefs
of strangers may be worked on. How bytes come from peers is `node/topics/fetching.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from gossip.blob_fetch import NobodyGives
from gossip.bus import Bus
from gossip.ticket import Ticket
from node import shipped
from node.events import Events, Preparing
from node.home import Home
from node.sandbox.confinement import Confinement
from node.sandbox.policy import Author, may_run
from node.topics.fetching import CannotFetch, TicketPeers
from node.topics.loading import Topic, adopt_from_here, adopt_topic, describe_topic, load_topic, shipped_topics
from swarm.brief import Brief, brief_id, decode_brief
from swarm.words import BriefError, BriefId, SwarmError, short

DOWNLOAD_PATIENCE_SECONDS = 30.0  # of silence, then a text that can be downloaded is; a guess
T = TypeVar("T")


class StrangersCode(SwarmError):
    """A brief brings a train.py that may not run here."""


def check_code(brief: Brief, *, confinement: Confinement, trains: bool) -> None:
    """A brief's train.py is its author's code. Another one than the shipped needs a sandbox; --unsafe is about code of
    the own language model and opens no door to strangers."""
    if not trains or brief.source == shipped.shipped_text(shipped.experiments(), "train.py"):
        return
    if not may_run(Author.PEER, confinement.backend, unsafe=confinement.unsafe):
        raise StrangersCode(
            f"topic {brief.name} brings a train.py of its own, and no sandbox works here that could hold it: "
            "`swarm doctor` says how to get one, --no-train joins without researching"
        )


@dataclass
class Joining:
    """One ticket on its way to a topic."""

    ticket: Ticket
    home: Home
    peers: TicketPeers
    events: Events
    check: Callable[[Brief], None]  # raises when a brief may not be worked on here

    async def topic(self) -> Topic:
        """Waits for peers as long as it takes. Raises SwarmError, GossipError."""
        known = self._known()
        found = await self._made_here() if known is None else await self._from_here(known)
        return found or await self.peers.meet(self._from_peers)

    async def _made_here(self) -> Topic | None:
        """The shipped topic of that name, if it comes to the ticket's brief without a download."""
        name = self.ticket.topic
        if name not in shipped_topics() or describe_topic(name).needs_download:
            return None
        try:
            topic = await self._in_thread(load_topic, name)
        except SwarmError as error:
            self.events.notice(f"topic {name} cannot be made here ({error}): asking peers for it", warning=True)
            return None
        return topic if topic.brief_id == self.ticket.brief else None

    async def _from_here(self, brief_bytes: bytes) -> Topic | None:
        self.check(decode_brief(brief_bytes))
        return await self._in_thread(adopt_from_here, brief_bytes)

    async def _from_peers(self, bus: Bus) -> Topic:
        name = self.ticket.topic
        if name not in shipped_topics() or not describe_topic(name).needs_download:
            return await self._fetched(bus, math.inf)
        try:
            return await self._fetched(bus, DOWNLOAD_PATIENCE_SECONDS)
        except NobodyGives as error:
            self.events.notice(f"topic {name}: {error}; downloading its text instead")
        return await self._downloaded() or await self._fetched(bus, math.inf)

    async def _fetched(self, bus: Bus, patience_seconds: float) -> Topic:
        brief_bytes = self._known()
        if brief_bytes is None:
            id = BriefId(self.ticket.brief)
            brief_bytes = await self.peers.fetch_brief(bus, id, patience_seconds)
            _decoded(brief_bytes)
            self.home.save_brief(id, brief_bytes)
        if (found := await self._from_here(brief_bytes)) is not None:
            return found
        await self.peers.fetch_shards(bus, decode_brief(brief_bytes), patience_seconds)
        found = await self._from_here(brief_bytes)
        if found is None:
            raise CannotFetch(f"the shards of the ticket's topic changed under {self.home.corpora}; start again")
        return found

    async def _downloaded(self) -> Topic | None:
        """None when the topic of that name that ships is another one than the ticket's."""
        known, name = self._known(), self.ticket.topic
        topic = await (self._in_thread(load_topic, name) if known is None else self._in_thread(adopt_topic, known))
        if topic.brief_id == self.ticket.brief:
            return topic
        self.events.notice(
            f"the topic {name} that comes with this version is another one (brief {short(topic.brief_id)}) than the "
            f"ticket's ({short(self.ticket.brief)}): waiting for its peers",
            warning=True,
        )
        return None

    def _known(self) -> bytes | None:
        """The brief, if it has been here before. A damaged one is deleted: it is fetched again."""
        path = self.home.briefs / f"{self.ticket.brief}.json"
        try:
            brief_bytes = path.read_bytes()
        except OSError:
            return None
        if brief_id(brief_bytes) == self.ticket.brief:
            return brief_bytes
        path.unlink(missing_ok=True)
        return None

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """`work(*arguments, cache, on_progress)`: it reads and hashes text."""

        def progress(what: str, done: int, total: int | None) -> None:
            trio.from_thread.run_sync(self.events.emit, Preparing(what=what, done=done, total=total))

        return await trio.to_thread.run_sync(work, *arguments, self.home.corpora, progress, abandon_on_cancel=True)


def _decoded(brief_bytes: bytes) -> Brief:
    try:
        return decode_brief(brief_bytes)
    except BriefError as error:
        raise CannotFetch(f"the ticket's brief cannot be used by this version of research-swarm: {error}") from None

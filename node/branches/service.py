"""Everything about branches that runs in a node: tells of the own one, follows peers', opens the door to the owner.

Owns the wiring. Nothing that goes wrong in here ends the node.
"""

import random
import shutil
from contextlib import suppress

import trio

from gossip.bus import innermost
from gossip.identity import Identity
from node.branches.announcing import Announcer
from node.branches.by_hand import fetch_of
from node.branches.door import Door
from node.branches.fetching import Fetcher
from node.branches.following import Following, Mode
from node.branches.healing import heal_cuts
from node.branches.quiet_git import QuietGit
from node.branches.quotas import FILE_NAME, Quotas
from node.branches.serving import Serving
from node.events import Events
from node.home import Home
from node.network import Network
from node.notebook import Notebook
from node.results.git import ResultsError
from node.results.repository import Results
from swarm.words import FindingId

FLUSH_SECONDS = 8.0  # peers look a second after they heard of a finding, and rest between two looks
QUARANTINE = "quarantine"  # in the home


class Branches:
    def __init__(
        self,
        home: Home,
        identity: Identity,
        notebook: Notebook,
        results: Results,
        network: Network,
        serving: Serving,
        events: Events,
        *,
        mode: Mode,
        quota_bytes: int,
    ) -> None:
        brief, topic, me = notebook.journal.brief, notebook.brief.name, identity.peer_id
        self._quarantine, self._events = home.path / QUARANTINE, events
        self._results, self._quotas = home.results, Quotas(home.path / FILE_NAME, quota_bytes)
        self.fetcher = Fetcher(
            home.results,
            self._quarantine,
            me,
            brief,
            topic,
            network.service.join,
            self._quotas,
            network.wants_branch_of,
        )
        self._announcer = Announcer(results, identity, brief, topic, events)
        self._network, self._serving = network, serving
        self._moved = False  # our branch, since the start
        notebook.when_own(self._own_moved)

        def seq_of(finding: str) -> int:
            entry = notebook.ledger.get(FindingId(finding))
            return 0 if entry is None else entry.seq

        self._following = None
        if mode != "off":
            rng = random.Random(me)
            self._following = Following(self.fetcher, me, lambda: network.peers, seq_of, events, mode, rng)
        self._door = Door(
            home, topic, serving, lambda: network.peers, network.service.join,
            lambda author: fetch_of(author, self.fetcher, network.peers),
        )  # fmt: skip

    async def heal(self) -> None:
        """Before anything reads a branch. Raises ResultsError."""
        if cuts := await heal_cuts(QuietGit(self._results), self._quotas.kept):
            self._events.notice(
                f"a peer had cut histories in {self._results} short, through an older version: {cuts} cuts taken out"
            )

    async def run(self) -> None:
        await trio.to_thread.run_sync(lambda: shutil.rmtree(self._quarantine, ignore_errors=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announcer.run)
            nursery.start_soon(self._open_door)
            if self._following is not None:
                nursery.start_soon(self._following.run)

    async def flush(self) -> None:
        """Give the last finding's commit a moment to reach somebody, if anybody is there to take it."""
        if not self._moved:
            return
        with trio.move_on_after(FLUSH_SECONDS), suppress(ResultsError):
            await self._announcer.announce()
            told = await self._serving.told()
            while self._network.peers and self._serving.given != told:  # noqa: ASYNC110 - nobody wakes us
                await trio.sleep(0.05)

    def _own_moved(self) -> None:
        self._moved = True
        self._announcer.wake()

    async def _open_door(self) -> None:
        try:
            await self._door.run()
        except* OSError as errors:
            self._events.notice(f"git cannot reach this node from here: {innermost(errors)}", warning=True)

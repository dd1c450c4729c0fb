"""Tells where the own branch stands: signs its head and leaves the signature beside the branch, for whoever fetches.

The signed head is a blob under refs/swarm/heads/<peer>/<topic>: it travels with the branch by git itself, and whoever
has the branch can give both to others when this node is gone.
"""

import trio

from gossip.branches import SignedHead, open_head, seal_head
from gossip.envelope import open_frame
from gossip.identity import Identity
from gossip.refusal import Refused
from node.branches.quiet_git import QuietGit
from node.branches.words import Owned
from node.clock import wall_clock
from node.events import Events
from node.results.git import GitFailed, ResultsError
from node.results.repository import Results

LOOKED_BACK = 50  # commits of a person on top of the last finding's; guess
RETRY_SECONDS = 30.0


class Announcer:
    def __init__(self, results: Results, identity: Identity, brief: str, topic: str, events: Events) -> None:
        self._results, self._identity, self._brief, self._events = results, identity, brief, events
        self._git = QuietGit(results.path)
        self._own = Owned(identity.peer_id, topic)
        self._wanted = trio.Event()
        self._wanted.set()  # the last start may have ended before it told
        self._said = False

    def wake(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            try:
                await self.announce()
            except (ResultsError, Refused) as error:
                if not self._said:
                    self._said = True
                    self._events.notice(f"peers cannot be told where the branch stands: {error}", warning=True)
                with trio.move_on_after(RETRY_SECONDS):
                    await self._wanted.wait()
                self._wanted.set()

    async def announce(self) -> SignedHead | None:
        """Sign the newest finding's commit, unless that is signed already. None: there is none yet."""
        newest = await self._newest_finding()
        if newest is None:
            return None
        commit, seq = newest
        told = await self._told()
        if told is not None and told.commit == commit and told.brief == self._brief:
            return told
        at_ms = int(wall_clock() * 1000)
        head = seal_head(self._identity, self._brief, self._own.branch, commit, seq, at_ms)
        with trio.CancelScope(shield=True):
            blob = (await self._git.run("hash-object", "-w", "--stdin", stdin=head.frame)).decode().strip()
            await self._git.run("update-ref", "--end-of-options", self._own.head_ref, blob)
        return head

    async def _newest_finding(self) -> tuple[bytes, int] | None:
        """The commit and the number of the record in it; what a person committed on top is left out."""
        for commit in await self._results.history(limit=LOOKED_BACK):
            folder = commit.trailers.get("Run", "")
            if "Finding-Id" in commit.trailers and folder:
                record = open_frame(await self._results.read(f"{folder}/record.bin", commit.hash))
                if record.author == self._own.peer and record.brief == self._brief:
                    return bytes.fromhex(commit.hash), record.seq
        return None

    async def _told(self) -> SignedHead | None:
        try:
            return open_head(await self._git.run("cat-file", "blob", self._own.head_ref))
        except (GitFailed, Refused):  # the first time; or of a version to come
            return None

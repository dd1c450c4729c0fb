"""Gets branches of one topic from one peer: look, fetch into quarantine, check, take in, then move the ref.

Owns the order, and that a ref only moves forward. A kill at any instant leaves the repository valid: objects that no
ref names yet are found again or tidied away by git. Whom to ask, and when, is `following.py`'s.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from gossip.branches import MAX_BRANCHES, SignedHead
from gossip.bus import PeerUnreachable
from gossip.pipe import Limits, TooMuch, TooSlow
from gossip.refusal import GossipError
from node.branches.checking import check_commits, check_sizes, read_head
from node.branches.quarantine import open_quarantine, wipe
from node.branches.quiet_git import QuietGit
from node.branches.quotas import Quotas
from node.branches.taking import cut, cut_at, pack, take_over
from node.branches.talking import MAX_SAID_BYTES, Join, talk
from node.branches.words import BranchRefused, Owned, Refusal, owned_by_ref
from node.clock import rfc3339, wall_clock
from node.results.git import GitFailed, ResultsError
from swarm.words import SwarmError

LOOK_SECONDS = 30.0
FETCH_SECONDS = 3600.0
LEAST_BYTES_PER_SECOND = 16e3  # of a peer, in the mean; nobody else is asked meanwhile
TIDY_EVERY = 50  # branches taken in
MAX_REFUSED = 10_000  # that are remembered
DEPTHS = (1, 51)  # of a shallow branch: its newest commit, then below what a person may have put on top
_OF_THE_WAY = ("hung up", "early eof", "remote error", "could not read from", "disconnect", "not our ref", "remote ref")
_OURS = ("no space left", "unable to write", "read-only file system", "permission denied", "quota exceeded")


@dataclass(frozen=True, slots=True)
class Taken:
    """A branch that moved."""

    owned: Owned
    old: str | None
    new: str
    commits: int
    bytes: int


@dataclass(slots=True)
class Fetched:
    """What came of asking one peer."""

    peer: str
    taken: list[Taken] = field(default_factory=list[Taken])
    refused: list[BranchRefused] = field(default_factory=list[BranchRefused])
    current: list[str] = field(default_factory=list[str])  # branches it had no news of
    absent: bool = True  # it has no branch that was asked for


@dataclass(frozen=True, slots=True)
class _Seen:
    """One branch in a peer's list."""

    owned: Owned
    commit: str
    signed: str  # its signed head, as git names it


@dataclass(frozen=True, slots=True)
class _Came:
    """A branch as a peer gave it."""

    seen: _Seen
    quarantine: QuietGit
    head: SignedHead
    bytes: int
    is_there: bool  # the commit that the head names


@dataclass(frozen=True, slots=True)
class _Failed:
    seen: _Seen
    error: Exception


class Fetcher:
    """For one topic of a home. One fetch at a time."""

    def __init__(
        self,
        results: Path,
        quarantine: Path,
        me: str,
        brief: str,
        topic: str,
        join: Join,
        quotas: Quotas,
        wanted: Callable[[str], bool] = lambda _author: True,  # whose branches are taken
    ) -> None:
        self._results, self._quarantine = QuietGit(results), quarantine
        self._me, self._brief, self._topic, self._join = me, brief, topic, join
        self._quotas, self._wanted = quotas, wanted
        self._turn = trio.Lock()
        # Signed heads that are not asked for again, of this peer: another may give the same with the right branch.
        self._refused: set[tuple[str, str]] = set()
        self._taken = 0  # since objects were tidied
        self._held_bytes = 0  # of branches that came and are not taken yet

    async def fetch(
        self,
        peer: str,
        authors: Collection[str] = (),
        *,
        shallow: bool = False,
        bytes_per_second: float = float("inf"),
        again: bool = False,  # also what was refused before
    ) -> Fetched:
        """Everything new of these authors, of all if none is named. Raises PeerUnreachable, ResultsError."""
        try:
            async with self._turn:
                return await self._fetch(peer, authors, shallow=shallow, rate=bytes_per_second, again=again)
        except OSError as error:
            raise ResultsError(f"peers' branches cannot be kept: {error.strerror or error}") from None

    async def _fetch(self, peer: str, authors: Collection[str], *, shallow: bool, rate: float, again: bool) -> Fetched:
        if again:
            self._refused.clear()
        names = [Owned(author, self._topic).branch for author in authors][:MAX_BRANCHES]
        found, news = Fetched(peer), list[_Seen]()
        for seen in await self._look(peer, names):
            found.absent = False
            if await self._is_news(peer, seen):
                news.append(seen)
            else:
                found.current.append(seen.owned.branch)
        await wipe(self._quarantine)
        try:
            await self._take_all(news, found, shallow=shallow, rate=rate)
        finally:
            await wipe(self._quarantine)
        await self._tidy()
        return found

    async def head(self, author: str) -> SignedHead | None:
        """The signed head that is here; None if there is none."""
        try:
            return await read_head(self._results, Owned(author, self._topic), self._brief)
        except BranchRefused:
            return None

    # --- looking ---

    async def _look(self, peer: str, names: Sequence[str]) -> list[_Seen]:
        limits = Limits(MAX_SAID_BYTES, silence_seconds=LOOK_SECONDS)
        with trio.move_on_after(LOOK_SECONDS):
            out = await talk(self._join, self._results, peer, names, limits, ["ls-remote"], [])
            return self._listed(out)
        raise PeerUnreachable(f"peer {peer} did not list its branches within {LOOK_SECONDS:.0f} s")

    def _listed(self, out: bytes) -> list[_Seen]:
        lines = (line.partition("\t") for line in out.decode(errors="replace").splitlines())
        refs = {ref: id for id, _, ref in lines}
        seen: dict[str, _Seen] = {}
        for ref, id in refs.items():
            owned = owned_by_ref(ref)
            if owned is None or owned.topic != self._topic or owned.peer == self._me or owned.head_ref not in refs:
                continue
            if ref == owned.ref and self._wanted(owned.peer):
                seen[owned.branch] = _Seen(owned, id, refs[owned.head_ref])
        return [seen[name] for name in sorted(seen)]

    async def _is_news(self, peer: str, seen: _Seen) -> bool:
        if (peer, seen.signed) in self._refused:
            return False
        here = await self._results.run("for-each-ref", "--format=%(objectname)", seen.owned.ref, seen.owned.head_ref)
        if not here:
            return True
        if len(here.split()) == 2 and seen.signed.encode() in here.split():  # what is above it was not told
            return False
        if self._is_shallow(seen.owned):
            head = await self.head(seen.owned.peer)
            return head is None or head.commit.hex() != seen.commit
        return not await self._results.says("merge-base", "--is-ancestor", seen.commit, seen.owned.ref)

    # --- fetching ---

    async def _take_all(self, news: Sequence[_Seen], found: Fetched, *, shallow: bool, rate: float) -> None:
        """One branch after another; the next one comes while one is checked. Raises what the first failure was."""
        failure: Exception | None = None
        self._held_bytes = 0
        send, receive = trio.open_memory_channel[_Came | _Failed](0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(self._receive_all, found.peer, news, send, shallow=shallow, rate=rate))
            try:
                async for came in receive:
                    await self._settle(came, found, shallow=shallow)
            except (GossipError, ResultsError, OSError) as error:
                failure = error
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _receive_all(
        self,
        peer: str,
        news: Sequence[_Seen],
        into: trio.MemorySendChannel[_Came | _Failed],
        *,
        shallow: bool,
        rate: float,
    ) -> None:
        """Up to the first that fails of the way. Two quarantines are there at one time, at most."""
        async with into:
            for number, seen in enumerate(news):
                try:
                    came = await self._receive(peer, seen, self._quarantine / str(number), shallow=shallow, rate=rate)
                    await into.send(came)
                except (GossipError, SwarmError, OSError) as error:
                    await into.send(_Failed(seen, error))
                    if not isinstance(error, BranchRefused):
                        return

    async def _settle(self, came: _Came | _Failed, found: Fetched, *, shallow: bool) -> None:
        try:
            if isinstance(came, _Failed):
                raise came.error
            try:
                taken = await self._take(came, found.peer, shallow=shallow)
            finally:
                self._held_bytes -= came.bytes
                await wipe(came.quarantine.path)
        except BranchRefused as refused:
            if refused.reason is not Refusal.TOO_LARGE and len(self._refused) < MAX_REFUSED:
                self._refused.add((found.peer, came.seen.signed))
            found.refused.append(refused)
        else:
            if taken is not None:
                found.taken.append(taken)
            else:
                found.current.append(came.seen.owned.branch)

    async def _take(self, came: _Came, peer: str, *, shallow: bool) -> Taken | None:
        """Check it, then take it over. None: no news in it. Raises BranchRefused."""
        owned, head, quarantine = came.seen.owned, came.head, came.quarantine
        new, old = head.commit.hex(), await self._standing(owned)
        # Where a history is cut is ours to say, from here on.
        cut(quarantine, (cut_at(self._results) - {old}) | ({new} if shallow and came.is_there else set()))
        known = old if shallow or not self._is_shallow(owned) else None
        if not await self._moves_forward(came, known, shallow=shallow):
            return None
        commits = await check_commits(quarantine, owned, head, known, shallow=shallow)
        await check_sizes(quarantine, owned, new, known)
        size_bytes = max(came.bytes, await pack(quarantine, owned, new, known, self._quotas.left(owned.branch)))
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(take_over, quarantine, self._results)
            await self._move(owned, old, head)
            self._quotas.add(owned.branch, size_bytes, peer, rfc3339(wall_clock()), shallow=shallow)
        self._taken += 1
        return Taken(owned, old, new, commits, size_bytes)

    def _is_shallow(self, owned: Owned) -> bool:
        kept = self._quotas.kept.get(owned.branch)
        return kept is not None and kept.shallow

    # --- receiving ---

    async def _receive(self, peer: str, seen: _Seen, folder: Path, *, shallow: bool, rate: float) -> _Came:
        """A branch with its signed head, in quarantine. Raises BranchRefused, PeerUnreachable, ResultsError."""
        left = self._quotas.left(seen.owned.branch, self._held_bytes)
        if left <= 0:
            raise BranchRefused(Refusal.TOO_LARGE, f"{seen.owned.branch} is not fetched: the quota is used up")
        limits = Limits(left, rate, least_bytes_per_second=LEAST_BYTES_PER_SECOND)
        depths = [f"--depth={depth}" for depth in DEPTHS] if shallow else []
        if not shallow:
            depths = ["--unshallow" if self._is_shallow(seen.owned) else "--no-update-shallow"]
        try:
            with trio.fail_after(FETCH_SECONDS):
                quarantine = await open_quarantine(folder, self._results)
                came = await self._come(quarantine, peer, seen, limits, depths)
        except trio.TooSlowError:
            await wipe(folder)
            raise TooSlow(f"peer {peer} gave {seen.owned.branch} for more than {FETCH_SECONDS:.0f} s") from None
        except BaseException:
            await wipe(folder)
            raise
        self._held_bytes += came.bytes
        return came

    async def _come(self, quarantine: QuietGit, peer: str, seen: _Seen, limits: Limits, depths: Sequence[str]) -> _Came:
        head, is_there, size_bytes = None, False, 0
        for depth in depths:
            size_bytes += await self._git_fetch(quarantine, peer, seen, limits, depth)
            head = await read_head(quarantine, seen.owned, self._brief)
            if is_there := await quarantine.says("cat-file", "-e", f"{head.commit.hex()}^{{commit}}"):
                break
        assert head is not None
        return _Came(seen, quarantine, head, size_bytes, is_there)

    async def _git_fetch(self, quarantine: QuietGit, peer: str, seen: _Seen, limits: Limits, depth: str) -> int:
        owned = seen.owned
        refs = [f"+{ref}:{ref}" for ref in (owned.ref, owned.head_ref)]
        plain = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-progress",
                 "--no-recurse-submodules", depth]  # fmt: skip
        try:
            return int(await talk(self._join, quarantine, peer, [owned.branch], limits, plain, refs))
        except TooMuch:
            size_mb = limits.bytes_in / 2**20
            raise BranchRefused(
                Refusal.TOO_LARGE, f"{owned.branch} is larger than the {size_mb:.0f} MB that are left for it"
            ) from None
        except GitFailed as failure:
            said = failure.line.lower()
            if any(word in said for word in _OURS):
                raise
            if any(word in said for word in _OF_THE_WAY):
                raise PeerUnreachable(f"peer {peer} did not give {owned.branch}: {failure.line}") from None
            raise BranchRefused(Refusal.DAMAGED, f"{owned.branch} as {peer} gives it: {failure.line}") from None

    # --- taking in ---

    async def _standing(self, owned: Owned) -> str | None:
        found = await self._results.run("for-each-ref", "--format=%(objectname)", owned.ref)
        return found.decode().strip() or None

    async def _moves_forward(self, came: _Came, old: str | None, *, shallow: bool) -> bool:
        """False: no news in it. Raises BranchRefused if what is here is not part of it."""
        owned, head, quarantine, new = came.seen.owned, came.head, came.quarantine, came.head.commit.hex()
        if not came.is_there:
            if shallow:  # it is further down, or comes later
                return False
            raise BranchRefused(Refusal.FORGED, f"the signed head of {owned.branch} names a commit that did not come")
        if shallow:
            known = await self.head(owned.peer)
            return known is None or head.seq > known.seq
        if old is None or await quarantine.says("merge-base", "--is-ancestor", old, new):
            return old != new
        if await quarantine.says("merge-base", "--is-ancestor", new, old):
            return False
        raise BranchRefused(
            Refusal.REWRITTEN, f"{owned.branch} was rewritten: commit {old[:10]}, which is here, is not part of it"
        )

    async def _move(self, owned: Owned, old: str | None, head: SignedHead) -> None:
        new = head.commit.hex()
        signed = (await self._results.run("hash-object", "-w", "--stdin", stdin=head.frame)).decode().strip()
        none = "0" * 40
        lines = ("start", f"update {owned.ref} {new} {old or none}", f"update {owned.head_ref} {signed}", "commit")
        await self._results.run("update-ref", "--stdin", stdin="".join(f"{line}\n" for line in lines).encode())

    async def _tidy(self) -> None:
        if self._taken >= TIDY_EVERY:
            self._taken = 0
            await self._results.run("gc", "--auto", "--quiet", config={"gc.auto": "6700", "gc.autoDetach": "false"})

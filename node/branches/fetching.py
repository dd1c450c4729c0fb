"""Gets branches of one topic from one peer: look, fetch into quarantine, check, take in, then move the ref.

Owns the order, and that a ref only moves forward. A kill at any instant leaves the repository valid: objects that no
ref names yet are found again or tidied away by git. Whom to ask, and when, is `following.py`'s.
"""

import shutil
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio

from gossip.branches import MAX_BRANCHES, SignedHead
from gossip.bus import PeerUnreachable, innermost
from gossip.pipe import Limits, LocalEnd, TooMuch, TooSlow
from gossip.refusal import GossipError
from node.branches.checking import check_commits, check_sizes, read_head
from node.branches.quiet_git import QuietGit
from node.branches.quotas import Quotas
from node.branches.taking import cut, cut_at, pack, take_over
from node.branches.words import BranchRefused, Owned, Refusal, owned_by_ref
from node.clock import rfc3339, wall_clock
from node.results.git import GitFailed, ResultsError

LOOK_BYTES = 4 << 20  # of the list of a peer's branches
LOOK_SECONDS = 30.0
FETCH_SECONDS = 3600.0
LEAST_BYTES_PER_SECOND = 16e3  # of a peer, in the mean; nobody else is asked meanwhile
TIDY_EVERY = 50  # branches taken in
MAX_REFUSED = 10_000  # that are remembered
DEPTHS = (1, 51)  # of a shallow branch: its newest commit, then below what a person may have put on top
_OF_THE_WAY = ("hung up", "early eof", "remote error", "could not read from", "disconnect", "not our ref", "remote ref")
_OURS = ("no space left", "unable to write", "read-only file system", "permission denied", "quota exceeded")


class Join(Protocol):
    """As gossip's Bus.join."""

    def __call__(
        self, peer: str, names: Sequence[str], local: trio.abc.HalfCloseableStream, limits: Limits
    ) -> Awaitable[int]: ...


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
        self._taken = 0

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
        found = Fetched(peer)
        for seen in await self._look(peer, names):
            found.absent = False
            if await self._is_news(peer, seen):
                await self._fetch_one(peer, seen, found, shallow=shallow, rate=rate)
            else:
                found.current.append(seen.owned.branch)
        return found

    async def head(self, author: str) -> SignedHead | None:
        """The signed head that is here; None if there is none."""
        try:
            return await read_head(self._results, Owned(author, self._topic), self._brief)
        except BranchRefused:
            return None

    # --- looking ---

    async def _look(self, peer: str, names: Sequence[str]) -> list[_Seen]:
        limits = Limits(LOOK_BYTES, silence_seconds=LOOK_SECONDS)
        with trio.move_on_after(LOOK_SECONDS):
            out = await self._talk(self._results, peer, names, limits, ["ls-remote"], [])
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
        if len(here.split()) == 2 and seen.signed.encode() in here.split():  # what is above it was not told
            return False
        if self._is_shallow(seen.owned):
            head = await self.head(seen.owned.peer)
            return head is None or head.commit.hex() != seen.commit
        return not await self._results.says("merge-base", "--is-ancestor", seen.commit, seen.owned.ref)

    # --- fetching ---

    async def _fetch_one(self, peer: str, seen: _Seen, found: Fetched, *, shallow: bool, rate: float) -> None:
        try:
            with trio.fail_after(FETCH_SECONDS):
                if (taken := await self._take(peer, seen, shallow=shallow, rate=rate)) is not None:
                    found.taken.append(taken)
                else:
                    found.current.append(seen.owned.branch)
        except BranchRefused as refused:
            if refused.reason is not Refusal.TOO_LARGE and len(self._refused) < MAX_REFUSED:
                self._refused.add((peer, seen.signed))
            found.refused.append(refused)
        except trio.TooSlowError:
            raise TooSlow(f"peer {peer} gave {seen.owned.branch} for more than {FETCH_SECONDS:.0f} s") from None

    async def _take(self, peer: str, seen: _Seen, *, shallow: bool, rate: float) -> Taken | None:
        owned = seen.owned
        left = self._quotas.left(owned.branch)
        if left <= 0:
            raise BranchRefused(Refusal.TOO_LARGE, f"{owned.branch} is not fetched: the quota is used up")
        limits = Limits(left, rate, least_bytes_per_second=LEAST_BYTES_PER_SECOND)
        async with self._in_quarantine() as quarantine:
            old = await self._standing(owned)
            size_bytes, head = await self._receive(quarantine, peer, seen, limits, old, shallow=shallow)
            known = old if shallow or not self._is_shallow(owned) else None
            if not await self._moves_forward(quarantine, owned, head, known, shallow=shallow):
                return None
            commits = await check_commits(quarantine, owned, head, known, shallow=shallow)
            await check_sizes(quarantine, owned, head.commit.hex(), known)
            size_bytes = max(size_bytes, await pack(quarantine, owned, head.commit.hex(), known, left))
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(take_over, quarantine, self._results)
                await self._move(owned, old, head)
                self._quotas.add(owned.branch, size_bytes, peer, rfc3339(wall_clock()), shallow=shallow)
        await self._tidy()
        return Taken(owned, old, head.commit.hex(), commits, size_bytes)

    def _is_shallow(self, owned: Owned) -> bool:
        kept = self._quotas.kept.get(owned.branch)
        return kept is not None and kept.shallow

    async def _receive(
        self, quarantine: QuietGit, peer: str, seen: _Seen, limits: Limits, old: str | None, *, shallow: bool
    ) -> tuple[int, SignedHead]:
        """How many bytes came, and the signed head of it. Where the history is cut is ours to say, from here on."""
        depths = [f"--depth={depth}" for depth in DEPTHS] if shallow else []
        if not shallow:
            depths = ["--unshallow" if self._is_shallow(seen.owned) else "--no-update-shallow"]
        head, came, size_bytes = None, False, 0
        for depth in depths:
            size_bytes += await self._git_fetch(quarantine, peer, seen, limits, depth)
            head = await read_head(quarantine, seen.owned, self._brief)
            if came := await quarantine.says("cat-file", "-e", f"{head.commit.hex()}^{{commit}}"):
                break
        assert head is not None
        cut(quarantine, (cut_at(self._results) - {old}) | ({head.commit.hex()} if shallow and came else set()))
        return size_bytes, head

    async def _git_fetch(self, quarantine: QuietGit, peer: str, seen: _Seen, limits: Limits, depth: str) -> int:
        owned = seen.owned
        refs = [f"+{ref}:{ref}" for ref in (owned.ref, owned.head_ref)]
        plain = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-progress",
                 "--no-recurse-submodules", depth]  # fmt: skip
        try:
            return int(await self._talk(quarantine, peer, [owned.branch], limits, plain, refs))
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

    async def _talk(
        self, git: QuietGit, peer: str, names: Sequence[str], limits: Limits, command: list[str], refs: list[str]
    ) -> bytes:
        """Run git with the peer's upload-pack at the other end. What it said; of a fetch, how many bytes came."""
        ours, gits = socket.socketpair()
        local = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        result: list[bytes] = []
        came: list[int] = []
        failed: list[GitFailed] = []

        async def run_git() -> None:
            try:
                words = [*command, f"fd::{gits.fileno()}", *refs]
                result.append(await git.run(*words, pass_fds=[gits.fileno()], limit_bytes=LOOK_BYTES))
            except GitFailed as failure:
                failed.append(failure)
            finally:
                gits.close()

        async def carry() -> None:
            try:
                came.append(await self._join(peer, names, local, limits))
            except LocalEnd:  # git's own words say why
                pass
            finally:
                await trio.aclose_forcefully(local)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_git)
                nursery.start_soon(carry)
        except BaseExceptionGroup as group:
            _, errors = group.split(trio.Cancelled)
            if errors is not None and isinstance(cause := innermost(errors), GossipError | ResultsError):
                raise cause from None
            raise
        finally:
            gits.close()
        if failed:
            raise failed[0]
        return str(came[0]).encode() if refs else result[0]

    # --- taking in ---

    @asynccontextmanager
    async def _in_quarantine(self) -> AsyncGenerator[QuietGit]:
        """An empty repository with everything of ours behind it."""
        await trio.to_thread.run_sync(lambda: shutil.rmtree(self._quarantine, ignore_errors=True))
        try:
            self._quarantine.mkdir(parents=True)
            quarantine = QuietGit(self._quarantine)
            await quarantine.run("init", "--quiet", "--template=", "--bare")
            objects = self._results.directory.absolute() / "objects"
            (quarantine.directory / "objects" / "info").mkdir(exist_ok=True)
            (quarantine.directory / "objects" / "info" / "alternates").write_text(f"{objects}\n")
            if (self._results.directory / "shallow").exists():
                shutil.copyfile(self._results.directory / "shallow", quarantine.directory / "shallow")
            yield quarantine
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(lambda: shutil.rmtree(self._quarantine, ignore_errors=True))

    async def _standing(self, owned: Owned) -> str | None:
        found = await self._results.run("for-each-ref", "--format=%(objectname)", owned.ref)
        return found.decode().strip() or None

    async def _moves_forward(
        self, quarantine: QuietGit, owned: Owned, head: SignedHead, old: str | None, *, shallow: bool
    ) -> bool:
        """False: no news in it. Raises BranchRefused if what is here is not part of it."""
        new = head.commit.hex()
        if not await quarantine.says("cat-file", "-e", f"{new}^{{commit}}"):
            if shallow:  # it is further down, or comes later
                return False
            raise BranchRefused(Refusal.FORGED, f"the signed head of {owned.branch} names a commit that did not come")
        known = await self.head(owned.peer)
        if shallow:
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
        self._taken += 1
        if self._taken % TIDY_EVERY == 0:
            await self._results.run("gc", "--auto", "--quiet", config={"gc.auto": "6700", "gc.autoDetach": "false"})

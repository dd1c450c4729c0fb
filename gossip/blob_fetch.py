"""Gets one blob onto the disk from whichever of several peers has it: resumed, verified, for as long as it takes.

Owns the part file beside the target, and what is thought of each peer: one whose bytes made a wrong hash is not asked
again, one that is away or has nothing is asked later. Knows nothing of what the bytes mean. What a peer sends is
bounded by the caller's limit before it is read.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, TypeVar, TypeVarTuple

import trio

from gossip.blobs import BlobRequest
from gossip.bus import BlobAbsent, BlobTooLarge, Bus, PeerIncompatible, PeerUnreachable
from gossip.refusal import GossipError

SPARE_BYTES = 64 << 20  # of the disk are left alone
_LOOK_SECONDS = 0.25  # whether somebody new is connected
_ABSENT_SECONDS = 10.0  # until a peer without the blob is asked again: it may be getting it, too; guess, as all below
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0  # after a peer broke off; doubles with each time
_INCOMPATIBLE_SECONDS = 300.0
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_BYTES = 1 << 20
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class FetchError(GossipError):
    """A blob cannot be kept here, whoever sends it."""


class NobodyGives(GossipError):
    """Nobody has given any of it for as long as was waited for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    sha256: str
    size_bytes: int | None  # None: unknown, anything up to the limit
    limit_bytes: int
    target: Path

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")


class FetchWatcher(Protocol):
    """Is told how it goes. Must not raise."""

    def progress(self, done_bytes: int, total_bytes: int | None) -> None: ...

    def refused(self, peer: str, why: str) -> None:
        """A peer is not asked for this blob any more."""
        ...

    def nobody_has_it(self, peers: tuple[str, ...]) -> None:
        """All who are connected were asked and none has it; said once."""
        ...


@dataclass
class _Peer:
    not_before: float = 0.0
    failures: int = 0
    absent: bool = False
    refused: bool = False  # for this blob


@dataclass
class BlobFetch:
    """One blob. `run` may be called again with another bus: what is known of peers stays."""

    wanted: Wanted
    watcher: FetchWatcher
    patience_seconds: float = float("inf")  # without a byte from anybody, then NobodyGives
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    _peers: dict[str, _Peer] = field(default_factory=dict[str, _Peer], init=False)
    _givers: set[str] = field(default_factory=set[str], init=False)  # whose bytes are in the part file
    _of_one: bool = field(default=False, init=False)  # a mixture was wrong: from now on one peer gives all of it
    _said_nobody: bool = field(default=False, init=False)
    _fed_at: float = field(default=0.0, init=False)

    async def run(self, bus: Bus) -> None:
        """Until the target is there, whole and verified. Raises FetchError, NobodyGives."""
        if await trio.to_thread.run_sync(_is_there, self.wanted):
            return
        self._fed_at = trio.current_time()
        part = await self._disk(_Part, self.wanted)
        try:
            if part.size_bytes:
                self._givers.add("")  # of an earlier run, nobody knows whose
            await self._fill(bus, part)
        finally:
            part.close()

    async def _fill(self, bus: Bus, part: "_Part") -> None:
        while True:
            if part.size_bytes == self.wanted.size_bytes and await self._finish(part):
                return
            peer = await self._next_peer(bus)
            if self._of_one and self._givers - {peer}:
                await self._start_over(part)
            if await self._from(bus, peer, part) and await self._finish(part):
                return

    async def _next_peer(self, bus: Bus) -> str:
        while True:
            now, connected = trio.current_time(), bus.connected()
            known = {peer: self._peers.setdefault(peer, _Peer()) for peer in connected}
            due = [peer for peer, one in known.items() if not one.refused and one.not_before <= now]
            if due:
                # whoever began goes on: then it is clear whose bytes they are
                return min(due, key=lambda peer: (peer not in self._givers, known[peer].failures, peer))
            if now - self._fed_at >= self.patience_seconds:
                raise NobodyGives(f"no peer gave any of it for {self.patience_seconds:.0f} s")
            if known and not self._said_nobody and all(one.absent or one.refused for one in known.values()):
                self._said_nobody = True
                self.watcher.nobody_has_it(connected)
            await trio.sleep(_LOOK_SECONDS)

    async def _from(self, bus: Bus, peer: str, part: "_Part") -> bool:
        """True when the part is as long as the peer says the blob is."""
        one, total = self._peers[peer], self.wanted.size_bytes

        async def keep(piece: bytes) -> None:
            self._givers.add(peer)
            self._fed_at = trio.current_time()
            await self._disk(part.write, piece)
            self.watcher.progress(part.size_bytes, total)

        await self._check_room(part)
        self.watcher.progress(part.size_bytes, total)
        request = BlobRequest(self.wanted.sha256, part.size_bytes)
        try:
            size_bytes = await bus.fetch(peer, request, self.wanted.limit_bytes, keep)
        except BlobTooLarge as error:
            if self._givers - {peer} and part.size_bytes:  # perhaps it is the part that is too long
                await self._start_over(part)
            else:
                self._refuse(peer, str(error))
        except PeerUnreachable as error:
            one.failures += 1
            one.absent = isinstance(error, BlobAbsent)
            one.not_before = trio.current_time() + _pause_seconds(error, one.failures)
        else:
            one.failures, one.absent = 0, False
            self._givers.add(peer)  # also when it had nothing to add: that there is no more is its word
            if total is None or size_bytes == total:
                return True
            self._refuse(peer, f"it is {size_bytes} bytes there instead of {total}")
            await self._start_over(part)
        return False

    async def _finish(self, part: "_Part") -> bool:
        """True when the bytes are the right ones, and at the target. Else they are gone, and who lied is not asked."""
        if part.sha256 == self.wanted.sha256:
            await self._disk(part.finish)
            return True
        givers = self._givers
        await self._start_over(part)
        if len(givers) == 1 and "" not in givers:
            self._refuse(min(givers), "its bytes make another hash")
        elif givers:
            self._of_one = True
        return False

    async def _start_over(self, part: "_Part") -> None:
        self._givers = set()
        await self._disk(part.clear)

    def _refuse(self, peer: str, why: str) -> None:
        self._peers[peer].refused = True
        self.watcher.refused(peer, why)

    async def _check_room(self, part: "_Part") -> None:
        missing = (self.wanted.size_bytes or self.wanted.limit_bytes) - part.size_bytes
        free = self.free_bytes(self.wanted.target.parent)
        if missing + SPARE_BYTES > free:
            raise FetchError(
                f"not enough room on the disk of {self.wanted.target.parent}: {missing / 2**20:.0f} MB are still to "
                f"come, {free / 2**20:.0f} MB are free; make room there, or choose another home with --home"
            )

    async def _disk(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        try:
            return await trio.to_thread.run_sync(work, *arguments)
        except OSError as error:
            place = self.wanted.target.parent
            if error.errno in _NO_ROOM:
                raise FetchError(
                    f"no room left on the disk of {place} ({os.strerror(error.errno or 0)}); make room there and start "
                    "again, what has come so far is kept"
                ) from None
            raise FetchError(f"cannot write in {place}: {error.strerror}; choose another home with --home") from None


class _Part:
    """The beginning of a blob on disk and the hash of it so far. Works on the disk: called in threads."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = wanted.part.open("a+b", buffering=0)
        self.size_bytes = 0
        self._hash = hashlib.sha256()
        self._file.seek(0)
        while piece := self._file.read(_READ_BYTES):
            self._hash.update(piece)
            self.size_bytes += len(piece)
        if self.size_bytes > (wanted.size_bytes or wanted.limit_bytes):
            self.clear()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, piece: bytes) -> None:
        written = 0
        while written < len(piece):  # an unbuffered file may take less, on a disk that fills up for example
            taken = self._file.write(piece[written:])
            self._hash.update(piece[written : written + taken])
            written += taken
            self.size_bytes += taken

    def clear(self) -> None:
        self._file.truncate(0)
        self._hash, self.size_bytes = hashlib.sha256(), 0

    def finish(self) -> None:
        os.fsync(self._file.fileno())
        self._wanted.part.replace(self._wanted.target)
        folder = os.open(self._wanted.target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        self._file.close()


def _is_there(wanted: Wanted) -> bool:
    """Whole, from an earlier run."""
    try:
        with wanted.target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256
    except OSError:
        return False


def _pause_seconds(error: PeerUnreachable, failures: int) -> float:
    if isinstance(error, PeerIncompatible):
        return _INCOMPATIBLE_SECONDS
    if isinstance(error, BlobAbsent):
        return _ABSENT_SECONDS
    return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 10))

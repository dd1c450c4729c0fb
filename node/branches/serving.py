"""What whoever speaks git is given: the result branches of one topic and their signed heads, nothing else, read-only.

Owns the process behind a stream: git's own upload-pack, on a view of the results repository in which every other ref
is hidden and HEAD is the branch that was asked for. Who may ask, and how often, is gossip's.
"""

import re
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trio

from node.branches.quiet_git import QuietGit, quiet_process
from node.branches.quotas import read_kept
from node.branches.words import Owned, owned_by_ref
from node.home import write_atomically
from node.results.git import ResultsError

_DEPTH = re.compile(rb"[0-9a-f]{4}deepen [1-9][0-9]{0,8}\n?")
_VERY_DEEP = b"0015deepen 2147483646"
TIMEOUT_SECONDS = 120  # git's own, without a word from the other side


class Serving:
    def __init__(self, results: Path, topic: str, me: str, kept: Path | None = None) -> None:
        """`kept`: the file of quotas, which says what is shallow; that is not given on."""
        self._kept = kept
        self._git, self._topic, self._me = QuietGit(results), topic, me
        self.given = ""  # the own signed head that somebody was given last, with what belongs to it

    async def open(self, names: Sequence[str]) -> AbstractAsyncContextManager[trio.abc.HalfCloseableStream] | None:
        try:
            offered = await self.offered()
        except ResultsError:  # whoever asks hears that there is nothing; our own commits say what is wrong
            return None
        chosen = [owned for owned in offered if not names or owned.branch in names]
        if not chosen:
            return None
        by_name = {owned.branch: owned for owned in chosen}
        first = next((by_name[name] for name in names if name in by_name), None)
        own = next((owned for owned in chosen if owned.peer == self._me), chosen[0])
        return self._upload_pack(first or own, chosen)

    async def told(self) -> str:
        """The own signed head, as git names it; "" if there is none."""
        ref = Owned(self._me, self._topic).head_ref
        return (await self._git.run("for-each-ref", "--format=%(objectname)", ref)).decode().strip()

    async def offered(self) -> list[Owned]:
        """Branches of the topic whose owner signed where they stand. Raises ResultsError."""
        if not self._git.directory.exists():
            return []
        listing = await self._git.run("for-each-ref", "--format=%(refname)", "refs/heads/nodes/", "refs/swarm/heads/")
        refs = listing.decode(errors="replace").split()
        known = {owned for ref in refs if (owned := owned_by_ref(ref)) and owned.topic == self._topic}
        present = set(refs)
        kept = {} if self._kept is None else read_kept(self._kept)
        known -= {owned for owned in known if owned.branch in kept and kept[owned.branch].shallow}
        return sorted(
            (owned for owned in known if {owned.ref, owned.head_ref} <= present), key=lambda owned: owned.branch
        )

    @asynccontextmanager
    async def _upload_pack(self, head: Owned, chosen: Sequence[Owned]) -> AsyncGenerator[trio.abc.HalfCloseableStream]:
        shown = [ref for owned in chosen for ref in (owned.ref, owned.head_ref)]
        hidden = [("transfer.hideRefs", "refs"), *(("transfer.hideRefs", f"!{ref}") for ref in shown)]
        view = await trio.to_thread.run_sync(make_view, self._git.directory, head)
        arguments = ("upload-pack", "--strict", f"--timeout={TIMEOUT_SECONDS}", str(view))
        async with quiet_process(arguments, config=hidden, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            own = await self.told() if any(owned.peer == self._me for owned in chosen) else ""
            said = _Watched(process.stdout)
            yield trio.StapledStream(_Asked(process.stdin), said)
            if said.packed and own:
                self.given = own


class _Asked(trio.abc.SendStream):
    """What upload-pack is asked, packet by packet. "All of the history" makes it give the parents of every commit that
    is named as cut, of hidden branches too (git 2.39), so that is put as a very large depth, which does not."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self._stream, self._rest = stream, bytearray()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._rest += data
        whole = bytearray()
        while (packet := self._packet()) is not None:
            if packet[4:11] == b"deepen " and _DEPTH.fullmatch(packet) is None:
                packet = _VERY_DEEP
            whole += packet
        if whole:
            await self._stream.send_all(whole)

    def _packet(self) -> bytes | None:
        """The next one, length and all; None: it is not whole."""
        try:
            length = max(4, int(self._rest[:4], 16)) if len(self._rest) >= 4 else 4
        except ValueError:
            raise trio.BrokenResourceError("no packet of git's") from None
        if len(self._rest) < length:
            return None
        packet = bytes(self._rest[:length])
        del self._rest[:length]
        return packet

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Watched(trio.abc.ReceiveStream):
    """What upload-pack says."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream, self.packed = stream, False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        piece = await self._stream.receive_some(max_bytes)
        self.packed = self.packed or b"PACK" in piece
        return piece

    async def aclose(self) -> None:
        await self._stream.aclose()


def make_view(directory: Path, head: Owned) -> Path:
    """A git directory with refs and objects of another and a HEAD of its own, as a linked work tree's is. It stays."""
    view = directory.absolute() / "swarm-views" / head.peer / head.topic
    if not (view / "HEAD").exists():
        view.mkdir(parents=True, exist_ok=True)
        write_atomically(view / "commondir", b"../../..\n")
        write_atomically(view / "HEAD", f"ref: {head.ref}\n".encode())
    return view

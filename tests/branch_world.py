"""Results repositories of several authors on one disk, and the way between them: for tests of travelling branches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from samples import make_finding
from small_lab import ALICE, BRIEF, BRIEF_ID, ME

from gossip.branches import SignedHead, seal_head
from gossip.bus import BlobAbsent, innermost
from gossip.envelope import Record, seal
from gossip.identity import Identity
from gossip.memory_wires import memory_wires
from gossip.pipe import Limits, Pipe
from node.branches.announcing import Announcer
from node.branches.fetching import Fetched, Fetcher
from node.branches.quiet_git import QuietGit
from node.branches.quotas import Quotas
from node.branches.serving import Serving
from node.branches.words import Owned
from node.events import Events
from node.results.repository import Results, open_results
from swarm.finding import encode_finding

TOPIC = BRIEF.name
AT = 1_800_000_000.0


@dataclass
class Author:
    """A node's results, as its recorder writes them, in small."""

    path: Path
    identity: Identity = ALICE
    records: list[Record] = field(default_factory=list)

    @property
    def peer(self) -> str:
        return self.identity.peer_id

    @property
    def owned(self) -> Owned:
        return Owned(self.peer, TOPIC)

    @property
    def git(self) -> QuietGit:
        return QuietGit(self.path)

    @property
    def results(self) -> Results:
        return open_results(self.path, self.peer, TOPIC, "author")

    def seal(self, number: int, identity: Identity | None = None) -> Record:
        finding = make_finding(BRIEF, number, 2.0)
        previous = self.records[-1].id if self.records else ""
        payload = encode_finding(finding)
        return seal(identity or self.identity, "finding", BRIEF_ID, number, previous, int(AT * 1000), payload)

    async def find(self, number: int, *, record: Record | None = None, files: dict[str, bytes] | None = None) -> str:
        """One finding more on the branch; its commit."""
        record = record or self.seal(number)
        self.records.append(record)
        folder = f"runs/{number:04}-run"
        contents = {"README.md": b"run %d\n" % number, f"{folder}/record.bin": record.frame}
        contents |= {f"{folder}/config.json": b'{"n": %d}\n' % number, **(files or {})}
        trailers = {"Finding-Id": record.id, "Run": folder}
        return await self.results.commit(contents, f"run {number}", trailers, AT + number)

    async def tell(self) -> SignedHead:
        head = await Announcer(self.results, self.identity, BRIEF_ID, TOPIC, Events()).announce()
        assert head is not None
        return head

    async def begin(self, count: int = 2) -> str:
        """A branch of so many findings, its head told."""
        await self.results.prepare()
        commit = ""
        for number in range(1, count + 1):
            commit = await self.find(number)
        await self.tell()
        return commit

    async def sign(self, commit: str, seq: int, identity: Identity | None = None, **other: str) -> None:
        """Any head at all, told as if it were sound."""
        fields = {"brief": BRIEF_ID, "branch": self.owned.branch} | other
        head = seal_head(identity or self.identity, fields["brief"], fields["branch"], bytes.fromhex(commit), seq, 1)
        await self.leave(head.frame)

    async def leave(self, frame: bytes) -> None:
        blob = (await self.git.run("hash-object", "-w", "--stdin", stdin=frame)).decode().strip()
        await self.git.run("update-ref", self.owned.head_ref, blob)

    async def fast_import(self, stream: bytes) -> str:
        """For commits that no recorder makes; the branch's new head."""
        await self.results._git.run("fast-import", "--quiet", "--force", "--done", stdin=stream)
        head = await self.results.head()
        assert head is not None
        return head


def join_to(sources: dict[str, Serving], wrap: Callable[[object], object] = lambda wire: wire):
    """As a bus's join, between repositories on this disk."""

    async def join(peer: str, names: Sequence[str], local: trio.abc.HalfCloseableStream, limits: Limits) -> int:
        opened = await sources[peer].open(names) if peer in sources else None
        if opened is None:
            raise BlobAbsent(peer)
        here, there = memory_wires()
        pipe = Pipe(wrap(here), local, limits)  # type: ignore[arg-type]
        try:
            async with opened as served, trio.open_nursery() as nursery:
                nursery.start_soon(Pipe(there, served, Limits(1 << 30), outlives=True).run)
                await pipe.run()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise innermost(group) from None
        return pipe.bytes_in

    return join


class Reader:
    """Who fetches."""

    def __init__(self, folder: Path, identity: Identity, *givers: Author, quota: int = 1 << 30, wrap=None) -> None:
        self.results = open_results(folder / "results", identity.peer_id, TOPIC)
        self.git = QuietGit(folder / "results")
        self.quotas = Quotas(folder / "branches.json", quota)
        self.folder = folder
        self.sources = {giver.peer: Serving(giver.path, TOPIC, giver.peer) for giver in givers}
        join = join_to(self.sources, wrap or (lambda wire: wire))
        self.fetcher = Fetcher(
            folder / "results", folder / "quarantine", identity.peer_id, BRIEF_ID, TOPIC, join, self.quotas
        )
        self.me = identity.peer_id

    async def begin(self) -> "Reader":
        await self.results.prepare()
        return self

    async def fetch(self, giver: Author, **options: object) -> Fetched:
        return await self.fetcher.fetch(giver.peer, **options)  # type: ignore[arg-type]

    async def refused(self, giver: Author) -> str:
        """Why the one branch of a giver is not taken; nothing of it may be here afterwards."""
        before = await self.results.branches()
        found = await self.fetch(giver)
        assert not found.taken
        assert await self.results.branches() == before
        assert not (self.folder / "quarantine").exists()
        return found.refused[0].reason.value

    async def head(self, author: Author) -> str | None:
        return (await self.results.branches()).get(author.owned.branch)


@pytest.fixture
async def alice(tmp_path: Path) -> Author:
    author = Author(tmp_path / "alice", ALICE)
    await author.begin()
    return author


@pytest.fixture
async def reader(tmp_path: Path, alice: Author) -> Reader:
    return await Reader(tmp_path / "me", ME, alice).begin()


async def tip(author: Author) -> str:
    head = await author.results.head()
    assert head is not None
    return head


def fast_commit(author: Author, files: str, *, message: str = "x", parent: str = "") -> bytes:
    """A commit as git fast-import reads it; `files` are its lines."""
    start = f"commit {author.owned.ref}\ncommitter a <a@b> {int(AT)} +0000\ndata {len(message)}\n{message}\n"
    return f"{start}{f'from {parent}' if parent else ''}\n{files}\ndone\n".encode()


def children() -> set[int]:
    """Processes that this one started and that are still there."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}

"""Branches between repositories: what travels, what is refused, what stays as it was."""

import os
import subprocess
from pathlib import Path

import branch_world
import pytest
import trio
from branch_world import AT, TOPIC, Author, Reader, children, tip
from small_lab import BOB, ME

from gossip.bus import PeerUnreachable
from node.branches.serving import Serving

alice, reader = branch_world.alice, branch_world.reader  # fixtures

# --- what travels ---


async def test_a_branch_arrives_with_its_commits_and_its_signed_head(alice: Author, reader: Reader) -> None:
    found = await reader.fetch(alice)
    assert [(one.owned.peer, one.commits, one.old) for one in found.taken] == [(alice.peer, 2, None)]
    assert await reader.head(alice) == await tip(alice)
    assert [commit.subject for commit in await reader.results.history(alice.owned.branch)] == ["run 2", "run 1"]
    head = await reader.fetcher.head(alice.peer)
    assert head is not None
    assert (head.commit.hex(), head.seq) == (await tip(alice), 2)
    await reader.git.run("fsck", "--strict", "--full")


async def test_nothing_of_it_is_checked_out(alice: Author, reader: Reader) -> None:
    await reader.fetch(alice)
    assert [path.name for path in (reader.folder / "results").iterdir()] == [".git"]
    assert (await reader.git.run("symbolic-ref", "HEAD")).decode().strip().endswith(f"{reader.me}/{TOPIC}")


async def test_only_what_is_new_comes_the_second_time(alice: Author, reader: Reader) -> None:
    first = (await reader.fetch(alice)).taken[0]
    assert (await reader.fetch(alice)).current == [alice.owned.branch]
    await alice.find(3)
    await alice.tell()
    second = (await reader.fetch(alice)).taken[0]
    assert (second.old, second.commits) == (first.new, 1)
    assert reader.quotas.kept[alice.owned.branch].bytes == first.bytes + second.bytes


async def test_a_branch_outlives_its_author(tmp_path: Path, alice: Author, reader: Reader) -> None:
    await reader.fetch(alice)
    mine = Author(tmp_path / "me" / "results", ME)
    other = await Reader(tmp_path / "bob", BOB, mine).begin()
    assert [one.owned for one in (await other.fetch(mine)).taken] == [alice.owned]
    assert await other.head(alice) == await tip(alice)


async def test_a_head_that_is_told_a_moment_late_moves_the_branch_to_what_was_told(
    alice: Author, reader: Reader
) -> None:
    told = await tip(alice)
    await alice.find(3)  # and not told yet
    assert (await reader.fetch(alice)).taken[0].new == told
    await alice.tell()
    assert (await reader.fetch(alice)).taken[0].new == await tip(alice)


async def test_what_a_person_committed_on_top_is_not_told(alice: Author, reader: Reader) -> None:
    finding = await tip(alice)
    await alice.results.commit({"my notes.md".replace(" ", "-"): b"mine\n"}, "notes", {}, AT + 9)
    await alice.tell()
    assert (await reader.fetch(alice)).taken[0].new == finding
    await alice.find(3)
    await alice.tell()
    assert (await reader.fetch(alice)).taken[0].commits == 2


async def test_a_shallow_branch_is_its_newest_commit_and_can_become_whole(alice: Author, reader: Reader) -> None:
    await reader.fetch(alice, shallow=True)
    assert len(await reader.results.history(alice.owned.branch)) == 1
    await alice.find(3)
    await alice.tell()
    assert (await reader.fetch(alice, shallow=True)).taken[0].new == await tip(alice)
    assert len(await reader.results.history(alice.owned.branch)) == 1
    await alice.find(4)
    await alice.tell()
    assert (await reader.fetch(alice)).taken[0].new == await tip(alice)
    assert len(await reader.results.history(alice.owned.branch)) == 4
    await reader.git.run("fsck", "--strict", "--full")


async def test_a_shallow_branch_is_not_given_on(alice: Author, reader: Reader) -> None:
    await reader.fetch(alice, shallow=True)
    kept = reader.folder / "branches.json"
    assert await Serving(reader.folder / "results", TOPIC, reader.me, kept).offered() == []
    await alice.find(3)
    await alice.tell()
    await reader.fetch(alice)
    assert await Serving(reader.folder / "results", TOPIC, reader.me, kept).offered() == [alice.owned]


async def test_a_shallow_branch_does_not_go_back(alice: Author, reader: Reader) -> None:
    await alice.find(3)
    await alice.tell()
    await reader.fetch(alice, shallow=True)
    newest = await tip(alice)
    older = (await alice.results.history())[1].hash
    await alice.git.run("update-ref", alice.owned.ref, older)
    await alice.tell()
    assert not (await reader.fetch(alice, shallow=True)).taken
    assert await reader.head(alice) == newest


# --- what goes wrong on the way ---


class Cut:
    """A wire that ends after so many bytes."""

    def __init__(self, wire, after: int) -> None:
        self.wire, self.left = wire, after
        self.write, self.close, self.reset = wire.write, wire.close, wire.reset

    async def read(self, n: int) -> bytes:
        piece = await self.wire.read(min(n, max(1, self.left)))
        self.left -= len(piece)
        return piece if self.left > 0 else b""


async def test_a_cut_transfer_leaves_nothing_and_starts_again(tmp_path: Path, alice: Author) -> None:
    await alice.find(3, files={"big.bin": os.urandom(1_000_000)})
    await alice.tell()
    cutting = [True]
    reader = Reader(tmp_path / "r", ME, alice, wrap=lambda wire: Cut(wire, 200_000) if cutting[0] else wire)
    await reader.begin()
    with pytest.raises(PeerUnreachable, match="cut"):
        await reader.fetch(alice)
    assert await reader.head(alice) is None
    assert not (tmp_path / "r" / "quarantine").exists()
    cutting[0] = False
    assert (await reader.fetch(alice)).taken[0].new == await tip(alice)


async def test_cancelled_in_the_middle_nothing_stays_behind(tmp_path: Path, alice: Author) -> None:
    await alice.find(3, files={"big.bin": os.urandom(1_000_000)})
    await alice.tell()
    started = trio.Event()

    class Slow:
        def __init__(self, wire) -> None:
            self.wire, self.seen, self.cut = wire, 0, trio.Event()
            self.write, self.close = wire.write, wire.close

        async def reset(self) -> None:
            self.cut.set()
            await self.wire.reset()

        async def read(self, n: int) -> bytes:
            self.seen += len(piece := await self.wire.read(n))
            if self.seen > 100_000:
                started.set()
                await self.cut.wait()
            return piece

    reader = await Reader(tmp_path / "r", ME, alice, wrap=Slow).begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.fetch, alice)
        await started.wait()
        nursery.cancel_scope.cancel()
    assert await reader.head(alice) is None
    assert not (tmp_path / "r" / "quarantine").exists()
    assert not children()


async def test_stock_git_reads_what_was_fetched(alice: Author, reader: Reader) -> None:
    await reader.fetch(alice)
    done = subprocess.run(
        ["git", "-C", str(reader.folder / "results"), "log", "--format=%s", alice.owned.branch],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["run 2", "run 1"]

"""What a stranger does to branches that are not its own, by what it gives and what it asks for."""

import os
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import branch_world
import pytest
import trio
from branch_world import AT, TOPIC, Author, Reader
from small_lab import BOB, ME

from gossip.bus import PeerUnreachable
from node.branches.healing import heal_cuts
from node.branches.serving import Serving
from node.results.git import ResultsError

alice, reader = branch_world.alice, branch_world.reader  # fixtures


def git(author: Author, *arguments: str, content: bytes = b"") -> str:
    words = ["git", "-C", str(author.path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(words, check=True, capture_output=True, input=content).stdout.decode().strip()


def put_on_top(author: Author, tree: str, *parents: str) -> str:
    """A commit above the signed head, which nothing checks."""
    tip = git(author, "rev-parse", author.owned.ref)
    others = [word for parent in parents for word in ("-p", parent)]
    commit = git(author, "commit-tree", tree, "-p", tip, *others, "-m", "z")
    git(author, "update-ref", author.owned.ref, commit)
    return commit


async def test_nobody_cuts_the_history_of_another(tmp_path: Path, alice: Author) -> None:
    me = Author(tmp_path / "me" / "results", ME)
    await me.begin(4)
    cut = (await me.results.history())[1].hash
    git(alice, "fetch", "-q", str(me.path), me.owned.ref)
    put_on_top(alice, git(alice, "rev-parse", f"{alice.owned.ref}^{{tree}}"), cut)
    (alice.path / ".git" / "shallow").write_text(f"{cut}\n")
    reader = Reader(tmp_path / "me", ME, alice)
    await reader.fetch(alice)
    assert len(await me.results.history()) == 4
    await reader.fetch(alice, shallow=True, again=True)
    assert len(await me.results.history()) == 4
    assert cut not in _cuts(reader)


async def test_a_shallow_branch_is_cut_at_its_head_and_nothing_else_is(tmp_path: Path, alice: Author) -> None:
    bob = Author(tmp_path / "bob", BOB)
    await bob.begin()
    reader = await Reader(tmp_path / "me", ME, alice, bob).begin()
    await reader.fetch(alice, shallow=True)
    await reader.fetch(bob, shallow=True)
    assert _cuts(reader) == {await reader.head(alice), await reader.head(bob)}
    await alice.find(3)
    await alice.tell()
    await reader.fetch(alice)
    assert _cuts(reader) == {await reader.head(bob)}


def _cuts(reader: Reader) -> set[str | None]:
    file = reader.folder / "results" / ".git" / "shallow"
    return set(file.read_text().split()) if file.exists() else set()


async def test_a_history_that_an_older_version_let_be_cut_is_whole_again(tmp_path: Path, alice: Author) -> None:
    me, bob = Author(tmp_path / "me" / "results", ME), Author(tmp_path / "bob", BOB)
    await me.begin(4)
    await bob.begin(3)
    reader = Reader(tmp_path / "me", ME, alice, bob)
    await reader.fetch(alice)
    await reader.fetch(bob, shallow=True)
    file = me.path / ".git" / "shallow"
    own = file.read_text()
    poison = [(await me.results.history())[1].hash, git(alice, "rev-parse", alice.owned.ref), "ab" * 20]
    file.write_text(own + "".join(f"{commit}\n" for commit in poison))
    assert len(await me.results.history()) == 2
    assert await heal_cuts(me.git, reader.quotas.kept) == 3
    assert file.read_text() == own
    assert len(await me.results.history()) == 4
    assert len(await me.results.history(alice.owned.branch)) == 2
    await me.git.run("fsck", "--strict", "--full")
    assert await heal_cuts(me.git, reader.quotas.kept) == 0


async def test_a_cut_that_a_persons_own_shallow_fetch_made_stays(tmp_path: Path, alice: Author, reader: Reader) -> None:
    await alice.find(3)
    where = str(reader.folder / "results")
    words = [
        "-c",
        "protocol.file.allow=always",
        "fetch",
        "-q",
        "--depth=1",
        alice.path.as_uri(),
        f"{alice.owned.ref}:refs/heads/mine",
    ]
    subprocess.run(["git", "-C", where, *words], check=True, capture_output=True)
    cuts = _cuts(reader)
    assert len(cuts) == 1
    assert await heal_cuts(reader.git, {}) == 0
    assert _cuts(reader) == cuts


async def test_only_objects_of_the_checked_branch_are_kept(alice: Author, reader: Reader) -> None:
    blob = git(alice, "hash-object", "-w", "--stdin", content=os.urandom(1000))
    above = put_on_top(alice, git(alice, "mktree", content=f"100644 blob {blob}\tx\n".encode()))
    assert (await reader.fetch(alice)).taken
    for unchecked in (blob, above):
        assert not await reader.git.says("cat-file", "-e", unchecked)
    await reader.git.run("fsck", "--strict", "--full", "--connectivity-only")


async def test_a_pack_that_grows_on_this_disk_is_refused(tmp_path: Path, alice: Author) -> None:
    """Small on the way, as differences from what is here already."""
    noise = os.urandom(500_000)
    await alice.find(3, files={"noise.bin": noise})
    await alice.tell()
    reader = await Reader(tmp_path / "r", ME, alice, quota=4 * 800_000).begin()
    assert (await reader.fetch(alice)).taken
    await alice.find(4, files={"noise.bin": noise + b"x"})
    await alice.tell()
    found = await reader.fetch(alice)
    assert [refused.reason.value for refused in found.refused] == ["too_large"]


async def test_a_wrong_branch_from_a_third_does_not_shut_its_author_out(tmp_path: Path, alice: Author) -> None:
    bob = Author(tmp_path / "bob", BOB)
    await bob.begin(1)
    git(bob, "fetch", "-q", str(alice.path), f"+{alice.owned.head_ref}:{alice.owned.head_ref}")
    git(bob, "update-ref", alice.owned.ref, git(bob, "rev-parse", bob.owned.ref))
    reader = await Reader(tmp_path / "me", ME, alice, bob).begin()
    assert (await reader.fetcher.fetch(bob.peer, [alice.peer])).refused
    assert (await reader.fetcher.fetch(alice.peer, [alice.peer])).taken


async def test_a_home_that_cannot_be_written_is_one_sentence(alice: Author, reader: Reader) -> None:
    (reader.folder / "quarantine").write_text("in the way")
    with pytest.raises(ResultsError, match="cannot be kept"):
        await reader.fetch(alice)


async def test_a_note_on_top_does_not_keep_a_shallow_branch_away(alice: Author, reader: Reader) -> None:
    await alice.results.commit({"notes.md": b"mine\n"}, "notes", {}, AT + 9)
    await alice.tell()
    assert (await reader.fetch(alice, shallow=True)).taken
    assert len(await reader.results.history(alice.owned.branch)) == 1
    assert (await reader.fetch(alice, shallow=True)).current == [alice.owned.branch]


def _packet(line: str) -> bytes:
    return b"%04x" % (len(line) + 4) + line.encode()


@pytest.mark.parametrize("depth", ["2147483647", "0x7fffffff", "6442450943", "+2147483647"])
async def test_hidden_branches_do_not_come_by_asking_for_all_of_the_history(depth: str, alice: Author) -> None:
    empty = git(alice, "mktree")
    hidden = git(alice, "commit-tree", empty, "-p", git(alice, "commit-tree", empty, "-m", "a"), "-m", "b")
    git(alice, "update-ref", "refs/heads/private", hidden)
    opened = await Serving(alice.path, TOPIC, alice.peer).open([])
    assert opened is not None
    wanted = await alice.results.head()
    asked = _packet(f"want {wanted} shallow ofs-delta no-progress\n") + _packet(f"shallow {hidden}\n")
    out = bytearray()
    async with opened as stream:
        await stream.send_all(asked + _packet(f"deepen {depth}\n") + b"0000" + _packet("done\n"))
        while piece := await stream.receive_some(65_536):
            out += piece
    assert b"PACK" in out
    assert b"unshallow" not in out


async def test_what_is_asked_may_come_in_any_portions(alice: Author) -> None:
    opened = await Serving(alice.path, TOPIC, alice.peer).open([])
    assert opened is not None
    out = bytearray()
    async with opened as stream:
        for byte in _packet(f"want {await alice.results.head()} no-progress\n") + b"0000" + _packet("done\n"):
            await stream.send_all(bytes([byte]))
        with trio.fail_after(30):
            while piece := await stream.receive_some(65_536):
                out += piece
    assert b"PACK" in out


async def test_no_hook_runs_for_what_a_peer_gives_or_asks_for(tmp_path: Path, alice: Author, reader: Reader) -> None:
    ran = tmp_path / "ran"
    for where in (alice.path, reader.folder / "results"):
        hooks = where / ".git" / "hooks"
        hooks.mkdir(exist_ok=True)
        for name in ("reference-transaction", "post-update", "pre-receive", "update", "post-checkout", "pre-auto-gc"):
            (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {ran}\n")
            (hooks / name).chmod(0o755)
    await alice.tell()
    git(alice, "config", "uploadpack.packObjectsHook", f"touch {ran} &&")
    assert (await reader.fetch(alice)).taken
    assert not ran.exists()


class _Chatting(trio.abc.ReceiveStream):
    """Goes on for long after git has said everything."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream, self._left = stream, 200

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if piece := await self._stream.receive_some(max_bytes):
            return piece
        self._left -= 1
        return bytes(100_000) if self._left > 0 else b""

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_who_goes_on_after_the_pack_gains_nothing(alice: Author, reader: Reader) -> None:
    class Chatty(Serving):
        async def open(self, names):  # type: ignore[no-untyped-def]
            opened = await super().open(names)
            assert opened is not None

            @asynccontextmanager
            async def chatting():  # type: ignore[no-untyped-def]
                async with opened as stream:
                    yield trio.StapledStream(stream, _Chatting(stream))

            return chatting()

    reader.sources[alice.peer] = Chatty(alice.path, TOPIC, alice.peer)
    with pytest.raises(PeerUnreachable):
        await reader.fetch(alice)
    assert await reader.head(alice) is None
    assert not (reader.folder / "quarantine").exists()

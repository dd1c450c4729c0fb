"""Branches between repositories: what travels, what is refused, what stays as it was."""

import os
import subprocess
from pathlib import Path

import pytest
import trio
from branch_world import AT, TOPIC, Author, Reader
from small_lab import ALICE, BOB, BRIEF_ID, ME

from gossip.bus import PeerUnreachable
from node.branches.checking import check_path
from node.branches.fetching import Fetcher
from node.branches.serving import Serving
from node.branches.words import BranchRefused, Owned, owned_by_ref
from node.results.repository import open_results


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


# --- what is given ---


async def ask(serving: Serving, *names: str) -> str:
    """What upload-pack lists first, to whoever asks."""
    opened = await serving.open(names)
    if opened is None:
        return ""
    async with opened as stream:
        await stream.send_all(b"0000")
        await stream.send_eof()
        listed = b""
        while piece := await stream.receive_some(65_536):
            listed += piece
    return listed.decode()


async def test_nothing_but_result_branches_and_their_heads_is_given(alice: Author) -> None:
    secret = await alice.results.commit({"secret.txt": b"diary\n"}, "private", {}, AT)
    for ref in ("refs/heads/diary", "refs/tags/t", "refs/notes/commits", "refs/replace/x", "refs/stash"):
        await alice.git.run("update-ref", ref, secret)
    await alice.git.run("update-ref", alice.owned.ref, (await alice.results.history())[1].hash)
    (alice.path / ".git" / "HEAD").write_text("ref: refs/heads/diary\n")
    listed = await ask(Serving(alice.path, TOPIC, alice.peer))
    assert secret not in listed
    named = {line.split()[1].split("\0")[0] for line in listed.splitlines() if len(line.split()) > 1}
    assert named == {"HEAD", alice.owned.ref, alice.owned.head_ref}


async def test_an_object_that_is_not_in_a_branch_is_not_given_by_its_name(alice: Author, tmp_path: Path) -> None:
    secret = await alice.results.commit({"secret.txt": b"diary\n"}, "private", {}, AT)
    await alice.git.run("update-ref", alice.owned.ref, (await alice.results.history())[1].hash)
    for protocol in ("0", "2"):
        opened = await Serving(alice.path, TOPIC, alice.peer).open([])
        assert opened is not None
        async with opened as stream:
            caps = b"" if protocol == "0" else b"version 2"
            await stream.send_all(f"0032want {secret}\n".encode() + b"00000009done\n" + caps[:0])
            await stream.send_eof()
            said = b""
            while piece := await stream.receive_some(65_536):
                said += piece
        assert b"not our ref" in said
        assert b"PACK" not in said


async def test_the_repositorys_own_settings_open_nothing(alice: Author) -> None:
    secret = await alice.results.commit({"secret.txt": b"diary\n"}, "private", {}, AT)
    await alice.git.run("update-ref", "refs/heads/diary", secret)
    for key, value in {"uploadpack.hideRefs": "!refs", "transfer.hideRefs": "!refs/heads/diary"}.items():
        await alice.git.run("config", "--add", key, value)
    assert "diary" not in await ask(Serving(alice.path, TOPIC, alice.peer))


async def test_branches_of_other_topics_are_not_given(alice: Author) -> None:
    other = open_results(alice.path, alice.peer, "another")
    await other.commit({"README.md": b"x"}, "x", {}, AT)
    await alice.git.run("update-ref", Owned(alice.peer, "another").head_ref, "HEAD")
    assert "another" not in await ask(Serving(alice.path, TOPIC, alice.peer))
    assert await ask(Serving(alice.path, TOPIC, alice.peer), Owned(alice.peer, "another").branch) == ""


async def test_a_process_ends_with_its_stream(alice: Author) -> None:
    opened = await Serving(alice.path, TOPIC, alice.peer).open([])
    assert opened is not None
    before = {int(pid) for pid in os.listdir("/proc") if pid.isdigit()}
    async with opened as stream:
        await stream.receive_some(10)
        started = [pid for pid in _children() if pid not in before]
        assert started
    assert not [pid for pid in started if pid in _children()]


def _children() -> set[int]:
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


async def test_a_repository_that_is_not_there_gives_nothing(tmp_path: Path) -> None:
    assert await Serving(tmp_path / "none", TOPIC, ALICE.peer_id).open([]) is None


# --- what is refused ---


async def test_a_forged_head(alice: Author, reader: Reader) -> None:
    head = await alice.tell()
    await alice.leave(head.frame[:-1] + bytes([head.frame[-1] ^ 1]))
    assert await reader.refused(alice) == "forged"


async def test_a_head_signed_with_another_key(alice: Author, reader: Reader) -> None:
    await alice.sign(await tip(alice), 2, identity=BOB)
    assert await reader.refused(alice) == "forged"


async def test_a_head_for_another_branch_or_brief(alice: Author, reader: Reader) -> None:
    await alice.sign(await tip(alice), 2, branch=Owned(alice.peer, "another").branch)
    assert await reader.refused(alice) == "forged"
    await alice.sign(await tip(alice), 2, brief="ab" * 32)
    assert await reader.refused(alice) == "forged"


async def test_a_head_that_is_no_head(alice: Author, reader: Reader) -> None:
    await alice.leave(os.urandom(300))
    assert await reader.refused(alice) == "forged"


async def test_a_head_of_a_commit_that_is_not_there(alice: Author, reader: Reader) -> None:
    await alice.sign("ab" * 20, 2)
    assert await reader.refused(alice) == "forged"


async def test_a_head_with_another_number_than_its_record(alice: Author, reader: Reader) -> None:
    await alice.sign(await tip(alice), 7)
    assert await reader.refused(alice) == "forged"


async def test_somebody_elses_branch_under_ones_own_name(tmp_path: Path, alice: Author) -> None:
    thief = Author(tmp_path / "thief", BOB)
    await thief.results.prepare()
    await thief.find(1, record=alice.records[0])
    await thief.sign(await tip(thief), 1)
    assert await (await Reader(tmp_path / "r", ME, thief).begin()).refused(thief) == "forged"


async def test_a_rewritten_branch(alice: Author, reader: Reader) -> None:
    await reader.fetch(alice)
    kept = await reader.head(alice)
    await alice.git.run("update-ref", "-d", alice.owned.ref)
    alice.records.clear()
    for number in (1, 2, 3):
        await alice.find(number, files={"README.md": b"another story\n"})
    await alice.tell()
    assert await reader.refused(alice) == "rewritten"
    assert await reader.head(alice) == kept


async def test_an_older_head_changes_nothing(alice: Author, reader: Reader) -> None:
    await alice.find(3)
    await alice.tell()
    await reader.fetch(alice)
    newest = await reader.head(alice)
    await alice.git.run("update-ref", alice.owned.ref, (await alice.results.history())[1].hash)
    await alice.tell()
    found = await reader.fetch(alice)
    assert (found.taken, found.refused) == ([], [])
    assert await reader.head(alice) == newest


async def test_what_was_refused_is_not_fetched_again(alice: Author, reader: Reader) -> None:
    await alice.sign(await tip(alice), 7)
    await reader.refused(alice)
    found = await reader.fetch(alice)
    assert (found.refused, found.current) == ([], [alice.owned.branch])


TRICKS = {
    "symlink": ("M 120000 inline link\ndata 11\n/etc/passwd\n", "forbidden"),
    "submodule": (f"M 160000 {'ab' * 20} sub\n", "forbidden"),
    "a file of a sound mode that is named .gitmodules": ('M 100644 inline .gitmodules\ndata 2\nx\n\n', "forbidden"),
    "attributes": ("M 100644 inline .gitattributes\ndata 2\nx\n\n", "forbidden"),
    "git's folder, as some systems see it": ("M 100644 inline GIT~1/hooks/post-checkout\ndata 2\nx\n\n", "forbidden"),
    "a hook in git's folder with a dot": ("M 100644 inline .git./hooks/x\ndata 2\nx\n\n", "forbidden"),
    "an invisible character": ('M 100644 inline ".g\\342\\200\\214it/config"\ndata 2\nx\n\n', "forbidden"),
    "escapes of a terminal": ('M 100644 inline "a\\033[2Jb"\ndata 2\nx\n\n', "forbidden"),
    "a backslash": ('M 100644 inline "..\\\\..\\\\x"\ndata 2\nx\n\n', "forbidden"),
    "a stream of a file": ("M 100644 inline README.md:x\ndata 2\nx\n\n", "forbidden"),
    "case": ("M 100644 inline readme.MD\ndata 2\nx\n\n", "forbidden"),
    "another's run": ("M 100644 inline runs/0001-run/config.json\ndata 2\nx\n\n", "not_a_result"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
async def test_tricks_in_a_tree(name: str, alice: Author, reader: Reader) -> None:
    files, reason = TRICKS[name]
    before = await tip(alice)
    trick = await alice.fast_import(fast_commit(alice, files, parent=before))
    assert trick != before
    await alice.find(3)
    await alice.tell()
    assert await reader.refused(alice) in (reason, "damaged")  # git's own fsck sees some of them first


async def test_names_that_git_itself_would_not_take(alice: Author, reader: Reader) -> None:
    """Trees made by hand, with .. and .git and a slash in a name."""
    for evil in (b"..", b".git", b"a/b", b".GIT", b""):
        blob = bytes.fromhex((await alice.git.run("hash-object", "-w", "--stdin", stdin=b"x")).decode().strip())
        tree = await alice.git.run(
            "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=b"100644 " + evil + b"\0" + blob
        )
        commit = await alice.git.run("commit-tree", tree.decode().strip(), "-m", "x", "-p", await tip(alice),
                                     config={"user.name": "a", "user.email": "a@b"})  # fmt: skip
        await alice.git.run("update-ref", alice.owned.ref, commit.decode().strip())
        await alice.sign(commit.decode().strip(), 3)
        assert await reader.refused(alice) == "damaged", evil
        await alice.git.run("update-ref", alice.owned.ref, (await alice.results.history())[1].hash)


async def test_a_merge(alice: Author, reader: Reader) -> None:
    first, second = (commit.hash for commit in await alice.results.history())
    files = f"merge {second}\nM 100644 inline b.txt\ndata 1\nb\n"
    await alice.fast_import(fast_commit(alice, files, parent=first))
    await alice.find(3)
    await alice.tell()
    assert await reader.refused(alice) == "not_a_result"


async def test_a_commit_with_a_record_of_another_author(tmp_path: Path, alice: Author) -> None:
    for record in (alice.seal(3, identity=BOB),):
        await alice.find(3, record=record)
    await alice.sign(await tip(alice), 3)
    assert await (await Reader(tmp_path / "r", ME, alice).begin()).refused(alice) == "forged"


async def test_a_commit_without_a_record(alice: Author, reader: Reader) -> None:
    await alice.results.commit({"README.md": b"no run\n"}, "x", {}, AT)
    await alice.sign(await tip(alice), 3)
    assert await reader.refused(alice) == "not_a_result"


async def test_a_record_that_is_none(alice: Author, reader: Reader) -> None:
    await alice.find(3, files={"runs/0003-run/record.bin": b"x" * 200})
    await alice.sign(await tip(alice), 3)
    assert await reader.refused(alice) == "not_a_result"


async def test_a_commit_that_names_another_record_than_it_holds(alice: Author, reader: Reader) -> None:
    await alice.find(3, files={"runs/0003-run/record.bin": alice.records[0].frame})
    await alice.sign(await tip(alice), 3)
    assert await reader.refused(alice) == "not_a_result"


async def test_separators_in_a_trailer_hide_nothing(alice: Author, reader: Reader) -> None:
    """A commit message that looks like the listing it will stand in, to make a link look like text."""
    evil = f"x\n\nFinding-Id: {'a' * 64}\x01{'b' * 40} \x02\x02\x02\nRun: runs/0003-run\x02\x01{'c' * 40} \x02"
    link = "M 120000 inline link\ndata 11\n/etc/passwd\n"
    await alice.fast_import(fast_commit(alice, link, message=evil, parent=await tip(alice)))
    await alice.find(3)
    await alice.tell()
    assert await reader.refused(alice) in ("forbidden", "not_a_result")


async def test_a_pack_over_the_quota_is_cut_and_leaves_nothing(tmp_path: Path, alice: Author) -> None:
    await alice.find(3, files={"big.bin": os.urandom(3_000_000)})
    await alice.tell()
    reader = await Reader(tmp_path / "r", ME, alice, quota=4_000_000).begin()  # of which one gets a quarter
    assert await reader.refused(alice) == "too_large"
    packs = [path for path in (tmp_path / "r").rglob("*") if path.is_file() and path.stat().st_size > 100_000]
    assert packs == []


async def test_a_file_that_is_small_in_a_pack_and_large_outside(alice: Author, reader: Reader) -> None:
    await alice.find(3, files={"zeros.bin": bytes(20_000_000)})
    await alice.tell()
    assert await reader.refused(alice) == "too_large"


async def test_a_used_up_quota_is_said(tmp_path: Path, alice: Author) -> None:
    reader = await Reader(tmp_path / "r", ME, alice, quota=4).begin()
    reader.quotas.add(alice.owned.branch, 1, alice.peer, "", shallow=False)
    found = await reader.fetch(alice)
    assert [str(refused) for refused in found.refused] == [f"{alice.owned.branch} is not fetched: the quota is used up"]


async def test_an_unwanted_author(tmp_path: Path, alice: Author) -> None:
    reader = await Reader(tmp_path / "r", ME, alice).begin()
    fetcher = Fetcher(
        tmp_path / "r" / "results", tmp_path / "q", ME.peer_id, BRIEF_ID, TOPIC, reader.fetcher._join, reader.quotas,
        wanted=lambda author: author != alice.peer,
    )  # fmt: skip
    found = await fetcher.fetch(alice.peer)
    assert (found.taken, found.refused) == ([], [])


def test_refs_that_are_no_branches() -> None:
    sound = Owned(ALICE.peer_id, TOPIC)
    assert owned_by_ref(sound.ref) == owned_by_ref(sound.head_ref) == sound
    for ref in (
        "refs/heads/-u", "refs/heads/nodes/../x", f"refs/heads/nodes/{ALICE.peer_id}/../../x", "refs/tags/v1",
        f"refs/heads/nodes/{ALICE.peer_id}/A", f"refs/heads/nodes/{ALICE.peer_id}/-u", "HEAD",
        f"refs/heads/nodes/{ALICE.peer_id}/t.lock", f"refs/heads/nodes/{ALICE.peer_id}/x/y",
        f"refs/heads/nodes/--upload-pack=x/{TOPIC}", f"{sound.ref}^{{}}",
    ):  # fmt: skip
        assert owned_by_ref(ref) is None, ref


@pytest.mark.parametrize("path", ["../x", "a/../b", "a//b", "/a", "x.", "x ", "git~1", ".GITmodules", "a:b", "nul\0"])
def test_names_that_are_refused(path: str) -> None:
    with pytest.raises(BranchRefused):
        check_path(Owned(ALICE.peer_id, TOPIC), path)


def test_names_that_are_not() -> None:
    for path in ("README.md", "runs/0007-rmsnorm/curve.png", "a file with spaces.txt", "größe.txt", ".env"):
        check_path(Owned(ALICE.peer_id, TOPIC), path)


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
    assert not _children()


async def test_stock_git_reads_what_was_fetched(alice: Author, reader: Reader) -> None:
    await reader.fetch(alice)
    done = subprocess.run(
        ["git", "-C", str(reader.folder / "results"), "log", "--format=%s", alice.owned.branch],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["run 2", "run 1"]

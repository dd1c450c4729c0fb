"""What a peer gives as a branch and nobody takes: forged, rewritten, full of tricks, too large."""

import os
from pathlib import Path

import branch_world
import pytest
from branch_world import AT, TOPIC, Author, Reader, fast_commit, tip
from small_lab import ALICE, BOB, BRIEF_ID, ME

from node.branches import checking
from node.branches.checking import check_path
from node.branches.fetching import Fetcher
from node.branches.words import BranchRefused, Owned, owned_by_ref

alice, reader = branch_world.alice, branch_world.reader  # fixtures


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
    refused = (await reader.fetch(alice)).refused[0]
    assert (refused.reason.value, "has a merge" in str(refused)) == ("not_a_result", True)


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
    named, held = alice.seal(4), alice.seal(3)
    await alice.find(3, record=named, files={"runs/0003-run/record.bin": held.frame})
    await alice.sign(await tip(alice), 3)
    assert await reader.refused(alice) == "not_a_result"


async def test_records_in_another_order_than_they_were_made(alice: Author, reader: Reader) -> None:
    await alice.find(3, record=alice.seal(5))
    await alice.find(4, record=alice.seal(4))
    await alice.sign(await tip(alice), 4)
    assert await reader.refused(alice) == "not_a_result"


@pytest.mark.parametrize(
    ("limit", "value"),
    [("MAX_COMMITS", 1), ("MAX_CHANGES", 2), ("MAX_LISTING_BYTES", 100), ("MAX_NAMES_BYTES", 100), ("MAX_ENTRIES", 0)],
)
async def test_more_than_can_be_looked_at(
    limit: str, value: int, alice: Author, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, limit, value)
    assert await reader.refused(alice) == "too_large"


async def test_objects_of_more_names_than_can_be_looked_at(
    alice: Author, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    await alice.results.commit({f"{number}.txt": b"%d" % number for number in range(100)}, "x", {}, AT)
    await alice.find(3)
    await alice.tell()
    monkeypatch.setattr(checking, "MAX_NAMES_BYTES", 4000)  # more than three records have
    assert await reader.refused(alice) == "too_large"


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
    refused = (await reader.fetch(alice)).refused[0]
    assert (refused.reason.value, "larger than the 1 MB" in str(refused)) == ("too_large", True)
    assert not (tmp_path / "r" / "quarantine").exists()
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

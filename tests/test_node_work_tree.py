"""The results repository's work tree: it follows the branch and never costs a person an edit."""

import subprocess

import pytest

from node.results.repository import open_results

ME = "12D3KooWCtoq5VmLMnQgNFdq3BBo3FkwNbMzfDKSBnhTKyFzv1aB"
BRANCH = f"nodes/{ME}/pysource"
AT = 1_790_000_000.0


def git(where, *arguments):
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
async def results(tmp_path):
    opened = open_results(tmp_path / "results", ME, "pysource", "tin can")
    await opened.prepare()
    return opened


def run_files(number):
    return {"README.md": b"run %d\n" % number, f"runs/{number:04d}-x/record.bin": b"\x00\xff%d" % number}


async def test_the_work_tree_follows(results):
    for number in (1, 2, 3):
        await results.commit(run_files(number), f"{number}", {}, AT)
        assert git(results.path, "status", "--porcelain") == ""
        assert (results.path / "README.md").read_text() == f"run {number}\n"
    assert results.work_tree_note == ""


async def test_edits_of_a_person_are_kept_and_said_and_the_rest_follows(results):
    await results.commit(run_files(1), "1", {}, AT)
    (results.path / "README.md").write_text("my notes\n")
    (results.path / "runs/0002-x").mkdir()
    (results.path / "runs/0002-x/record.bin").write_text("mine, untracked")
    for number in (2, 3):
        await results.commit(run_files(number), f"{number}", {}, AT)
        assert "README.md" in results.work_tree_note
    assert (results.path / "README.md").read_text() == "my notes\n"
    assert (results.path / "runs/0002-x/record.bin").read_text() == "mine, untracked"
    assert (results.path / "runs/0003-x/record.bin").read_bytes() == b"\x00\xff3"
    assert git(results.path, "show", "HEAD:README.md") == "run 3\n"
    git(results.path, "checkout", "--", "README.md")
    await results.commit(run_files(4), "4", {}, AT)
    assert (results.path / "README.md").read_text() == "run 4\n"


async def test_staged_changes_are_left_alone_until_they_are_gone(results):
    await results.commit(run_files(1), "1", {}, AT)
    (results.path / "README.md").write_text("staged\n")
    git(results.path, "add", "README.md")
    await results.commit(run_files(2), "2", {}, AT)
    assert "staged changes" in results.work_tree_note
    assert (results.path / "README.md").read_text() == "staged\n"
    assert git(results.path, "show", ":README.md") == "staged\n"
    git(results.path, "reset", "--hard", "--quiet")
    await results.commit(run_files(3), "3", {}, AT)
    assert git(results.path, "status", "--porcelain") == ""
    assert (results.path / "README.md").read_text() == "run 3\n"


async def test_a_head_elsewhere_is_left_alone(results):
    first = await results.commit(run_files(1), "1", {}, AT)
    git(results.path, "switch", "--quiet", "-c", "mine")
    await results.commit(run_files(2), "2", {}, AT)
    assert git(results.path, "rev-parse", "--abbrev-ref", "HEAD").strip() == "mine"
    assert git(results.path, "rev-parse", "HEAD").strip() == first
    assert git(results.path, "status", "--porcelain") == ""
    git(results.path, "switch", "--quiet", BRANCH)
    await results.commit(run_files(3), "3", {}, AT)
    assert (results.path / "README.md").read_text() == "run 3\n"


async def test_files_outside_the_repository_are_not_written_through_a_link(results, tmp_path):
    await results.commit(run_files(1), "1", {}, AT)
    outside = tmp_path / "outside"
    outside.mkdir()
    (results.path / "runs/0002-x").symlink_to(outside)
    await results.commit(run_files(2), "2", {}, AT)
    assert list(outside.iterdir()) == []
    assert "runs/0002-x/record.bin" in results.work_tree_note


async def test_a_commit_of_a_person_on_the_branch_stays_below_ours(results):
    await results.commit(run_files(1), "1", {}, AT)
    (results.path / "notes.txt").write_text("hello\n")
    git(results.path, "add", "notes.txt")
    git(results.path, "-c", "user.name=p", "-c", "user.email=p@example.org", "commit", "--quiet", "-m", "notes")
    await results.commit(run_files(2), "2", {}, AT)
    assert [entry.subject for entry in await results.history()] == ["2", "notes", "1"]
    assert git(results.path, "status", "--porcelain") == ""
    assert (results.path / "notes.txt").read_text() == "hello\n"


async def test_a_work_tree_left_behind_by_a_kill_is_brought_along_at_the_next_start(results):
    await results.commit(run_files(1), "1", {}, AT)
    index = (results.path / ".git/index").read_bytes()
    await results.commit(run_files(2), "2", {}, AT)
    (results.path / ".git/index").write_bytes(index)  # killed before the index, with half of the files written
    (results.path / "runs/0002-x/record.bin").unlink()
    again = open_results(results.path, ME, "pysource")
    await again.prepare()
    assert again.work_tree_note == ""
    assert git(results.path, "status", "--porcelain") == ""

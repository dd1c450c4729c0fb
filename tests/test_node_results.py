"""The results repository, with real git: commits, what a kill leaves, the work tree, other people's settings."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import trio

from node.results.git import mask_credentials
from node.results.repository import Results, ResultsError, branch_name, open_results

ME = "12D3KooWCtoq5VmLMnQgNFdq3BBo3FkwNbMzfDKSBnhTKyFzv1aB"
BRANCH = f"nodes/{ME}/pysource"
TRAILERS = {"Finding-Id": "a" * 64, "Val-Bpb": "1.834200"}
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


def run_files(number, **more):
    folder = f"runs/{number:04d}-x"
    named = {f"{folder}/{name.replace('_', '.')}": data for name, data in more.items()}
    return {"README.md": b"run %d\n" % number, f"{folder}/record.bin": b"\x00\xff%d" % number} | named


async def test_a_finding_is_one_commit_of_the_node_with_trailers_git_understands(results):
    commit = await results.commit(run_files(1), "0001 keep 1.8342 baseline\n\nBecause.", TRAILERS, AT)
    shown = git(results.path, "log", "--format=%H|%an|%ae|%cn|%at|%s|%(trailers:key=Finding-Id,valueonly)", BRANCH)
    assert (
        shown.strip() == f"{commit}|tin can|{ME}@swarm.invalid|tin can|1790000000|0001 keep 1.8342 baseline|{'a' * 64}"
    )
    assert git(results.path, "fsck", "--strict") == ""
    assert git(results.path, "rev-parse", "--abbrev-ref", "HEAD").strip() == BRANCH
    assert await results.head() == commit
    assert await results.branches() == {BRANCH: commit}


async def test_files_are_added_on_top_and_bytes_are_exact(results):
    blob = bytes(range(256)) * 300 + b"\r\n"
    first = await results.commit(run_files(1, curve_png=blob), "0001", TRAILERS, AT)
    second = await results.commit(run_files(2), "0002", TRAILERS, AT + 1)
    assert await results.read("runs/0001-x/curve.png", second) == blob
    assert await results.read("README.md", first) == b"run 1\n"
    assert await results.read("README.md", BRANCH) == b"run 2\n"
    assert (results.path / "runs/0001-x/curve.png").read_bytes() == blob
    assert git(results.path, "rev-parse", f"{second}^").strip() == first


async def test_history_is_newest_first_and_reads_trailers(results):
    for number in (1, 2, 3):
        await results.commit(run_files(number), f"000{number} keep", {"Finding-Id": f"{number}" * 64}, AT + number)
    entries = await results.history()
    assert [entry.subject for entry in entries] == ["0003 keep", "0002 keep", "0001 keep"]
    assert [entry.trailers["Finding-Id"][0] for entry in entries] == ["3", "2", "1"]
    assert [entry.at - AT for entry in entries] == [3, 2, 1]
    assert [entry.subject for entry in await results.history(limit=1)] == ["0003 keep"]
    assert await results.history(branch_name(ME, "other")) == []


async def test_hostile_words_cannot_add_trailers_or_control_characters(results):
    message = "0001 keep\x1b[31m\n\nthat is why\n\nFinding-Id: evil\nVal-Bpb: 0.1\x00\u202e\n"
    await results.commit(run_files(1), message, TRAILERS | {"Run": "a\nFinding-Id: evil"}, AT)
    (entry,) = await results.history()
    assert dict(entry.trailers) == TRAILERS | {"Run": "a Finding-Id: evil"}
    assert entry.subject == "0001 keep"
    raw = git(results.path, "cat-file", "commit", "HEAD")
    assert "\x1b" not in raw
    assert "\u202e" not in raw
    assert git(results.path, "log", "--format=%(trailers:key=Finding-Id,valueonly)").strip() == "a" * 64


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/x", ".git/hooks/x", "a/.git/config", "a/../b", 'q"uote', "new\nline", "-u", ""]
)
async def test_file_names_that_could_mean_something_else_are_refused(results, name):
    with pytest.raises(ResultsError, match="not a file name"):
        await results.commit({name: b""}, "x", {}, AT)
    with pytest.raises(ResultsError, match="not a file name"):
        await results.read(name, "HEAD")
    assert await results.head() is None


@pytest.mark.parametrize("name", ["-u", "--upload-pack=x", "main", f"nodes/{ME}/../x", "HEAD~1", "", f"{BRANCH}\n"])
async def test_revisions_that_could_mean_something_else_are_refused(results, name):
    with pytest.raises(ResultsError, match="is no commit"):
        await results.diff("HEAD", name)


def test_branches_are_built_from_checked_names_only():
    assert branch_name(ME, "pysource") == BRANCH
    for peer, topic in (("-u", "t"), (ME, "../t"), (ME, "-t"), (f"{ME}/x", "t"), (ME, "t.lock"), (ME, "")):
        with pytest.raises(ResultsError, match="cannot name a branch"):
            branch_name(peer, topic)


async def test_diff_shows_two_commits(results):
    first = await results.commit(run_files(1), "1", {}, AT)
    second = await results.commit(run_files(2), "2", {}, AT)
    assert "-run 1\n+run 2\n" in await results.diff(first, second, ["README.md"])
    assert "record.bin" not in await results.diff(first, second, ["README.md"])


async def test_reading_what_is_not_there_is_one_sentence(results, tmp_path):
    await results.commit(run_files(1), "1", {}, AT)
    with pytest.raises(ResultsError, match=r"no file absent\.txt in commit HEAD"):
        await results.read("absent.txt", "HEAD")
    with pytest.raises(ResultsError, match="does not exist"):
        await Results(tmp_path / "nowhere", BRANCH).head()


# --- kills and locks ----------------------------------------------------------------------------------------------


async def test_stale_locks_are_removed_at_the_start(results):
    await results.commit(run_files(1), "1", {}, AT)
    places = ("index.lock", "HEAD.lock", "config.lock", f"refs/heads/{BRANCH}.lock")
    for place in places:
        (results.path / ".git" / place).touch()
    again = open_results(results.path, ME, "pysource")
    await again.prepare()
    assert [place for place in places if (results.path / ".git" / place).exists()] == []
    await again.commit(run_files(2), "2", {}, AT)
    assert git(results.path, "status", "--porcelain") == ""


async def test_what_a_killed_fast_import_left_is_taken_away_later(results):
    old, young = (results.path / ".git/objects/pack" / name for name in ("tmp_pack_old", "tmp_pack_young"))
    for draft in (old, young):
        draft.touch()
    os.utime(old, (AT - 1e8, AT - 1e8))
    await results.prepare()
    assert (old.exists(), young.exists()) == (False, True)


async def test_half_a_repository_is_completed(tmp_path):
    (tmp_path / "results/.git").mkdir(parents=True)  # git init killed at once
    results = open_results(tmp_path / "results", ME, "pysource")
    await results.prepare()
    await results.commit(run_files(1), "1", {}, AT)
    assert git(results.path, "fsck", "--strict") == ""


COMMIT_FOREVER = """
import sys, trio
from pathlib import Path
from node.results.repository import open_results
async def main(path, peer, number):
    results = open_results(Path(path), peer, "pysource")
    await results.prepare()
    while True:
        files = {"README.md": b"%d" % number, f"runs/{number:06d}-x/log.txt": b"x" * 3000}
        print(await results.commit(files, f"run {number}", {"Run": str(number)}, 1e9 + number), flush=True)
        number += 1
trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


def test_a_kill_at_any_moment_leaves_a_valid_repository_with_every_reported_commit(tmp_path):
    moments = random.Random(20261121)
    home, told = tmp_path / "results", []
    for attempt in range(8):
        command = [sys.executable, "-c", COMMIT_FOREVER, str(home), ME, str(attempt * 1000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as child:
            assert child.stdout is not None
            told.append(child.stdout.readline().strip())  # it is at work
            time.sleep(moments.uniform(0, 0.06))  # a commit takes about 30 ms: this ends somewhere inside one
            gits = psutil.Process(child.pid).children(recursive=True)
            child.send_signal(signal.SIGKILL)
            if attempt % 2:  # git too; otherwise it outlives its node for a moment
                for one in gits:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            told += [line.strip() for line in child.stdout if line.endswith("\n")]
        # A git that outlived its node still writes: fsck would see a branch of objects that came after it had looked.
        _, still_there = psutil.wait_procs(gits, timeout=30)
        assert not still_there
        git(home, "fsck", "--strict", "--no-dangling")
    history = git(home, "rev-list", BRANCH).split()
    assert set(told) <= set(history)
    assert len(told) >= 8


async def test_a_killed_git_is_one_sentence_and_changes_nothing(results, tmp_path, monkeypatch):
    first = await results.commit(run_files(1), "1", {}, AT)
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    # A git that is killed while it reads the stream: the real one, given half of it.
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *fast-import*) head -c 300 | {real} "$@"; kill -9 $$;; esac\nexec {real} "$@"\n'
    )
    fake.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
        with pytest.raises(ResultsError, match="could not be committed"):
            await results.commit(run_files(2), "2", {}, AT)
    assert await results.head() == first
    git(results.path, "fsck", "--strict", "--no-dangling")
    await results.prepare()
    await results.commit(run_files(2), "2", {}, AT)


async def test_a_repository_that_cannot_be_written_is_one_sentence(results):
    first = await results.commit(run_files(1), "1", {}, AT)
    # Also for root, unlike access rights: git has no place for new objects.
    (results.path / ".git/objects/pack").rmdir()
    (results.path / ".git/objects/pack").write_text("")
    with pytest.raises(ResultsError, match=r"could not be committed to .*; check free space") as caught:
        await results.commit(run_files(2), "2", {}, AT)
    assert "\n" not in str(caught.value)
    assert await results.head() == first


async def test_no_git_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResultsError, match="git was not found"):
        await open_results(tmp_path / "results", ME, "pysource").prepare()


async def test_a_place_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot be made"):
        await open_results(tmp_path / "file/results", ME, "pysource").prepare()


# --- a person's own git -------------------------------------------------------------------------------------------


async def test_a_persons_own_settings_do_not_reach_our_commits(tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-index-change", "pre-push", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[user]\nname = Real Name\nemail = real@example.org\n[commit]\ngpgsign = true\n[gpg]\nprogram = /bin/false\n"
        f"[core]\nhooksPath = {hooks}\nautocrlf = true\neol = crlf\n[init]\ndefaultBranch = trunk\n"
        "[log]\nshowSignature = true\n[i18n]\ncommitEncoding = latin1\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Real Name")
    results = open_results(tmp_path / "results", ME, "pysource", "tin can <x>\n")
    await results.prepare()
    await results.commit(run_files(1), "1", TRAILERS, AT)
    await results.commit(run_files(2, log_txt=b"a\nb\n"), "2", TRAILERS, AT)
    assert len(await results.history()) == 2
    assert (results.path / "runs/0002-x/log.txt").read_bytes() == b"a\nb\n"
    assert not (tmp_path / "hook-ran").exists()
    monkeypatch.delenv("GIT_DIR")
    raw = git(results.path, "cat-file", "commit", "HEAD")
    assert "Real Name" not in raw
    assert "gpgsig" not in raw
    assert f"author tin can x <{ME}@swarm.invalid>" in raw


# --- push ---------------------------------------------------------------------------------------------------------


async def test_push_to_a_bare_repository(results, tmp_path):
    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    with pytest.raises(ResultsError, match="nothing to push"):
        await results.push(str(remote))
    for number in (1, 2):
        commit = await results.commit(run_files(number), f"{number}", {}, AT)
        await results.push(str(remote))
        assert git(remote, "rev-parse", f"refs/heads/{BRANCH}").strip() == commit


async def test_a_dead_remote_is_one_sentence_without_the_password(results):
    await results.commit(run_files(1), "1", {}, AT)
    with pytest.raises(ResultsError, match=r"push to .* failed, results stay safe here: ") as caught:
        await results.push("http://user:s3cret@127.0.0.1:9/x.git?token=s3cret")
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ResultsError, match="failed"):
        await results.push("--receive-pack=touch evil")


async def test_a_push_that_hangs_ends_when_the_caller_gives_up(results):
    await results.commit(run_files(1), "1", {}, AT)
    listener = await trio.open_tcp_listeners(0, host="127.0.0.1")  # takes connections, never answers
    port = listener[0].socket.getsockname()[1]
    with trio.move_on_after(0.5) as scope:
        await results.push(f"http://127.0.0.1:{port}/x.git")
    assert scope.cancelled_caught
    await listener[0].aclose()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:p@ss/w@host/x", "https://***@host/x"),
        ("https://host/x?private_token=abc", "https://host/x?***"),
        ("git@github.com:me/x.git", "git@github.com:me/x.git"),
    ],
)
def test_credentials_are_masked(url, shown):
    assert mask_credentials(url) == shown

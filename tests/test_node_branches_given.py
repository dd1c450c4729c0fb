"""What whoever asks a node by git is given, and what not."""

import os
from pathlib import Path

import branch_world
from branch_world import AT, TOPIC, Author, children
from small_lab import ALICE

from node.branches.serving import Serving
from node.branches.words import Owned
from node.results.repository import open_results

alice = branch_world.alice  # fixtures


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
        started = [pid for pid in children() if pid not in before]
        assert started
    assert not [pid for pid in started if pid in children()]


async def test_a_repository_that_is_not_there_gives_nothing(tmp_path: Path) -> None:
    assert await Serving(tmp_path / "none", TOPIC, ALICE.peer_id).open([]) is None

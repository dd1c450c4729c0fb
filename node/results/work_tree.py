"""The results repository's work tree, brought along when the branch moves: what a person sees in the folder.

Owns one rule: a file is replaced only if it is one of our own versions. A person's edits, staged changes, other
branches and half-done merges are left as they are, and said. Any kill between two steps is mended by the next call.
"""

import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import trio

from node.results.git import Git, GitFailed

_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's name of a tree without files
_STEPS_BACK = 200  # commits behind the branch that a work tree is still recognised at; guess with room
_RAW = re.compile(rb":\d{6} (\d{6}) ([0-9a-f]{40}) ([0-9a-f]{40}) [A-Z]\d*$")


@dataclass(frozen=True, slots=True)
class _Change:
    path: str
    blob: str  # what the branch has there now
    versions: frozenset[str]  # what we had there since the work tree was last brought along


async def bring_along(git: Git, branch: str) -> str:
    """Make the work tree show `branch`, if that is checked out. Returns what was left and why; empty: nothing."""
    try:
        head = await _checked_out(git, branch)
        return await _advance(git, head) if head else ""
    except (GitFailed, OSError) as error:
        return f"The folder {git.path} could not be brought up to date, the branch itself is: {error}."


async def _checked_out(git: Git, branch: str) -> str | None:
    try:
        current = (await git.run("symbolic-ref", "--quiet", "HEAD")).decode().strip()
    except GitFailed:  # a detached HEAD
        return None
    return (await git.run("rev-parse", "--verify", f"{current}^0")).decode().strip() if current == branch else None


async def _advance(git: Git, head: str) -> str:
    base = await _index_stands_at(git, head)
    if base is None:
        return f"The folder {git.path} has staged changes and was left as it is; the branch moved on without it."
    if base == head:
        return ""
    changes = await _changes(git, base, head)
    contents = await _contents(git, [change.blob for change in changes])
    in_thread = cast("Callable[..., Awaitable[list[str]]]", trio.to_thread.run_sync)  # trio-typing's stubs are older
    left = await in_thread(_write_all, git, changes, contents)
    # Files first, index second: killed between the two, the next call finds our own versions and goes on.
    await git.run("read-tree", "-i", "-m", head)
    with contextlib.suppress(GitFailed):  # its way of saying that a file differs, which is what we left
        await git.run("update-index", "-q", "--refresh")
    shown = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    return f"Your own changes in {git.path} were left as they are: {shown}." if left else ""


async def _index_stands_at(git: Git, head: str) -> str | None:
    """The commit, or the empty tree, that the index holds exactly; None if a person staged something."""
    if not (git.directory / "index").exists():
        return _EMPTY_TREE
    try:
        tree = (await git.run("write-tree")).decode().strip()
    except GitFailed:  # unmerged entries
        return None
    if tree == _EMPTY_TREE:
        return tree
    listing = await git.run("log", "--first-parent", f"-n{_STEPS_BACK}", "--format=%H %T", head, "--")
    commits = [line.split(" ") for line in listing.decode().splitlines()]
    return next((commit for commit, its_tree in commits if its_tree == tree), None)


async def _changes(git: Git, base: str, head: str) -> list[_Change]:
    options = ("-r", "-z", "--raw", "--no-renames", "--no-abbrev")
    now = _raw_entries(await git.run("diff-tree", *options, base, head, "--"))
    since = head if base == _EMPTY_TREE else f"{base}..{head}"
    known: dict[str, set[str]] = {}
    for path, _, before, after in _raw_entries(await git.run("log", "--format=", *options, since, "--")):
        known.setdefault(path, set()).update((before, after))
    return [
        _Change(path, after, frozenset(known.get(path, set()) | {before, after}))
        for path, mode, before, after in now
        if mode in ("100644", "100755")  # a deleted file is not taken away, a link is not ours
    ]


def _raw_entries(raw: bytes) -> list[tuple[str, str, str, str]]:
    """(path, new mode, old blob, new blob) of git's raw diff format."""
    fields = [field for field in raw.split(b"\0") if field]
    entries: list[tuple[str, str, str, str]] = []
    for header, path in itertools.pairwise(fields):
        if match := _RAW.match(header.lstrip(b"\n")):
            mode, before, after = (group.decode() for group in match.groups())
            entries.append((os.fsdecode(path), mode, before, after))
    return entries


async def _contents(git: Git, blobs: list[str]) -> dict[str, bytes]:
    out = await git.run("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode())
    contents: dict[str, bytes] = {}
    at = 0
    for blob in blobs:
        end = out.index(b"\n", at)
        size = int(out[at:end].rsplit(b" ", 1)[1])
        contents[blob] = out[end + 1 : end + 1 + size]
        at = end + size + 2
    return contents


def _write_all(git: Git, changes: list[_Change], contents: dict[str, bytes]) -> list[str]:
    """Write what may be written; the paths that may not."""
    return [change.path for change in changes if not _write(git, change, contents[change.blob])]


def _write(git: Git, change: _Change, content: bytes) -> bool:
    target = git.path / change.path
    root = git.path.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        current = _blob_of(target)
    except (FileExistsError, NotADirectoryError):  # a person put a file where we have a folder
        return False
    if not target.parent.resolve().is_relative_to(root) or (current is not None and current not in change.versions):
        return False
    if current != change.blob:
        draft = git.directory / "swarm-draft"  # inside .git: a kill leaves nothing in sight
        draft.write_bytes(content)
        draft.replace(target)
    return True


def _blob_of(path: Path) -> str | None:
    """git's name of a file's content, as it lies there; None if there is nothing. A link or folder has no such name."""
    if not path.is_symlink() and not path.exists():
        return None
    if path.is_symlink() or not path.is_file():
        return "not a regular file"
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

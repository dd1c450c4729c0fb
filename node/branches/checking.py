"""Whether what a peer gave as a branch is one: signed by its owner, only results in it, nothing that plays tricks.

Works on a quarantine: a repository with the new objects in it and everything known behind it. fsck has been through it.
Nothing here moves a ref. Every new commit is looked at by what it changed, so that a branch of ten thousand runs costs
what was changed and not ten thousand trees.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import trio

from gossip.branches import MAX_HEAD_BYTES, SignedHead, open_head
from gossip.envelope import MAX_FRAME_BYTES, Record, open_frame
from gossip.refusal import Refused
from node.branches.quiet_git import QuietGit, TooLong
from node.branches.words import BranchRefused, Owned, Refusal
from node.results.git import GitFailed
from node.text import clean

MAX_COMMITS = 100_000
MAX_CHANGES = 2_000_000  # files touched by all new commits; ours touch fifteen each
COMMITS_AT_ONCE = 400  # that are listed and looked at: what a listing becomes in memory is ten times its size
MAX_LISTING_BYTES = 16 << 20  # of those; 150 bytes a changed file. Of a shallow branch: seven thousand runs
MAX_NAMES_BYTES = 96 << 20  # of new objects, 41 bytes each; of new records together
MAX_FILE_BYTES = 16 << 20  # a log is 200 kB; a person's file may be larger
MAX_ENTRIES = 200_000  # of one folder
MAX_NAME_BYTES = 200
_FILE_MODES = {"100644", "100755", "000000"}  # the last: taken away
_RUN = re.compile(r"runs/[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_CHANGE = re.compile(r":(\d{6}) (\d{6}) [0-9a-f]{40} ([0-9a-f]{40}) ([A-Z])")


@dataclass(frozen=True, slots=True)
class _Change:
    mode: str
    blob: str
    path: str


@dataclass(frozen=True, slots=True)
class _Commit:
    id: str
    parents: tuple[str, ...]
    finding: str
    run: str
    changes: tuple[_Change, ...]


async def read_head(git: QuietGit, owned: Owned, brief: str) -> SignedHead:
    """The signed head that came with a branch. Raises BranchRefused."""
    try:
        head = open_head(await git.run("cat-file", "blob", owned.head_ref, limit_bytes=MAX_HEAD_BYTES))
    except (GitFailed, TooLong, Refused) as error:
        raise BranchRefused(Refusal.FORGED, f"{owned.branch} has no valid signed head: {error}") from None
    said = {"author": (head.author, owned.peer), "branch": (head.branch, owned.branch), "brief": (head.brief, brief)}
    for name, (found, expected) in said.items():
        if found != expected:
            raise BranchRefused(Refusal.FORGED, f"the signed head of {owned.branch} names another {name}: {found}")
    return head


async def check_commits(git: QuietGit, owned: Owned, head: SignedHead, old: str | None, *, shallow: bool) -> int:
    """Every commit after `old` up to the head; how many there are. Raises BranchRefused."""
    commits = await _new_commits(git, owned, head.commit.hex(), old, shallow=shallow)
    newest = commits[-1] if commits else None
    if newest is None or newest.id != head.commit.hex() or not newest.finding:
        raise BranchRefused(Refusal.NOT_A_RESULT, f"the head of {owned.branch} is not the commit of a finding")
    await _check_roots(git, owned, head.commit.hex())
    records = await _records(git, owned, [commit for commit in commits if commit.finding])
    before: dict[str, int] = {}  # by brief: a topic's next brief goes on in the same branch
    for record, commit in records:
        _check_record(owned, record, commit)
        if record.seq <= before.get(record.brief, 0):
            raise BranchRefused(Refusal.NOT_A_RESULT, f"{owned.branch} has its records in another order")
        before[record.brief] = record.seq
    if records[-1][0].seq != head.seq or records[-1][0].brief != head.brief:
        raise BranchRefused(Refusal.FORGED, f"the signed head of {owned.branch} is for another record than its commit")
    return len(commits)


async def _new_commits(git: QuietGit, owned: Owned, new: str, old: str | None, *, shallow: bool) -> list[_Commit]:
    """Oldest first. Of a shallow branch there is one, and all its files are new."""
    since = (f"^{old}",) if old is not None and not shallow else ()
    limits = ("--reverse", "--topo-order", f"--max-count={MAX_COMMITS + 1}", *(("--no-walk",) if shallow else ()))
    try:
        ids = (await git.run("rev-list", *limits, "--end-of-options", new, *since)).decode().split()
        commits: list[_Commit] = []
        changes = 0
        for at in range(0, len(ids), COMMITS_AT_ONCE):
            listing = await _list(git, ids[at : at + COMMITS_AT_ONCE])
            read = await trio.to_thread.run_sync(_read_and_check, owned, listing, shallow)
            changes += sum(len(commit.changes) for commit in read)
            commits += [_only_record(commit) for commit in read]
            if len(ids) > MAX_COMMITS or changes > MAX_CHANGES:
                raise BranchRefused(Refusal.TOO_LARGE, f"{owned.branch} has more than {MAX_COMMITS} commits or files")
    except TooLong:
        raise BranchRefused(Refusal.TOO_LARGE, f"{owned.branch} changes too many files to be looked at") from None
    except GitFailed as failure:
        raise BranchRefused(Refusal.DAMAGED, f"{owned.branch} cannot be read: {failure.line}") from None
    return commits


async def _list(git: QuietGit, ids: list[str]) -> bytes:
    """Each of these commits and what it changes."""
    form = "--format=%x01%H %P%x02%(trailers:key=Finding-Id,valueonly)%x02%(trailers:key=Run,valueonly)%x02"
    raw = ("--raw", "-r", "-z", "--root", "--no-renames", "--no-abbrev", "--no-color", "--no-ext-diff", "-m")
    return await git.run("log", form, *raw, "--no-walk=unsorted", "--stdin",
                         stdin=_lines(ids), limit_bytes=MAX_LISTING_BYTES)  # fmt: skip


def _only_record(commit: _Commit) -> _Commit:
    """Without the other changes, which were looked at."""
    record = f"{commit.run}/record.bin"
    return replace(commit, changes=tuple(change for change in commit.changes if change.path == record))


def _read_and_check(owned: Owned, log: bytes, shallow: bool) -> list[_Commit]:
    commits = [_read_commit(part) for part in log.decode(errors="surrogateescape").split("\x01")[1:]]
    for commit in commits:
        _check_commit(owned, commit, shallow=shallow)
    return commits


def _read_commit(text: str) -> _Commit:
    """One commit of git's log. A separator inside a message or a name makes it a commit that is refused."""
    head, finding, run, rest = [*text.split("\x02", 3), "", "", ""][:4]
    id, *parents = head.split(" ") if head else [""]
    return _Commit(id, tuple(p for p in parents if p), finding.strip(), run.strip(), tuple(_changes(rest)))


def _changes(raw: str) -> Iterator[_Change]:
    fields = iter(raw.strip("\n\0").split("\0"))
    for field in fields:
        match = _CHANGE.fullmatch(field.lstrip("\n"))
        if match is None:
            if field.strip("\n"):
                yield _Change("", "", field)  # not understood: refused by its mode
            continue
        yield _Change(match[2], match[3], next(fields, ""))


def _check_commit(owned: Owned, commit: _Commit, *, shallow: bool) -> None:
    """Of a shallow branch all runs come with the newest."""
    if len(commit.parents) > 1:
        raise BranchRefused(Refusal.NOT_A_RESULT, f"{owned.branch} has a merge, commit {commit.id[:10]}")
    if bool(commit.finding) != bool(commit.run) or (commit.run and not _RUN.fullmatch(commit.run)):
        raise BranchRefused(Refusal.NOT_A_RESULT, f"commit {clean(commit.id, 10)} of {owned.branch} names no run")
    spelled: dict[str, str] = {}
    for change in commit.changes:
        if change.mode not in _FILE_MODES:
            kind = {"120000": "a symbolic link", "160000": "a submodule"}.get(change.mode, "no plain file")
            raise BranchRefused(Refusal.FORBIDDEN, f"{clean(change.path, 120)!r} in {owned.branch} is {kind}")
        own = shallow or (commit.run and change.path.startswith(f"{commit.run}/"))
        if _folded(change.path).startswith("runs/") and not own:
            raise BranchRefused(
                Refusal.NOT_A_RESULT, f"commit {commit.id[:10]} of {owned.branch} changes a run that is not its own"
            )
        check_path(owned, change.path)
        if spelled.setdefault(_folded(change.path), change.path) != change.path:
            raise BranchRefused(Refusal.FORBIDDEN, f"two names in {owned.branch} differ in their case only")


def check_path(owned: Owned, path: str) -> None:
    """Raises BranchRefused for a name that could leave its folder or mean something to a system."""
    if any(_is_tricky(name) for name in path.split("/")):
        raise BranchRefused(Refusal.FORBIDDEN, f"{clean(path, 120)!r} in {owned.branch} is a name that plays tricks")


@lru_cache(maxsize=4096)  # most names are those of every run
def _is_tricky(name: str) -> bool:
    folded = _folded(name).rstrip(". ")
    return (
        name in ("", ".", "..")
        or name != name.strip()
        or name.endswith(".")
        or len(name.encode(errors="replace")) > MAX_NAME_BYTES
        or not name.isprintable()
        or any(character in '\\:*?"<>|' for character in name)
        or folded.startswith((".git", "git~"))
        or unicodedata.normalize("NFC", name) != name
    )


def _folded(path: str) -> str:
    """As systems that tell no case see it; characters that show nothing left out."""
    if path.isascii():
        return path.lower()
    shown = "".join(c for c in unicodedata.normalize("NFKC", path) if unicodedata.category(c) not in ("Cf", "Mn"))
    return shown.casefold()


async def _check_roots(git: QuietGit, owned: Owned, commit: str) -> None:
    """Names of earlier commits against names of these: in the folders where both can be."""
    for folder in ("", "runs/"):
        try:
            out = await git.run(
                "ls-tree", "-z", "--name-only", "--end-of-options", commit, *([folder] if folder else []),
                limit_bytes=MAX_ENTRIES * 64,
            )  # fmt: skip
        except TooLong:
            raise BranchRefused(Refusal.TOO_LARGE, f"a folder of {owned.branch} has too many entries") from None
        names = [name for name in out.decode(errors="surrogateescape").split("\0") if name]
        if len({_folded(name) for name in names}) != len(names):
            raise BranchRefused(Refusal.FORBIDDEN, f"two names in {owned.branch} differ in their case only")


async def _records(git: QuietGit, owned: Owned, commits: list[_Commit]) -> list[tuple[Record, _Commit]]:
    """The record of each commit. Signatures are checked in a thread: a tenth of a millisecond each."""
    blobs = [_record_blob(owned, commit) for commit in commits]
    sizes = await git.run("cat-file", "--batch-check=%(objecttype) %(objectsize)", stdin=_lines(blobs))
    for line in sizes.decode().splitlines():
        kind, _, size = line.partition(" ")
        if kind != "blob" or int(size) > MAX_FRAME_BYTES:
            raise BranchRefused(Refusal.NOT_A_RESULT, f"{owned.branch} has a record.bin that is none")
    try:
        out = await git.run("cat-file", "--batch", stdin=_lines(blobs), limit_bytes=MAX_NAMES_BYTES)
        records = await trio.to_thread.run_sync(lambda: [open_frame(frame) for frame in _batch(out)])
    except TooLong:
        raise BranchRefused(Refusal.TOO_LARGE, f"{owned.branch} has too many new records") from None
    except Refused as refused:
        raise BranchRefused(Refusal.NOT_A_RESULT, f"{owned.branch} has a record that is none: {refused}") from None
    return list(zip(records, commits, strict=True))


def _record_blob(owned: Owned, commit: _Commit) -> str:
    for change in commit.changes:
        if change.path == f"{commit.run}/record.bin" and change.mode != "000000":
            return change.blob
    raise BranchRefused(Refusal.NOT_A_RESULT, f"commit {commit.id[:10]} of {owned.branch} brings no record")


def _check_record(owned: Owned, record: Record, commit: _Commit) -> None:
    if record.author != owned.peer:
        raise BranchRefused(
            Refusal.FORGED, f"commit {commit.id[:10]} of {owned.branch} holds a record of {record.author}"
        )
    if record.kind != "finding" or record.id != commit.finding:
        raise BranchRefused(
            Refusal.NOT_A_RESULT, f"commit {commit.id[:10]} of {owned.branch} holds another record than it names"
        )


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _batch(out: bytes) -> Iterator[bytes]:
    """Contents of git's cat-file --batch."""
    at = 0
    while at < len(out):
        end = out.index(b"\n", at)
        size = int(out[at:end].rsplit(b" ", 1)[1])
        yield out[end + 1 : end + 1 + size]
        at = end + size + 2


async def check_sizes(git: QuietGit, owned: Owned, new: str, old: str | None) -> None:
    """No single file that would fill a memory when it is read. Raises BranchRefused."""
    try:
        names = await git.run("rev-list", "--objects", "--no-object-names", "--end-of-options", new,
                              *((f"^{old}",) if old else ()), limit_bytes=MAX_NAMES_BYTES)  # fmt: skip
    except TooLong:
        raise BranchRefused(Refusal.TOO_LARGE, f"{owned.branch} has too many new objects") from None
    sizes = await git.run("cat-file", "--batch-check=%(objectsize)", "--buffer", stdin=names)
    if any(int(size) > MAX_FILE_BYTES for size in sizes.split() if size.isdigit()):
        raise BranchRefused(Refusal.TOO_LARGE, f"{owned.branch} has a file of more than {MAX_FILE_BYTES >> 20} MB")

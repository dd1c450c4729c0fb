"""The results repository: one branch for each node and topic, one commit for each finding.

Owns how a finding becomes a commit, and reading back. What stands in the files is the business of `report.py`.
A commit is written by one `git fast-import`: objects first, then the branch in one rename, so that a kill at any
instant leaves a valid repository with the commit whole or absent. One node at a time; the home's lock sees to that.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import trio

from node.clock import wall_clock
from node.results.git import Git, GitFailed, ResultsError, mask_credentials
from node.results.work_tree import bring_along
from node.text import clean
from swarm.words import short

__all__ = ["CommitEntry", "Results", "ResultsError", "branch_name", "open_results"]

# Names that reach git's command line consist of these and nothing else: "-u" is a valid name for a ref.
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,64}")  # base58
_TOPIC = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_BRANCH = re.compile(rf"nodes/(?P<peer>{_PEER.pattern})/(?P<topic>{_TOPIC.pattern})")
_HASH = re.compile(r"[0-9a-f]{4,40}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_TRAILER_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]*")

_MAX_DIFF_CHARACTERS = 400_000
_LOCK_GRACE_SECONDS = 1.0  # a git that outlived its killed node holds a lock for milliseconds
_LEFTOVER_SECONDS = 60.0  # generous: a commit takes far less than one
_RACES = 3  # times the branch may move under a commit (a person commits there) before we give up; guess


@dataclass(frozen=True, slots=True)
class CommitEntry:
    hash: str
    trailers: Mapping[str, str]
    subject: str
    at: float  # seconds since the epoch


def branch_name(peer: str, topic: str) -> str:
    """Raises ResultsError for a peer id or topic that could mean something else to git."""
    if not _PEER.fullmatch(peer):
        raise ResultsError(f"peer id {clean(peer, 80)!r} cannot name a branch: it is not base58")
    if not _TOPIC.fullmatch(topic):
        raise ResultsError(f"topic {clean(topic, 80)!r} cannot name a branch: use a-z, 0-9, - and _")
    return f"nodes/{peer}/{topic}"


def open_results(path: Path, peer: str, topic: str, node_name: str = "") -> "Results":
    """A node's own branch in the repository at `path`. Touches nothing: the node goes on with `prepare`."""
    return Results(path, branch_name(peer, topic), node_name)


class Results:
    """One branch of a results repository, and a view of the others. Making one touches nothing."""

    def __init__(self, path: Path, branch: str, node_name: str = "") -> None:
        match = _BRANCH.fullmatch(branch)
        if match is None:
            raise ResultsError(f"branch {clean(branch, 120)!r} is not of the form nodes/<peer>/<topic>")
        self.path = path
        self.branch = branch
        self.work_tree_note = ""  # after a commit: what was left in the work tree and why, for people
        self._peer = match["peer"]
        self._author = re.sub(r"[<>]", "", clean(node_name, 40)).strip(" .,:;\"\\'") or f"node {short(self._peer)}"
        self._git = Git(path)
        self._committing = trio.Lock()

    # Writing

    async def prepare(self) -> None:
        """Make the repository if need be, take away what a killed git left, bring the work tree along.

        Only for the node that holds the home's lock; reading needs none of this.
        """
        _make_folder(self.path)
        await self._remove_stale_locks()
        await self._git.run("init", "--quiet", "--template=")  # on an existing repository this changes nothing
        if not await self._git.run("for-each-ref", "--count=1"):
            await self._git.run("symbolic-ref", "HEAD", self._ref)  # the first branch is what a person sees
        await self._check_branch()
        self.work_tree_note = await bring_along(self._git, self._ref)
        await self.tidy()

    async def _check_branch(self) -> None:
        """Now, not after a whole trial. Raises ResultsError."""
        try:
            if await self.head() is not None:
                await self._git.run("rev-parse", "--quiet", "--verify", "--end-of-options", f"{self._ref}^{{tree}}")
            elif self._git.path.joinpath(".git", *self._ref.split("/")).exists():
                raise GitFailed("", "it names no commit")
        except GitFailed as failure:
            raise ResultsError(
                f"branch {self.branch} in {self.path} is damaged ({failure.line}): ask git fsck there, or move the "
                "folder away; the findings stay in the journal, and a new branch begins"
            ) from None

    async def tidy(self) -> None:
        """Pack the repository if it has become untidy, which takes seconds once in some four hundred commits."""
        await self._git.run("gc", "--auto", "--quiet")

    async def commit(self, files: Mapping[str, bytes], message: str, trailers: Mapping[str, str], at: float) -> str:
        """Commit `files` on top of the branch, other files staying as they are. Returns the commit's hash."""
        text = _message(message, trailers)
        async with self._committing:
            commit = await self._import(files, text, at)
            self.work_tree_note = await bring_along(self._git, self._ref)
        return commit

    async def push(self, remote_url: str) -> None:
        """Push the branch. Uses the person's own credentials, asks for none; the caller sets the time limit."""
        shown = clean(mask_credentials(remote_url), 200)
        if await self.head() is None:
            raise ResultsError(f"nothing to push to {shown} yet: branch {self.branch} has no commit")
        options = ("--quiet", "--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no")
        try:
            await self._git.run_as_person("push", *options, "--", _absolute(remote_url), f"{self._ref}:{self._ref}")
        except GitFailed as failure:
            raise ResultsError(f"push to {shown} failed, results stay safe here: {failure.line}") from None

    # Reading

    async def head(self) -> str | None:
        """Hash of the branch's newest commit; None before the first."""
        found = await self._git.run("for-each-ref", "--format=%(objectname)", self._ref)
        return found.decode().strip() or None

    async def branches(self) -> dict[str, str]:
        """Every node's branch that is here, with the hash of its newest commit."""
        found = await self._git.run("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads/nodes/")
        pairs = [line.split(" ") for line in found.decode().splitlines()]
        return {name: head for name, head in pairs if _BRANCH.fullmatch(name)}

    async def history(self, branch: str | None = None, limit: int | None = None) -> list[CommitEntry]:
        """Commits of a branch, newest first; none if the branch is not here."""
        ref = self._ref if branch is None else _revision(branch)
        if not await self._git.run("for-each-ref", ref):
            return []
        form = "--format=%H%x00%at%x00%s%x00%(trailers:only=true,unfold=true)"
        out = await self._git.run(
            "log",
            "--first-parent",
            "-z",
            f"--max-count={-1 if limit is None else limit}",
            form,
            "--end-of-options",
            ref,
            "--",
        )
        fields = out.decode(errors="replace").split("\0")
        rows = zip(fields[0::4], fields[1::4], fields[2::4], fields[3::4], strict=False)
        return [CommitEntry(name, _trailers(text), clean(subject, 200), float(at)) for name, at, subject, text in rows]

    async def read(self, path: str, revision: str) -> bytes:
        """Content of a file in a commit, named by hash, by branch or as HEAD."""
        try:
            return await self._git.run("cat-file", "blob", f"{_revision(revision)}:{_file(path)}")
        except GitFailed as failure:
            raise ResultsError(f"no file {path} in commit {revision} of {self.path}: {failure.line}") from None

    async def read_latest(self, path: str) -> str:
        """Text of a file as the branch has it now; empty without one."""
        if await self.head() is None:
            return ""
        try:
            return (await self.read(path, self.branch)).decode(errors="replace")
        except ResultsError:
            return ""

    async def diff(self, revision_a: str, revision_b: str, paths: Sequence[str] = ()) -> str:
        """Unified diff of two commits, of `paths` only if given, fit for a screen."""
        plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
        chosen = (_revision(revision_a), _revision(revision_b), "--", *map(_file, paths))
        out = await self._git.run("diff", *plain, "--end-of-options", *chosen)
        return clean(out.decode(errors="replace"), _MAX_DIFF_CHARACTERS, lines=True)

    # Parts

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.branch}"

    async def _import(self, files: Mapping[str, bytes], text: str, at: float) -> str:
        person = f"{self._author} <{self._peer}@swarm.invalid> {max(0, int(at))} +0000"
        for race in range(_RACES):
            head = await self.head()
            stream = _fast_import_stream(self._ref, person, text, head, files)
            try:
                out = await self._git.run("fast-import", "--quiet", "--done", "--date-format=raw", stdin=stream)
                return out.decode().strip()
            except GitFailed as failure:
                if race + 1 == _RACES or await self.head() == head:
                    raise ResultsError(
                        f"the run could not be committed to {self.path}: {failure.line}; check free space and rights"
                    ) from None
        raise AssertionError("the last race returns or raises")

    async def _remove_stale_locks(self) -> None:
        deadline = trio.current_time() + _LOCK_GRACE_SECONDS
        while locks := _locks(self._git.directory):
            if trio.current_time() >= deadline:
                for lock in locks:
                    lock.unlink(missing_ok=True)
                break
            await trio.sleep(0.1)
        for leftover in _leftovers(self._git.directory):
            leftover.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"results repository {path} cannot be made: {error.strerror}; choose another home") from None


def _absolute(url: str) -> str:
    """git runs in the results folder; a relative path was meant from where the person stands."""
    return str(Path(url).absolute()) if Path(url).exists() else url


def _locks(directory: Path) -> list[Path]:
    return [*directory.glob("*.lock"), *directory.glob("refs/**/*.lock"), *directory.glob("objects/*.lock")]


def _leftovers(directory: Path) -> list[Path]:
    """What a killed fast-import leaves. Young ones may belong to a git that outlived its node for a moment."""
    drafts = [*directory.glob("fast_import_crash_*"), *directory.glob("objects/pack/tmp_pack_*")]
    return [draft for draft in drafts if draft.exists() and wall_clock() - draft.stat().st_mtime > _LEFTOVER_SECONDS]


def _revision(name: str) -> str:
    if _BRANCH.fullmatch(name):
        return f"refs/heads/{name}"
    if name == "HEAD" or _HASH.fullmatch(name):
        return name
    raise ResultsError(f"{clean(name, 80)!r} is no commit: give a hash, a branch nodes/<peer>/<topic> or HEAD")


def _file(path: str) -> str:
    if not _FILE.fullmatch(path) or PurePosixPath(path).is_absolute():
        raise ResultsError(f"{clean(path, 120)!r} is not a file name of a results branch")
    return path


def _message(message: str, trailers: Mapping[str, str]) -> str:
    """Subject, body and trailers. Only the last paragraph counts as trailers for git, and that one is ours."""
    subject, _, body = clean(message, 8000, lines=True).strip().partition("\n")
    for key in trailers:
        assert _TRAILER_KEY.fullmatch(key), key
    last = "\n".join(f"{key}: {clean(value, 400)}" for key, value in trailers.items())
    return "\n\n".join(part for part in (subject.strip() or "finding", body.strip(), last) if part) + "\n"


def _trailers(text: str) -> dict[str, str]:
    pairs = (line.partition(": ") for line in text.splitlines())
    return {clean(key, 60): clean(value, 400) for key, separator, value in pairs if separator}


def _fast_import_stream(ref: str, person: str, text: str, head: str | None, files: Mapping[str, bytes]) -> bytes:
    message = text.encode()
    parts = [
        f"commit {ref}\nmark :1\nauthor {person}\ncommitter {person}\ndata {len(message)}\n".encode() + message + b"\n",
        f"from {head}\n".encode() if head else b"",
        *(f"M 100644 inline {_file(path)}\ndata {len(data)}\n".encode() + data + b"\n" for path, data in files.items()),
        b"\nget-mark :1\ndone\n",  # without "done" fast-import changes nothing: half a stream is no commit
    ]
    return b"".join(parts)

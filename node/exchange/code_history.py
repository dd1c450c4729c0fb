"""The train.py of each commit of somebody's repository, and when it was committed. Reads objects, checks nothing out.

The repository may be anybody's: git runs with limits, without hooks, without its settings (node/branches/quiet_git.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from node.branches.quiet_git import QuietGit
from node.exchange.results_tsv import TableError
from node.results.git import GitFailed
from node.text import clean
from swarm.brief import MAX_SOURCE_BYTES

FILE = "train.py"
_AT_A_TIME = 256  # blobs in one answer of git's; each has at most MAX_SOURCE_BYTES
_WHERE = ("refs/heads/", "refs/remotes/", "refs/remotes/origin/", "refs/tags/")  # a branch's name is looked for


@dataclass(frozen=True, slots=True)
class Code:
    commit: str  # whole hash
    at: int  # seconds since the epoch, as the commit says
    source: str | None  # None: no train.py that can be taken
    problem: str = ""  # why not
    on_branch: bool = True


class CodeHistory:
    def __init__(self, repository: Path, branch: str | None) -> None:
        self.repository = repository
        self.branch = branch
        self._git = QuietGit(repository.expanduser().absolute())
        if not self._git.directory.exists():
            self._git.directory = self._git.path  # a bare one

    async def read(self, commits: Iterable[str]) -> dict[str, Code]:
        """By what they were asked for as; those that are not there are missing. Raises TableError."""
        asked = list(dict.fromkeys(commits))
        on_branch = await self._on_branch()
        found = await self._look([f"{one}^{{commit}}" for one in asked])
        whole = {one: answer[0] for one, answer in zip(asked, found, strict=True) if answer[1] == "commit"}
        files = dict(zip(whole, await self._look([f"{commit}:{FILE}" for commit in whole.values()]), strict=True))
        small = {a[0] for a in files.values() if a[1] == "blob" and int(a[2]) <= MAX_SOURCE_BYTES}
        texts, times = await self._texts(sorted(small)), await self._times(set(whole.values()))
        return {
            one: _code(commit, times.get(commit, 0), files[one], texts, on_branch is None or commit in on_branch)
            for one, commit in whole.items()
        }

    async def _on_branch(self) -> set[str] | None:
        """Every commit of the branch; None: none was named."""
        if not self._git.path.is_dir():
            raise TableError(f"there is no git repository at {self.repository}; check --git")
        try:
            await self._git.run("rev-parse", "--git-dir")
        except GitFailed:
            raise TableError(f"{self.repository} is not a git repository; check --git") from None
        if self.branch is None:
            return None
        for start in _WHERE:
            try:
                said = await self._git.run("rev-list", "--end-of-options", f"{start}{self.branch}", "--")
            except GitFailed:
                continue
            return set(said.decode().split())
        raise TableError(f"{self.repository} has no branch {clean(self.branch, 100)!r}; check --branch")

    async def _look(self, names: list[str]) -> list[list[str]]:
        """For each name: object id, kind and size, or something shorter."""
        if not names:
            return []
        said = await self._git.run("cat-file", "--batch-check", stdin="".join(f"{n}\n" for n in names).encode())
        answers = [line.split(" ") for line in said.decode(errors="replace").splitlines()]
        return [answer if len(answer) == 3 else ["", "", ""] for answer in answers]

    async def _texts(self, blobs: list[str]) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for begin in range(0, len(blobs), _AT_A_TIME):
            said = await self._git.run(
                "cat-file", "--batch", stdin="\n".join(blobs[begin : begin + _AT_A_TIME]).encode()
            )
            while said:
                head, _, rest = said.partition(b"\n")
                id, _, size = head.decode().split(" ")
                found[id], said = _decoded(rest[: int(size)]), rest[int(size) + 1 :]
        return found

    async def _times(self, commits: set[str]) -> Mapping[str, int]:
        if not commits:
            return {}
        names = "".join(f"{commit}\n" for commit in sorted(commits)).encode()
        said = await self._git.run("log", "--no-walk=unsorted", "--stdin", "--format=%H %ct", stdin=names)
        return {commit: int(at) for commit, at in (line.split(" ") for line in said.decode().splitlines())}


def _decoded(octets: bytes) -> str | None:
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _code(commit: str, at: int, file: list[str], texts: Mapping[str, str | None], on_branch: bool) -> Code:
    if file[1] != "blob":
        return Code(commit, at, None, f"has no {FILE}", on_branch)
    if int(file[2]) > MAX_SOURCE_BYTES:
        return Code(commit, at, None, f"has a {FILE} larger than {MAX_SOURCE_BYTES >> 10} kB", on_branch)
    if (source := texts[file[0]]) is None:
        return Code(commit, at, None, f"has a {FILE} that is not UTF-8 text", on_branch)
    return Code(commit, at, source, "", on_branch)

"""Takes cuts out of the results repository that nobody here made: once, a peer could write them there.

Owns which cut of a history stays: that of a branch that is kept shallow, at its head, and any whose parents are not
here, such as a person's own shallow fetch leaves. Every other one only hides commits that are all here.
"""

import re
from collections.abc import Mapping

from node.branches.quiet_git import QuietGit
from node.branches.quotas import Kept
from node.branches.taking import cut, cut_at

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DRAFT = "swarm-shallow-draft"  # beside git's own


async def heal_cuts(git: QuietGit, kept: Mapping[str, Kept]) -> int:
    """How many were taken out. Raises ResultsError."""
    cuts = {line for line in cut_at(git) if _COMMIT.fullmatch(line)}
    foreign = cuts - await _shallow_heads(git, kept)
    if not foreign:
        return 0
    staying = (cuts - foreign) | await _without_parents(git, foreign)
    if staying == cuts or not await _is_whole(git, staying):
        return 0
    cut(git, staying)
    return len(cuts) - len(staying)


async def _is_whole(git: QuietGit, cuts: set[str]) -> bool:
    """Whether every history is here, were they cut there and nowhere else."""
    draft = git.directory / _DRAFT
    try:
        draft.write_text("".join(f"{commit}\n" for commit in sorted(cuts)))
        return await git.says("--shallow-file", str(draft), "rev-list", "--quiet", "--all")
    finally:
        draft.unlink(missing_ok=True)


async def _shallow_heads(git: QuietGit, kept: Mapping[str, Kept]) -> set[str]:
    refs = [f"refs/heads/{branch}" for branch, one in kept.items() if one.shallow]
    if not refs:
        return set()
    return set((await git.run("for-each-ref", "--format=%(objectname)", *refs)).decode().split())


async def _without_parents(git: QuietGit, commits: set[str]) -> set[str]:
    """Those whose parents are not all here. One that is not here itself cuts nothing."""
    lines = "".join(f"{commit}\n" for commit in sorted(commits)).encode()
    listed = await git.run("--shallow-file", "", "rev-list", "--no-walk", "--parents", "--ignore-missing", "--stdin",
                           stdin=lines)  # fmt: skip
    parents = {commit: those for commit, *those in (line.split() for line in listed.decode().splitlines())}
    wanted = "".join(f"{parent}\n" for those in parents.values() for parent in those)
    found = (await git.run("cat-file", "--batch-check", stdin=wanted.encode())).decode().splitlines()
    missing = {line.split()[0] for line in found if line.endswith(" missing")}
    return {commit for commit, those in parents.items() if missing.intersection(those)}

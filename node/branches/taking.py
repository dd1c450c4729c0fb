"""Out of quarantine: the objects of a branch that was checked, as one pack, and which histories here are cut short.

Owns what may come over. A peer's own packs do not: they may hold what no check has seen, and git would write that out
whole one day. Nor does a peer say where a history is cut: that would cut anybody's branch, the own one too.
"""

from collections.abc import Collection

import trio

from node.branches.quiet_git import QuietGit
from node.branches.words import BranchRefused, Owned, Refusal
from node.results.git import GitFailed

_PACK = "swarm"  # of the file's name in the quarantine


def cut_at(git: QuietGit) -> set[str]:
    """Commits whose parents are not there."""
    file = git.directory / "shallow"
    return set(file.read_text().split()) if file.exists() else set()


def cut(git: QuietGit, commits: Collection[str]) -> None:
    """All at once, and at nothing else."""
    file = git.directory / "shallow"
    if not commits:
        file.unlink(missing_ok=True)
        return
    draft = git.directory / "swarm-shallow"
    draft.write_text("".join(f"{commit}\n" for commit in sorted(commits)))
    draft.replace(file)


async def pack(quarantine: QuietGit, owned: Owned, new: str, known: str | None, limit_bytes: int) -> int:
    """What `new` has and `known` has not, as a pack that stays in quarantine; its bytes. Raises BranchRefused."""
    folder = quarantine.directory / "swarm-packs"
    await trio.to_thread.run_sync(folder.mkdir)
    wanted = f"{new}\n" + (f"^{known}\n" if known else "")
    try:
        await quarantine.run("pack-objects", "--quiet", "--revs", "--non-empty", str(folder / _PACK),
                             stdin=wanted.encode(), file_bytes=limit_bytes)  # fmt: skip
    except GitFailed as failure:
        # A delta to what is here already may be written out whole: small as it came, of any size on this disk.
        too_large = any(word in failure.line.lower() for word in ("file too large", "exit status -25", "signal 25"))
        reason = Refusal.TOO_LARGE if too_large else Refusal.DAMAGED
        raise BranchRefused(reason, f"{owned.branch} cannot be packed: {failure.line}") from None
    return sum(file.stat().st_size for file in folder.glob("*.pack"))


def take_over(quarantine: QuietGit, results: QuietGit) -> None:
    """The pack before its index, which makes it count. Then which histories are cut short."""
    target = results.directory / "objects" / "pack"
    target.mkdir(exist_ok=True)
    order = {".pack": 0, ".rev": 1, ".idx": 2}
    made = [path for path in (quarantine.directory / "swarm-packs").iterdir() if path.suffix in order]
    for file in sorted(made, key=lambda path: order[path.suffix]):
        file.replace(target / file.name.replace(_PACK, "pack", 1))
    cut(results, cut_at(quarantine))

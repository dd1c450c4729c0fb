"""Where a fetched branch is checked: a repository of its own with everything of ours behind it, thrown away afterwards.

Owns the folder. What is in one is exactly what came.
"""

import shutil
from pathlib import Path

import trio

from node.branches.quiet_git import QuietGit

_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"


async def open_quarantine(folder: Path, results: QuietGit) -> QuietGit:
    """Empty. What `git init` would make, without starting it: there is one for every branch."""
    quarantine = QuietGit(folder)
    await trio.to_thread.run_sync(_make, quarantine.directory, results.directory)
    return quarantine


def _make(directory: Path, results: Path) -> None:
    for name in ("refs/heads", "objects/info", "objects/pack"):
        (directory / name).mkdir(parents=True)
    (directory / "HEAD").write_text("ref: refs/heads/none\n")
    (directory / "config").write_text(_CONFIG)
    (directory / "objects" / "info" / "alternates").write_text(f"{results.absolute() / 'objects'}\n")
    if (results / "shallow").exists():
        shutil.copyfile(results / "shallow", directory / "shallow")


async def wipe(folder: Path) -> None:
    """Also when we are cancelled."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))

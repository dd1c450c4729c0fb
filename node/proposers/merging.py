"""A change made to one text, put onto another that grew from the same beginning: git's three-way merge.

Owns asking git. All or nothing: where the two touch the same lines there is no merge, and nobody guesses.
"""

import os
import tempfile
from pathlib import Path

import trio

from node.proposers.edits import EditRefused
from node.proposers.source_rules import canonical_source

MERGE_SECONDS = 10.0  # git needs milliseconds for 48 KB; a text can be made so that it does not
_ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}


async def merged(ours: str, base: str, theirs: str) -> str:
    """`ours` with what leads from `base` to `theirs`. Raises EditRefused where that is not clear."""
    if base == theirs or ours == theirs:
        return ours
    if ours == base:
        return canonical_source(theirs.encode())
    with tempfile.TemporaryDirectory(prefix="swarm-merge-") as name:
        files = [str(Path(name) / part) for part in ("ours", "base", "theirs")]
        for path, text in zip(files, (ours, base, theirs), strict=True):
            await trio.Path(path).write_text(text)
        with trio.move_on_after(MERGE_SECONDS):
            return await _merge_files(files, name)
    raise EditRefused("git takes too long to merge them")


async def _merge_files(files: list[str], folder: str) -> str:
    environment = {**os.environ, **_ENVIRONMENT, "GIT_CEILING_DIRECTORIES": str(Path(folder).parent)}
    try:
        done = await trio.run_process(
            ["git", "merge-file", "--stdout", "--quiet", *files],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=folder,
            env={k: v for k, v in environment.items() if k not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")},
        )
    except OSError as error:
        raise EditRefused(f"git cannot be started: {error.strerror}") from None
    if done.returncode == 0:
        return canonical_source(done.stdout)
    if 0 < done.returncode < 128:  # how many places
        places = "1 place" if done.returncode == 1 else f"{done.returncode} places"
        raise EditRefused(f"both changed the same lines, in {places}")
    raise EditRefused("git cannot merge them")

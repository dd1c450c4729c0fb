"""How a folder that a candidate could write to is deleted."""

from pathlib import Path

import trio

REMOVE_SECONDS = 2.0  # also while everything is being cancelled


async def remove(folder: Path) -> None:
    """By rm, because a script may nest folders deeper than Python's own recursion goes. Not given up when cancelled."""
    with trio.move_on_after(REMOVE_SECONDS) as scope:
        scope.shield = True
        await trio.run_process(["rm", "-rf", "--", str(folder)], check=False, capture_stderr=True)

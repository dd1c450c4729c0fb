"""Asks a short-lived process how much text a source carries along.

Owns that process: what goes wrong in it is the source's fault. What is counted, and the limit, is source_text's.
"""

import json
import sys
from pathlib import Path

import trio

from node.trials import source_text
from node.trials.source_text import Carried

PARSE_SECONDS = 10.0  # ours takes 0.1
_COMMAND = [sys.executable, "-I", "-S", str(Path(source_text.__file__).resolve())]
UNREADABLE = "it cannot be parsed within limits"


async def examine(source: bytes, shipped_source: bytes) -> str:
    """Why this source is not run, empty when it may be."""
    with trio.move_on_after(PARSE_SECONDS):
        done = await trio.run_process(_COMMAND, stdin=source, capture_stdout=True, capture_stderr=True, check=False)
        if done.returncode == 0:
            shipped = source_text.count(shipped_source)
            carried = Carried(*json.loads(done.stdout))
            return source_text.refusal(carried, shipped) or await trio.to_thread.run_sync(
                source_text.too_new, source, shipped_source
            )
    return UNREADABLE

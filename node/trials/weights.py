"""The file of weights that a training leaves behind: how large it may be, and that it is read once, as bytes.

Never opens anything but a plain file, and never looks into it.
"""

import os
import stat
from pathlib import Path

from node.trials.answering import BadAnswer
from swarm.words import Outcome

MAX_WEIGHTS_BYTES = 64 * 2**20  # the largest config of the default topic has 58 MB
WEIGHTS = "weights.safetensors"


def weights_size(path: Path) -> int:
    """Size of a plain file that is small enough; it is not opened. BadAnswer otherwise."""
    try:
        status = path.lstat()
    except OSError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        raise BadAnswer(Outcome.CRASHED, f"left no {path.name}")
    if status.st_size > MAX_WEIGHTS_BYTES:
        mib, most = status.st_size / 2**20, MAX_WEIGHTS_BYTES // 2**20
        raise BadAnswer(Outcome.REJECTED, f"{path.name} has {mib:.0f} MiB, at most {most} are accepted")
    return status.st_size


def read_weights(path: Path) -> bytes:
    """Once, to the last byte; each process that is asked gets its own copy of just these bytes."""
    weights_size(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            return file.read(MAX_WEIGHTS_BYTES)
    except OSError:
        raise BadAnswer(Outcome.CRASHED, f"left no {path.name}") from None

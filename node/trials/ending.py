"""How a trial ended, in one word and one sentence: what exit statuses, signals, limits and a full disk mean.

Owns the words. Knows no clock and no folder; what the number is comes from the evaluator.
"""

import errno
import signal
from dataclasses import dataclass

from node.sandbox.watch import Broken
from node.trials.hardware import usable_memory_bytes
from node.trials.warm_process import Ended
from swarm.words import Outcome

DIVERGED, OUT_OF_MEMORY = 3, 4  # exit statuses of train.py


@dataclass(frozen=True)
class Ending:
    outcome: Outcome
    reason: str = ""
    val_bpb: float | None = None


def problem(ended: Ended, said: str, last_words: str) -> Ending | None:
    """What an exit status says, None for success. `said`: the script's own reason; `last_words`: its last line."""
    if ended.broken is not None:
        outcome = Outcome.OUT_OF_MEMORY if ended.broken.kind is Broken.MEMORY else Outcome.CRASHED
        return Ending(outcome, ended.broken.reason)
    match ended.status:
        case 0:
            return None
        case None:
            return Ending(Outcome.CRASHED, "the process was lost together with the one that started it")
        case status if status == DIVERGED:
            return Ending(Outcome.DIVERGED, said or last_words or "numbers are not finite")
        case status if status == OUT_OF_MEMORY:
            return Ending(Outcome.OUT_OF_MEMORY, said or last_words or "out of memory")
        case status if status == -signal.SIGKILL and ended.peak_memory_bytes > usable_memory_bytes() / 2:
            gib = ended.peak_memory_bytes / 2**30
            return Ending(Outcome.OUT_OF_MEMORY, f"killed at {gib:.1f} GiB, most likely for want of memory")
        case status if status < 0:
            said_last = f", last words: {last_words}" if last_words else ""
            return Ending(Outcome.CRASHED, f"killed by signal {-status}{said_last}")
        case status:
            return Ending(Outcome.CRASHED, last_words or f"exit status {status}")


def disk_problem(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: cannot write the trial's files; free some space"
    return f"cannot write the trial's files: {error.strerror or type(error).__name__}"

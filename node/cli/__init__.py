"""The command `swarm`. Owns arguments, exit codes and what is printed; every command's work is done elsewhere.

Exit codes: 0 done, 1 an expected failure said in one sentence, 2 wrong usage, 130 a second Ctrl-C.
"""

import os
import signal
import sys


def main() -> None:
    """What the console script calls. Half a second of imports comes first: a signal meanwhile ends it quietly."""
    starting = sys.argv[1:2] in (["launch"], ["join"])  # these stop cleanly whenever they are told to
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(0 if starting else 128 + number))
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by whoever started us
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process lives
    from node.cli.commands import run_command_line

    if not starting:  # a node's own handlers come when its loop begins
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    run_command_line()

"""`swarm watch`: the terminal, its keys and the rhythm.

What is seen is node/watching.py's business, how it is drawn node/watch_screen.py's.
"""

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Generator
from types import FrameType

import click
from rich.console import Console
from rich.live import Live

from node.cli.options import home_option, topic_option
from node.home import Home
from node.watch_screen import draw
from node.watching import Watching

LOOK_SECONDS = 1.0
LEAVE = (b"q", b"Q", b"\x04")  # Ctrl-D, too


@click.command()
@home_option
@topic_option
def watch(home: Home, topic: str | None) -> None:
    """A live view of a home, until q or Ctrl-C."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("it needs a terminal; elsewhere: swarm status, swarm log")
    watching = Watching(home, topic)
    seen = watching.look()  # what is wrong is said on the ordinary screen
    console = Console()
    with (
        contextlib.suppress(KeyboardInterrupt),
        _keys() as keys,
        Live(draw(seen, console.height), console=console, screen=True, auto_refresh=False) as live,
    ):
        while not _leaves(keys, 0.0 if seen.behind else LOOK_SECONDS):
            seen = watching.look()
            live.update(draw(seen, console.height), refresh=True)


@contextlib.contextmanager
def _keys() -> Generator[int]:
    """Keys as they are pressed. However it ends, by a signal too, the terminal is left as it was."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    signal.signal(signal.SIGTERM, _leave_on_signal)
    signal.signal(signal.SIGHUP, _leave_on_signal)
    tty.setcbreak(terminal)
    try:
        yield terminal
    finally:
        with contextlib.suppress(termios.error, OSError):  # it may be gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _leave_on_signal(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _leaves(terminal: int, seconds: float) -> bool:
    """Waits so long for a key. True if it says to leave, or if the terminal is gone."""
    ready, _, _ = select.select([terminal], [], [], seconds)
    if not ready:
        return False
    pressed = os.read(terminal, 64)
    return not pressed or any(key in pressed for key in LEAVE)

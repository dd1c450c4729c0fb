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
    with _keys() as keys, Live(draw(seen, console.height), console=console, screen=True, auto_refresh=False) as live:
        while (status := keys.wait(0.0 if seen.behind else LOOK_SECONDS)) is None:
            seen = watching.look()
            live.update(draw(seen, console.height), refresh=True)
    sys.exit(status)


class _Keys:
    """Keys and signals, which only say what is wanted: an exception in the midst of drawing would leave a mess."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._told, self._tell = os.pipe()
        self._status: int | None = None

    def hear(self, number: int, _frame: FrameType | None) -> None:
        self._status = 0 if number == signal.SIGINT else 128 + number
        os.write(self._tell, b"!")

    def wait(self, seconds: float) -> int | None:
        """Waits so long. The exit status, if a key or a signal says to leave or the terminal is gone."""
        ready, _, _ = select.select([self._terminal, self._told], [], [], seconds)
        if self._status is not None or self._terminal not in ready:
            return self._status
        try:
            pressed = os.read(self._terminal, 64)
        except OSError:
            return 0
        return 0 if not pressed or any(key in pressed for key in LEAVE) else None

    def close(self) -> None:
        os.close(self._told)
        os.close(self._tell)


@contextlib.contextmanager
def _keys() -> Generator[_Keys]:
    """Keys as they are pressed. However it ends, the terminal is left as it was."""
    terminal = sys.stdin.fileno()
    before, keys = termios.tcgetattr(terminal), _Keys(terminal)
    handlers = {number: signal.signal(number, keys.hear) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setcbreak(terminal)
        yield keys
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        keys.close()
        with contextlib.suppress(termios.error, OSError):  # it may be gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)

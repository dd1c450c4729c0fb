"""`swarm watch`: what one look finds, how it is drawn, and that the terminal is left as it was."""

import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

import pytest
from rich.console import Console
from samples import make_finding
from small_home import OTHER_ID, furnish
from small_lab import BRIEF, BRIEF_ID, PeerLog

from gossip.identity import Identity, load_or_create
from node.events import Events
from node.journal import Journal
from node.notebook import Notebook
from node.watch_screen import draw
from node.watching import Watching
from swarm.finding import encode_finding

PROGRAM = [sys.executable, "-c", "from node.cli import main; main()"]
CURRENT = {
    "number": 4, "title": "a\x1b[2J [red]wider", "budget_s": 120.0, "seconds": 30.0, "side": "candidate", "turn": 1,
    "evaluating": False, "train_loss": 2.25, "tokens_per_second": 1500.0, "curve": [[s, 5 - s / 10] for s in range(30)],
}  # fmt: skip
LONG_SECONDS = 60.0  # for a process on a busy machine; the test ends as soon as it is seen


@pytest.fixture
def home(tmp_path):
    return furnish(tmp_path / "home")


def screen(seen, height=24, width=80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(draw(seen, height))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_a_look_shows_the_best_and_the_latest_of_everybody(home):
    shown = screen(Watching(home, None).look())
    assert shown[0].startswith("tester on small  not running   6 findings, 3 own")
    assert "best  1.9000 ±" in shown[1]
    assert "#2 of eve, cpu-x86_64-2" in shown[1]
    text = "\n".join(shown)
    assert "no trial runs now" in text
    assert "[bold]wide  eve" in text
    assert "#3    crashed" in text
    assert "\x1b" not in text
    assert all(len(line) <= 80 for line in shown)


def test_a_running_trial_is_shown_with_its_curve_and_the_time_left(home):
    home.write_state(home.read_state() | {"current": CURRENT, "notices": [{"text": "caught up", "warning": False}]})
    with home.lock():
        seen = Watching(home, None).look()
    shown = screen(seen, height=30)
    assert "running" in shown[0]
    assert any(line.startswith("#4 a [red]wider") for line in shown)
    (bar,) = [line for line in shown if "s left" in line]
    assert ("90 s left" in bar, "loss 2.250" in bar, "1,500 tokens/s" in bar) == (True, True, True)
    assert sum(any(block in line for block in "▁▂▃▄▅▆▇█") for line in shown) >= 5, "a curve of several rows"
    assert any("1: tester" in line for line in shown), "peers by the names they give themselves"
    assert shown[-2:] == ["caught up", "q or Ctrl-C leaves"]


@pytest.mark.parametrize("height", [6, 12, 24, 60])
def test_it_fits_the_screen_with_the_newest_on_top(home, height):
    identity, journal = load_or_create(home.key), Journal(home.journal)
    notebook, carol = Notebook(BRIEF, journal.of(BRIEF_ID), identity, Events()), PeerLog(Identity(b"\7" * 32))
    for number in range(5, 80):
        carol.sign(encode_finding(make_finding(BRIEF, number, 2.0 + number / 100, width=100)))
    watching = Watching(home, None)
    before = watching.look()
    for record in carol.records:
        notebook.receive(record)
    seen = watching.look()
    journal.close()
    assert seen.findings > before.findings, "it reads what is new"
    shown = screen(seen, height)
    assert len(shown) <= max(height, 9)
    rows = [line for line in shown if line.startswith("#")]
    assert rows[0].startswith(f"#{seen.latest[-1].finding.number} ")


def test_another_topic_can_be_watched_which_the_state_does_not_speak_of(home):
    home.write_state(home.read_state() | {"current": CURRENT})
    with home.lock():
        seen = Watching(home, OTHER_ID).look()
    assert (seen.topic, seen.running, seen.state, seen.findings) == ("other", False, {}, 1)


def started(home):
    """`swarm watch` on a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "watch", "--home", str(home.path)], stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
    )  # fmt: skip
    return ours, theirs, process


def read_until(terminal: int, wanted: bytes) -> bytes:
    shown, until = b"", time.monotonic() + LONG_SECONDS
    while wanted not in shown:
        assert select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0], f"no {wanted!r} in {shown!r}"
        shown += os.read(terminal, 65536)
    return shown


@pytest.mark.parametrize("leave", ["q", "Ctrl-C", "terminated"])
def test_on_a_terminal_it_takes_the_screen_and_gives_it_back(home, leave):
    ours, theirs, process = started(home)
    try:
        before = termios.tcgetattr(theirs)
        shown = read_until(ours, b"q or Ctrl-C leaves")
        assert b"\x1b[?1049h" in shown, "a screen of its own"
        if leave == "terminated":
            process.send_signal(signal.SIGTERM)
        elif leave == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            os.write(ours, b"q")
        read_until(ours, b"\x1b[?1049l")
        assert process.wait(LONG_SECONDS) == (143 if leave == "terminated" else 0)
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_elsewhere_it_is_wrong_usage(home):
    done = subprocess.run([*PROGRAM, "watch", "--home", str(home.path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "needs a terminal" in done.stderr

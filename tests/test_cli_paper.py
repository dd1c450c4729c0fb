"""How looking commands print: blocks, colours on a terminal only, a pager for what is longer than the screen."""

import math
import os
import pty
import re
import subprocess
import sys

import pytest
from small_home import furnish

from node import views
from node.cli.paper import patch_text, verdict_cell
from node.home import Home
from node.sparkline import best_so_far, block_rows, sparkline, thinned
from node.text import clean

PROGRAM = [sys.executable, "-c", "from node.cli import main; main()"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return furnish(tmp_path_factory.mktemp("home")).path


@pytest.mark.parametrize(
    ("numbers", "blocks"),
    [
        ([], ""),
        ([3.0], "▄"),
        ([2.0, 2.0], "▄▄"),
        ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"),
        ([8, 1], "█▁"),
        ([math.nan, 2.0, math.inf, 1.0], "█▁"),
        ([1.7e308, -1.7e308], "█▁"),
        ([1.7e308] * 1000, "▄" * 24),
        ([1e9, *[5.0] * 9, *[1.0] * 10], "█" * 10 + "▁" * 10),
    ],
)
def test_numbers_as_blocks(numbers, blocks):
    assert sparkline(numbers) == blocks


def test_many_numbers_are_thinned_to_means_and_rows_stand_on_each_other():
    assert thinned(range(100), 4) == pytest.approx([12.0, 37.0, 62.0, 87.0])
    assert len(sparkline(list(range(1000)), 24)) == 24
    assert block_rows([1, 2, 3], 10, 2) == [" ▁█", "▁██"]
    assert best_so_far([3, 4, 2, 5]) == [3, 3, 2, 2]


def test_verdicts_and_patches_have_their_colours():
    styles = {word: str(verdict_cell(word).style) for word in ("keep", "discard", "crashed", "[red]x")}
    assert styles == {"keep": "bold green", "discard": "dim", "crashed": "red", "[red]x": "red"}
    text = patch_text("--- a\n+++ b\n@@ -1 +1 @@\n-[old]\n+new\n same\n")
    assert text.plain == "--- a\n+++ b\n@@ -1 +1 @@\n-[old]\n+new\n same"
    spans = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert spans == {"--- a": "bold", "+++ b": "bold", "@@ -1 +1 @@": "cyan", "-[old]": "red", "+new": "green"}


def on_a_terminal(*arguments: object, lines: int = 40, **environment: str) -> str:
    """What a command writes to a terminal of so many lines."""
    ours, theirs = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "PAGER", "LESS", "FORCE_COLOR")}
    settings = kept | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": str(lines)} | environment
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs, env=settings
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the last one who had it open has gone
        pass
    assert process.wait() == 0, shown
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_has_colours_unless_they_are_unwanted_and_a_pipe_has_none(home):
    assert "\x1b[1;32mkeep" in on_a_terminal("log", "--home", home)
    plain = on_a_terminal("log", "--home", home, NO_COLOR="1")
    assert "keep" in plain
    assert "\x1b[1;32m" not in plain
    assert "32m" not in plain
    done = subprocess.run([*PROGRAM, "log", "--home", home], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert "best so far █▁  2.2000 → 2.0000 val_bpb" in done.stdout


def test_only_what_is_longer_than_the_screen_goes_through_the_pager(home, tmp_path):
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho paged\ncat\n")
    pager.chmod(0o755)
    long = on_a_terminal("show", 1, "--home", home, lines=10, PAGER=str(pager))
    assert long.startswith("paged\n")
    assert "curve           █▁ loss 5.500 → 2.500 in 9 s\n" in long, "no colours for a pager that may not know them"
    for arguments, lines in ((("show", 1, "--no-pager"), 10), (("show", 1), 60)):
        shown = on_a_terminal(*arguments, "--home", home, lines=lines, PAGER=str(pager))
        assert "paged" not in shown
        assert "█▁" in shown


def test_a_narrow_terminal_leaves_room_for_what_was_tried_and_breaks_no_name(home):
    narrow, wide = (
        clean(on_a_terminal("log", "--all", "--home", home, COLUMNS=width), 10**6, lines=True)
        for width in ("80", "140")
    )
    assert re.search(r"keep ✓ +tester +run 2", narrow)
    assert "✓ confirmed: what others' own trials say" in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert re.search(r"keep +confirmed +tester +run 2", wide)
    assert "✓" not in wide
    assert re.search(r"1\.2000\* .*keep", wide), "on a GPU"
    assert not re.search(r"2\.0000\*", wide)
    assert "* of another hardware class or budget than the last one" in wide
    assert "*" not in on_a_terminal("log", "--home", home)
    with views.open_archive(Home(home)) as archive:
        names = [f"nodes/{peer}/small" for peer in archive.ledger.authors()]
    lines = clean(on_a_terminal("branches", "--home", home, COLUMNS="80"), 10**6, lines=True).splitlines()
    assert set(names) <= set(lines)
    assert max(map(len, lines[: 2 * len(names)])) <= 80


def test_a_pipe_has_a_line_for_each_run_unless_a_width_is_given(home):
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    long = [*PROGRAM, "log", "--all", "--home", home]
    done = subprocess.run(long, capture_output=True, text=True, check=True, env=environment)
    runs = [line for line in done.stdout.splitlines() if re.match(r" *#\d", line)]
    with views.open_archive(Home(home)) as archive:
        assert len(runs) == len(archive.ledger)
    done = subprocess.run(long, capture_output=True, text=True, check=True, env=environment | {"COLUMNS": "60"})
    assert max(map(len, done.stdout.splitlines()[1:-1])) <= 60

"""Where a command that looks prints: colours on a terminal, plain text elsewhere, a pager where it is too long.

Owns the console and the pager. What a verdict or a line of a patch looks like is here too; all text is plain text,
whatever peers wrote is never markup.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from node.screen import verdict_style
from node.text import clean

F = TypeVar("F", bound=Callable[..., Any])
STANDING_STYLES = {"confirmed": "green", "disputed": "yellow", "refuted": "red"}
_PATCH_STYLES = (("+++", "bold"), ("---", "bold"), ("@@", "cyan"), ("+", "green"), ("-", "red"))
STANDING_MARKS = {"confirmed": "✓", "disputed": "?", "refuted": "✗"}  # where there is no room for the word
NARROW = 100  # columns of a terminal; below that a table of runs makes room for what was tried
PIPE_COLUMNS = 160  # where nobody says how wide it is: a line for each run, for those that read lines
_MAX_LINE = 1000


def pager_option(command: F) -> F:
    return click.option("--no-pager", is_flag=True, help="Print all at once, however long.")(command)


@contextlib.contextmanager
def paper(*, no_pager: bool = False) -> Generator[Console]:
    """A console; on a terminal, what is longer than that goes through the pager (PAGER, else less)."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_COLUMNS
    if no_pager or not (console.is_terminal and sys.stdout.isatty()):
        yield console
        return
    with console.capture() as captured:
        yield console
    text = captured.get()
    if text.count("\n") < console.height:
        click.echo(text, nl=False)
    else:
        click.echo_via_pager(text.removesuffix("\n"))


def verdict_cell(word: str) -> Text:
    return Text(clean(word, 40), style=verdict_style(word))


def standing_cell(word: str) -> Text:
    return Text(clean(word, 40), style=STANDING_STYLES.get(word, ""))


def verdict_and_standing(verdict: str, standing: str, *, narrow: bool) -> list[Text]:
    """Two cells, or one with the standing as a mark."""
    if not narrow:
        return [verdict_cell(verdict), standing_cell(standing)]
    mark = STANDING_MARKS.get(standing, "")
    return [verdict_cell(verdict).append(f" {mark}" if mark else "", style=STANDING_STYLES.get(standing, ""))]


def print_marks(console: Console, standings: Iterable[str]) -> None:
    """What the marks of a narrow table mean, as far as there are any."""
    seen = set(standings)
    if console.width < NARROW and (said := [f"{m} {word}" for word, m in STANDING_MARKS.items() if word in seen]):
        console.print(Text(f"{', '.join(said)}: what others' own trials say", style="dim"), soft_wrap=True)


def line_style(word: str) -> str:
    """Of a whole row: what came to nothing steps back."""
    return "dim" if word in ("discard", "censored") else ""


def print_fact(label: str, value: object, *, style: str = "default", console: Console | None = None) -> None:
    """One line, however long: what is copied from a terminal should be whole."""
    text = Text().append(f"{label:<15} ", style="dim").append(clean(str(value), _MAX_LINE), style=style)
    (console or Console()).print(text, soft_wrap=True)


def row(*cells: object) -> list[Text]:
    """Cells as plain text: whatever peers wrote is never markup."""
    return [cell if isinstance(cell, Text) else Text(clean(str(cell), 200)) for cell in cells]


def table(*columns: tuple[str, str]) -> Table:
    """Columns by name and justification; only "wide" ones break their lines."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, kind in columns:
        wide = kind == "wide"
        made.add_column(
            name,
            justify="right" if kind == "right" else "left",
            overflow="fold" if wide else "ellipsis",
            no_wrap=not wide,
            ratio=1 if wide else None,
        )
    return made


def patch_text(patch: str) -> Text:
    """A unified diff, in the colours that everybody knows."""
    lines = patch.removesuffix("\n").split("\n")
    return Text("\n").join(Text(line, style=_patch_style(line)) for line in lines)


def _patch_style(line: str) -> str:
    return next((style for start, style in _PATCH_STYLES if line.startswith(start)), "")

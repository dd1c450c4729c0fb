"""Where a command that looks prints: colours on a terminal, plain text elsewhere, a pager where it is too long.

Owns the console and the pager. What a verdict or a line of a patch looks like is here too; all text is plain text,
whatever peers wrote is never markup.
"""

import contextlib
import sys
from collections.abc import Callable, Generator
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
_MAX_LINE = 1000


def pager_option(command: F) -> F:
    return click.option("--no-pager", is_flag=True, help="Print all at once, however long.")(command)


@contextlib.contextmanager
def paper(*, no_pager: bool = False) -> Generator[Console]:
    """A console; on a terminal, what is longer than that goes through the pager (PAGER, else less)."""
    console = Console()
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

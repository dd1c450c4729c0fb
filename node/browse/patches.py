"""A unified diff as lines for a page: numbers of both sides, what came and went, Python in colours.

Owns the colours' bounds: sources come from strangers, and a lexer of regular expressions can be made to take long. Each
line is looked at alone and long ones are left plain, so that no text takes more than its length in lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.python import PythonLexer

from node.text import clean

MAX_LINES = 2000  # of a patch; the rest is a command away
MAX_COLOURED = 200  # characters of a line; the worst one found takes 16 ms
MAX_COLOURED_IN_ALL = 20_000  # characters of a patch
_HUNK = re.compile(r"@@ -(\d{1,7})(?:,\d{1,7})? \+(\d{1,7})(?:,\d{1,7})? @@")
_LEXER = PythonLexer(stripnl=False, ensurenl=False)
_FORMATTER: "HtmlFormatter[str]" = HtmlFormatter(nowrap=True, classprefix="p-")


@dataclass(frozen=True)
class Line:
    kind: str  # add, del, same, hunk, note
    old: int | None
    new: int | None
    html: Markup


@dataclass(frozen=True)
class Patch:
    lines: tuple[Line, ...]
    added: int
    removed: int
    left_out: int


def patch_lines(diff: str, coloured_characters: int = MAX_COLOURED_IN_ALL) -> Patch | None:
    """None: nothing differs."""
    if not diff:
        return None
    lines = list(_lines(diff, coloured_characters))
    return Patch(
        tuple(lines[:MAX_LINES]),
        added=sum(line.kind == "add" for line in lines),
        removed=sum(line.kind == "del" for line in lines),
        left_out=max(0, len(lines) - MAX_LINES),
    )


def _lines(diff: str, coloured_characters: int) -> Iterator[Line]:
    old = new = done = 0
    for text in diff.rstrip("\n").split("\n")[2:]:
        if (hunk := _HUNK.match(text)) is not None:
            old, new = int(hunk[1]), int(hunk[2])
            yield Line("hunk", None, None, Markup.escape(clean(text, 80)))
        elif text.startswith("\\"):
            yield Line("note", None, None, Markup.escape(clean(text[2:], 80)))
        else:
            mark, done = text[:1], done + len(text)
            html = coloured(text[1:]) if done < coloured_characters else plain(text[1:])
            kind = {"+": "add", "-": "del"}.get(mark, "same")
            yield Line(kind, None if mark == "+" else old, None if mark == "-" else new, html)
            old, new = old + (mark != "+"), new + (mark != "-")


def coloured(line: str) -> Markup:
    """One line of Python, escaped, with classes for its parts."""
    if len(line) > MAX_COLOURED:
        return plain(line)
    return Markup(highlight(clean(line, MAX_COLOURED, lines=True), _LEXER, _FORMATTER).rstrip("\n"))


def plain(line: str) -> Markup:
    return Markup.escape(clean(line, 2000, lines=True))

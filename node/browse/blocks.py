"""A goal text as headings, paragraphs and lists. It is a stranger's word: no links, no pictures."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    kind: str  # head, text, list, code
    lines: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    """Lines of one paragraph are one line; an empty line ends it."""
    kind, lines, fenced = "text", list[str](), False
    for line in [*text.split("\n"), ""]:
        bare = line.strip()
        if bare.startswith("```"):
            fenced = not fenced
            bare = ""
        new = "code" if fenced and bare else _kind(bare)
        goes_on = new == kind == "code" or (bare and new == "text" and kind in ("text", "list") and lines)
        if lines and not goes_on and (not bare or new != kind or new == "head"):
            yield Block(kind, tuple(lines))
            lines = []
        if bare and new == "text" and lines:
            lines[-1] = f"{lines[-1]} {bare}"
        elif bare or fenced:
            kind = new
            lines.append(line if new == "code" else bare.lstrip("#-* ").replace("`", ""))
    if lines:
        yield Block(kind, tuple(lines))


def _kind(line: str) -> str:
    if line.startswith("#"):
        return "head"
    return "list" if line.startswith(("- ", "* ")) else "text"

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
    for line in text.split("\n"):
        bare = line.strip()
        is_fence = bare.startswith("```")
        fenced = fenced != is_fence
        new = "code" if fenced else _kind(bare)
        if lines and (not bare or is_fence or new == "head" or (new != kind and new != "text") or kind == "head"):
            yield Block(kind, tuple(lines))
            lines = []
        if not bare or is_fence:
            continue
        if lines and new == "text":
            lines[-1] = f"{lines[-1]} {_plain(bare)}"
        else:
            kind = new
            lines.append(line if new == "code" else _plain(bare))
    if lines:
        yield Block(kind, tuple(lines))


def _plain(line: str) -> str:
    return line.lstrip("#-* ").replace("`", "").replace("**", "")


def _kind(line: str) -> str:
    if line.startswith("#"):
        return "head"
    return "list" if line.startswith(("- ", "* ")) else "text"

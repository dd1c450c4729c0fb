"""Text that others wrote, made safe to show: a peer's name, a model's rationale, a log, a line git printed.

Owns what is dropped and how Markdown is made inert. Where the text goes is not known here.
"""

import re
import unicodedata

# Whole escape sequences go, not only their first character: "[31m" left behind is harmless but ugly.
# OSC (titles, clipboard) ends at BEL or ST; the second line is CSI (colours, cursor) and the two-character ones.
_ESCAPES = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c\x9d]{0,4096}(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,16}[@-~]|\x1b[@-Z\\^_]"
)
_LINE_ENDS = re.compile(r"\r\n|[\n\r\v\f\x85\u2028\u2029]")
_MARKDOWN = str.maketrans(
    {c: "\\" + c for c in "\\`*[]~$"} | {"<": "&lt;", ">": "&gt;", "|": "&#124;"}  # not every renderer knows "\|"
)
_BLOCK_START = re.compile(r"^(?:(\d{1,9})([.)])|([-+=#]))")
_ENTITY = re.compile(r"&(?=#|\w+;)")
_EDGE_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")  # between letters it means nothing to Markdown
_BARE_LINK = re.compile(r":(?=//)|(?<=mailto):|(?<=\bwww)\.", re.IGNORECASE)


def clean(text: str, limit: int, *, lines: bool = False) -> str:
    """`text` without control, direction and other invisible characters (Unicode category C), at most `limit` long.

    On one line, unless `lines`: then newlines and tabs stay.
    """
    text = _LINE_ENDS.sub("\n", _ESCAPES.sub("", text))
    kept = [_visible(line, keep_tabs=lines) for line in text.split("\n")]
    whole = "\n".join(kept) if lines else " ".join(" ".join(kept).split())
    return whole if len(whole) <= limit else whole[: max(0, limit - 1)] + "…"[:limit]


def _visible(line: str, *, keep_tabs: bool) -> str:
    if line.isprintable():  # true for nearly every line, and much faster than looking at each character
        return line
    tab = "\t" if keep_tabs else " "
    return "".join(tab if c == "\t" else c for c in line if c == "\t" or unicodedata.category(c)[0] != "C")


def markdown_escape(text: str) -> str:
    """`text` as one line that Markdown shows as it is, in a table too: no markup, links, images, HTML."""
    line = " ".join(text.split())
    line = _ENTITY.sub("&amp;", line).translate(_MARKDOWN)
    line = _EDGE_UNDERSCORE.sub(r"\\_", line)
    line = _BARE_LINK.sub(lambda match: f"&#{ord(match[0])};", line)
    return _BLOCK_START.sub(lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", line)

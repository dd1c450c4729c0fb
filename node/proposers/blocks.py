"""Code in an answer: SEARCH/REPLACE blocks, a unified diff, or a whole file in a fence. Text -> edits or source.

Owns the marks and how far they may be missed. Whether an edit fits train.py is edits.py's business.
"""

import re
from pathlib import PurePosixPath

from node.proposers.edits import Edit, EditRefused

_SEARCH = re.compile(r"^\s*<{5,9}\s*(?:[A-Za-z].*)?$")
_MIDDLE = re.compile(r"^\s*={5,9}\s*$")
_REPLACE = re.compile(r"^\s*>{5,9}\s*(?:[A-Za-z].*)?$")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
_HUNK = re.compile(r"^@@.*@@|^@@\s*$")
_FILE_LINE = re.compile(r"^[\s#*>`]*(?:file(?:name)?\s*:\s*)?([\w./\\-]+\.[A-Za-z]{1,5})[\s`*:]*$")
_NOWHERE = "/dev/null"  # how a diff says that a file is made or deleted
_PYTHON_FENCE = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*(?:python3?|py)?[^\n`]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.M | re.S
)


def refuse_other_file(name: str) -> None:
    """Raises EditRefused unless `name` is train.py, in whatever folder a model sees it."""
    if PurePosixPath(name.strip().replace("\\", "/")).name != "train.py":
        shown = "".join(c for c in name if c.isascii() and c.isprintable())[:60]
        raise EditRefused(f'only train.py may be edited, not {shown!r}; settings go into "changes"')


def find_blocks(text: str) -> tuple[Edit, ...]:
    """Every SEARCH/REPLACE block. EditRefused for one that is cut off: half of a change is another one."""
    edits: list[Edit] = []
    find: list[str] = []
    replace: list[str] = []
    part = before = ""
    for line in text.splitlines():
        if part == "" and _SEARCH.match(line):
            if named := _FILE_LINE.match(before):
                refuse_other_file(named[1])
            part, find, replace = "find", [], []
        elif part == "find" and _MIDDLE.match(line):
            part = "replace"
        elif part == "replace" and (_REPLACE.match(line) or _closes(line, replace)):
            edits.append(Edit(_joined(find), _joined(replace)))
            part = before = ""
        elif part == "find" and (_REPLACE.match(line) or _SEARCH.match(line)):
            raise EditRefused(f"block {len(edits) + 1} has no ======= line between what to find and what replaces it")
        elif part:
            (find if part == "find" else replace).append(line)
        elif line.strip() and not _FENCE.match(line):
            before = line  # perhaps the name of a file
    if part == "find" and not edits and not _looks_like_code(find):
        return ()
    if part:
        mark = "=======" if part == "find" else ">>>>>>> REPLACE"
        raise EditRefused(f"block {len(edits) + 1} is cut off: it has no {mark} line")
    return tuple(edits)


def _closes(line: str, replace: list[str]) -> bool:
    """A fence around the block closes it; one inside of it does not."""
    return bool(_FENCE.match(line)) and bool(replace) and not _FENCE.match(replace[0])


def _looks_like_code(lines: list[str]) -> bool:
    return any(line.strip() for line in lines)


def _joined(lines: list[str]) -> str:
    while lines and _FENCE.match(lines[0]):
        lines = lines[1:]
    while lines and _FENCE.match(lines[-1]):
        lines = lines[:-1]
    return "\n".join(lines) + "\n" if lines else ""


def find_diff(text: str) -> tuple[Edit, ...]:
    """The hunks of a unified diff as edits; line numbers are not looked at, models cannot count."""
    edits: list[Edit] = []
    before: list[str] = []
    after: list[str] = []
    inside, minus = False, ""
    for line in [*text.splitlines(), "@@ end @@"]:
        if _HUNK.match(line) or (inside and (_FENCE.match(line) or line.startswith(("--- ", "diff ")))):
            if before != after:
                edits.append(Edit("\n".join(before) + "\n", "".join(f"{one}\n" for one in after)))
            before, after, inside = [], [], bool(_HUNK.match(line))
        elif inside and line[:1] in ("-", "+", " ", ""):
            if line[:1] != "+":
                before.append(line[1:])
            if line[:1] != "-":
                after.append(line[1:])
        if not inside and line.startswith("+++ ") and minus:
            for name in (minus, line):
                _refuse_other_in_diff(name)
        minus = line if not inside and line.startswith("--- ") else ""
    return tuple(edits)


def _refuse_other_in_diff(header: str) -> None:
    """`header`: '--- a/train.py', perhaps with a time after a tab."""
    name = header[4:].partition("\t")[0].strip()
    if name != _NOWHERE:
        refuse_other_file(name)


def find_file(text: str) -> str | None:
    """A whole train.py in a fence: one that defines build_model and has a __main__ block. The last one counts."""
    found = [body for body in _PYTHON_FENCE.findall(text) if "def build_model" in body and "__main__" in body]
    return found[-1].rstrip() + "\n" if found else None

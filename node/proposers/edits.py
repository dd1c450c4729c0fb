"""Code edits of a model: find and replace on the parent's train.py, and whether the result may be run at all.

Owns the rules a changed train.py must keep. Never imports or runs it; even parsing happens in another process.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from swarm.brief import MAX_SOURCE_BYTES
from swarm.words import SwarmError

MAX_EDITS = 32
PARSE_SECONDS = 10  # of CPU; 48 KB parse in milliseconds, a loaded machine starts Python in a second
PARSE_BYTES = 1 << 30  # of memory; nested source makes the parser greedy
SHOWN_CHARS = 60
# What models write for ASCII, in comments mostly.
_TYPOGRAPHY = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-",
    "\u2192": "->", "\u00d7": "x", "\u2026": "...", "\u00a0": " ", "\u2264": "<=", "\u2265": ">=", "\u00b7": "*",
    "\u00b2": "^2", "\u2248": "~", "\ufeff": "", "\u200b": "",
})  # fmt: skip

# Reads source on standard input, prints what is wrong with it, or nothing. Run by `python -I -c`.
_CHECK = f"""
import ast, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({PARSE_SECONDS}, {PARSE_SECONDS}))
    resource.setrlimit(resource.RLIMIT_AS, ({PARSE_BYTES}, {PARSE_BYTES}))
except (ImportError, ValueError, OSError):
    pass  # no such limits here; the caller's own one remains
source = sys.stdin.buffer.read().decode("ascii")
try:
    body = ast.parse(source).body
except SyntaxError as error:
    sys.exit(print(f"line {{error.lineno}} is not valid Python: {{error.msg}}"))
except (ValueError, RecursionError, MemoryError) as error:
    sys.exit(print(f"it cannot be parsed: {{type(error).__name__}}"))
if not any(isinstance(node, ast.FunctionDef) and node.name == "build_model" for node in body):
    sys.exit(print("it no longer defines the function build_model"))
if not any(isinstance(node, ast.If) and "__main__" in ast.dump(node.test) for node in body):
    sys.exit(print("its __main__ block is gone"))
print("fine")
"""


class EditRefused(SwarmError):
    """An edit does not apply, or its result may not run. The sentence goes back to the model once."""


@dataclass(frozen=True)
class Edit:
    find: str
    replace: str


def apply_edits(source: str, edits: Sequence[Edit]) -> str:
    """`source` after all edits, one after the other; all of them or EditRefused."""
    if not edits or len(edits) > MAX_EDITS:
        raise EditRefused(f"{len(edits)} edits given, 1 to {MAX_EDITS} are allowed")
    changed = source
    for number, edit in enumerate(edits, start=1):
        changed = _apply(changed, edit, number)
        if len(changed) > MAX_SOURCE_BYTES:
            raise EditRefused(
                f"train.py would have {len(changed)} characters after edit {number}, more than {MAX_SOURCE_BYTES}"
            )
    if not changed.isascii():
        raise EditRefused("train.py must be ASCII, and the edits bring other characters")
    if changed == source:
        raise EditRefused("the edits change nothing in train.py")
    return changed


def whole_file(parent: str, source: str) -> str:
    """A train.py that was written anew, or EditRefused."""
    source = source.translate(_TYPOGRAPHY)
    if len(source) > MAX_SOURCE_BYTES:
        raise EditRefused(f"train.py would have {len(source)} characters, more than {MAX_SOURCE_BYTES}")
    if not source.isascii():
        raise EditRefused("train.py must be ASCII, and the new one holds other characters")
    if source == parent:
        raise EditRefused("the edits change nothing in train.py")
    return source


def _apply(source: str, edit: Edit, number: int) -> str:
    """Exactly where it fits; else by lines, where only white space at the ends of lines or the indentation differs."""
    if not edit.find:
        raise EditRefused(f"edit {number}: find is empty")
    find, replace = edit.find, edit.replace.translate(_TYPOGRAPHY)
    at = source.find(find)
    if at < 0:
        find, replace = _by_lines(source, find.translate(_TYPOGRAPHY), replace)
        at = source.find(find) if find else -1
    if at < 0 or source.find(find, at + 1) >= 0:  # overlapping ones count: which one was meant?
        found = "does not occur" if at < 0 else "occurs more than once"
        shown = edit.find.strip().splitlines()[0][:SHOWN_CHARS] if edit.find.strip() else "white space"
        raise EditRefused(
            f"edit {number}: find must occur exactly once in train.py, and occurs {found} times: {shown!r}"
        )
    return source.replace(find, replace)


def _by_lines(source: str, find: str, replace: str) -> tuple[str, str]:
    """The text of `source` that `find` meant and `replace` with its indentation; empty when there is not one such."""
    wanted = find.strip("\n").splitlines()
    if not any(line.strip() for line in wanted):
        return "", replace
    lines = source.splitlines(keepends=True)
    bare = [line.strip() for line in lines]
    meant = [line.strip() for line in wanted]
    places = [at for at in range(len(lines) - len(meant) + 1) if bare[at : at + len(meant)] == meant]
    if len(places) != 1:
        return "", replace
    found = lines[places[0] : places[0] + len(meant)]
    new = _indented_like(found, wanted, replace.strip("\n").splitlines())
    return "".join(found), "".join(f"{line}\n" for line in new)


def _indented_like(found: Sequence[str], wanted: Sequence[str], new: Sequence[str]) -> list[str]:
    first = next(number for number, line in enumerate(wanted) if line.strip())
    have, said = (_indentation(lines[first]) for lines in (found, wanted))
    if len(have) >= len(said):
        return [have[len(said) :] + line if line.strip() else "" for line in new]
    return [line.removeprefix(said[len(have) :]) for line in new]


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())].rstrip("\r\n")


async def check_source(source: str) -> None:
    """EditRefused unless `source` parses and still has what the node needs of a train.py."""
    command = [sys.executable, "-I", "-c", _CHECK]
    with trio.move_on_after(3 * PARSE_SECONDS):
        try:
            done = await trio.run_process(
                command, stdin=source.encode("ascii"), capture_stdout=True, stderr=subprocess.DEVNULL, check=False
            )
        except OSError as error:
            raise EditRefused(f"train.py after the edits: it cannot be parsed here: {error.strerror}") from None
        said = done.stdout.decode("ascii", "replace").strip()
        if said == "fine":
            return
        raise EditRefused(f"train.py after the edits: {said[:200] or 'parsing it ended the parser'}")
    raise EditRefused("train.py after the edits: parsing it takes too long")

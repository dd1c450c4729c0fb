"""What one run changed against another, as a unified diff for people.

Owns the format and the bound on work: sources come from strangers, and difflib can be made to take minutes.
Nothing ever applies these patches; whole files are what is exchanged.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence

from node.text import clean
from swarm.words import Value

MAX_DIFF_CHARACTERS = 200_000
_CONTEXT = 3  # lines around a change, as everywhere
_MAX_LINE_PAIRS = 1_000_000  # lines before times lines after; 0.1 s for the worst text we found
_NO_NEWLINE = "\\ No newline at end of file"


def config_text(config: Mapping[str, Value]) -> str:
    """config.json as it stands in a run folder: one setting a line, so that diffs are readable."""
    return json.dumps(dict(config), indent=2) + "\n"


def text_diff(name: str, before: str | None, after: str) -> str:
    """Unified diff of one file; empty when nothing differs. `before` None: the file is new."""
    if before == after:
        return ""
    old, new = (before or "").split("\n"), after.split("\n")
    if len(old) * len(new) <= _MAX_LINE_PAIRS:
        body = difflib.unified_diff(_ended(old), _ended(new), lineterm="", n=_CONTEXT)
        hunks = [line for i, line in enumerate(body) if i > 1]  # without its own file names
    else:
        hunks = list(_one_hunk(_ended(old), _ended(new)))
    head = [f"--- {'/dev/null' if before is None else 'a/' + name}", f"+++ b/{name}"]
    lines = "\n".join([*head, *hunks]) + "\n"
    return clean(lines, MAX_DIFF_CHARACTERS, lines=True)


def _ended(lines: list[str]) -> list[str]:
    """The lines of a text split at newlines; a last one without newline says so, as git does."""
    return lines[:-1] if not lines[-1] else [*lines[:-1], f"{lines[-1]}\n{_NO_NEWLINE}"]


def _one_hunk(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """Everything between the equal beginning and the equal end, replaced: linear in the lines."""
    shorter = min(len(old), len(new))
    start = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    end = next((i for i in range(shorter - start) if old[-1 - i] != new[-1 - i]), shorter - start)
    first, last = max(0, start - _CONTEXT), min(end, _CONTEXT)
    old_end, new_end = len(old) - end, len(new) - end
    yield f"@@ -{first + 1},{old_end + last - first} +{first + 1},{new_end + last - first} @@"
    yield from (f" {line}" for line in old[first:start])
    yield from (f"-{line}" for line in old[start:old_end])
    yield from (f"+{line}" for line in new[start:new_end])
    yield from (f" {line}" for line in old[old_end : old_end + last])

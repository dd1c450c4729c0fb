"""What the pack's rules do not catch, and is known: each with what it is worth. tests keep this list true.

A script of these carries some text past the limits of node/trials/source_text.py.
"""

import random
from dataclasses import dataclass

from redteam.candidates import table

_RANDOM = random.Random(1)


@dataclass(frozen=True)
class Known:
    does: str
    worth: str
    source: str


REMAINING = {
    "text in spaces": Known(
        "ends its lines with spaces and tabs and reads them in its own file",
        "4 KB, as much as a source may differ from the shipped one once both are packed, however it is hidden",
        table("".join(_RANDOM.choices(" \t", k=20_000)) + "\n"),
    ),
}

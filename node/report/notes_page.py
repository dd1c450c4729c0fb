"""NOTES.md of a branch: the node's memory, for people and for whoever goes on from here.

Owns the page. What a note says is node/proposers/memory.py's; it holds own words only, made inert here all the same.
"""

from collections.abc import Iterable, Sequence

from node.proposers.memory import Note, notes_of, within
from node.text import clean, markdown_escape
from swarm.ledger import Entry

PAGE_TOKENS = 8_000
MAX_LINE_CHARS = 600
INTRODUCTION = (
    "What each experiment of this branch taught; the next ideas are made with it. Effects are in val_bpb, against the "
    "parent, ± half the width of the 95 % interval. Older notes are merged."
)


def notes_page(own: Iterable[Entry]) -> str:
    """`own`: the branch's findings. Numbers of different hardware or budgets stand in different notes' effects only."""
    notes = notes_of(own)
    shown = within(notes, PAGE_TOKENS)
    left_out = len(notes) - len(shown)
    paragraphs = [
        "# Notes",
        INTRODUCTION,
        "## What helped\n\n" + _list([note for note in shown if note.kept]),
        "## What did not\n\n" + _list([note for note in shown if not note.kept]),
        *([f"{left_out} older notes are left out; `results.tsv` has every run."] if left_out else []),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _list(notes: Sequence[Note]) -> str:
    lines = [f"- {markdown_escape(clean(note.line, MAX_LINE_CHARS))}" for note in reversed(notes)]
    return "\n".join(lines) or "Nothing yet."

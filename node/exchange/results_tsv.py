"""autoresearch's `results.tsv`, read: commit, val_bpb, memory_gb, status, description, one row an experiment.

Owns the file's form and the limits of what is taken. What the rows become is node/exchange/importing.py's business.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.text import clean
from swarm.words import SwarmError

COLUMNS = ("commit", "val_bpb", "memory_gb", "status", "description")  # others may follow, as in swarm report's
STATUSES = ("keep", "discard", "inconclusive", "crash", "censored")  # autoresearch knows keep, discard and crash
MAX_ROWS = 10_000  # a night has a hundred; what the page is fast with
MAX_FILE_BYTES = 16 << 20
_MAX_GB = 1e6
_MAX_DESCRIPTION = 1000  # characters; what a finding's rationale takes
_COMMIT = re.compile(r"[0-9a-f]{4,64}")


class TableError(SwarmError):
    """The file is no such table."""


@dataclass(frozen=True, slots=True)
class Row:
    line: int  # in the file, from 1
    commit: str  # as the file has it: often the beginning of a hash
    val_bpb: float | None  # None: it came to no number
    memory_bytes: int
    status: str
    description: str


def read_table(path: Path) -> list[Row]:
    """Raises TableError."""
    lines = [(n, line) for n, line in enumerate(_text(path).split("\n"), 1) if line.strip()]
    if not lines:
        raise TableError(f"{path} is empty; give a results.tsv with the columns {', '.join(COLUMNS)}")
    header = [name.strip().lower() for name in lines[0][1].split("\t")]
    if missing := [name for name in COLUMNS if name not in header]:
        raise TableError(
            f"{path} is not a results.tsv: its first line has no tab-separated column {', '.join(missing)}"
        )
    if len(lines) == 1:
        raise TableError(f"{path} has a heading and no rows; there is nothing to import yet")
    if len(lines) - 1 > MAX_ROWS:
        raise TableError(f"{path} has {len(lines) - 1:,} rows, more than {MAX_ROWS:,}; import a part of it")
    return [_row(path, n, line.split("\t"), header) for n, line in lines[1:]]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror}; check the path") from None
    if len(octets) > MAX_FILE_BYTES:
        raise TableError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MB, so it is no results.tsv that can be taken")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TableError(f"{path} is not a results.tsv: it is not UTF-8 text") from None
    if "\0" in text:
        raise TableError(f"{path} is not a results.tsv: it holds binary zeros")
    return text.replace("\r\n", "\n")


def _row(path: Path, line: int, cells: Sequence[str], header: Sequence[str]) -> Row:
    where = f"{path}, line {line}"
    if len(cells) != len(header):
        raise TableError(f"{where}: {len(cells)} tab-separated cells where the heading has {len(header)}")
    found = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    commit, status = found["commit"].lower(), found["status"].lower()
    if _COMMIT.fullmatch(commit) is None:
        raise TableError(f"{where}: {clean(commit, 40)!r} is not the beginning of a commit's hash")
    if status not in STATUSES:
        raise TableError(f"{where}: status {clean(status, 40)!r} is none of {', '.join(STATUSES)}")
    number = _number(where, "val_bpb", found["val_bpb"] or "0", below=64)
    if number == 0 and status in ("keep", "inconclusive"):
        raise TableError(f"{where}: status {status} with no val_bpb")
    memory = _number(where, "memory_gb", found["memory_gb"] or "0", below=_MAX_GB)
    measured = number > 0 and status not in ("crash", "censored")
    text = clean(found["description"], _MAX_DESCRIPTION)
    return Row(line, commit, number if measured else None, int(memory * 2**30), status, text)


def _number(where: str, name: str, text: str, below: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < below:
        raise TableError(f"{where}: {name} {clean(text, 40)!r} is not a number from 0 to {below:g}")
    return number

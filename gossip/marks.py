"""Marks: authors named by six bytes in a catch-up request. Pure.

A mark is a piece of the hash of the author, and each request says from where it is cut. Who spends years on a key whose
piece is that of another author hides the other one in one request of 27, and a piece that is equal by chance is not in
the next. Who does not know an author learns nothing of it from its mark, and does not need to.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

from gossip.forks import TIP_BYTES

MARK_BYTES = 6
OFFSETS = 27  # places in the hash that a mark can begin at
_REMEMBERED = 16_384


@dataclass(frozen=True, slots=True)
class Marked:
    """How far an asker got with authors that it names by marks."""

    offset: int
    heads: Mapping[bytes, int]  # by mark
    tips: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])

    def named(self, authors: Iterable[str]) -> tuple[dict[str, int], dict[str, bytes]]:
        """Heads and tips by author, of those among `authors`. Of others heads by their marks in hex, no peer id: that
        they are there says that the asker knows of more.
        """
        names = {mark_of(author, self.offset): author for author in authors}
        heads = {names.get(mark) or mark.hex(): seq for mark, seq in self.heads.items()}
        return heads, {names[mark]: tip for mark, tip in self.tips.items() if mark in names}


def mark_of(author: str, offset: int) -> bytes:
    return _hash(author)[offset : offset + MARK_BYTES]


@lru_cache(maxsize=_REMEMBERED)
def _hash(author: str) -> bytes:
    return sha256(author.encode()).digest()


def marks_in(packed: bytes) -> list[bytes]:
    return [packed[at : at + MARK_BYTES] for at in range(0, len(packed), MARK_BYTES)]


def tips_in(packed: object, count: int) -> list[bytes]:
    """As many tips as there are heads, empty where there is none; all of them are, if it is anything else."""
    if not isinstance(packed, bytes) or len(packed) != TIP_BYTES * count:
        return [b""] * count
    tips = [packed[at : at + TIP_BYTES] for at in range(0, len(packed), TIP_BYTES)]
    return [tip if any(tip) else b"" for tip in tips]

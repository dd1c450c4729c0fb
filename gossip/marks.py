"""Marks: authors named by six bytes, in one catch-up request and never again. Pure.

A mark is the beginning of a hash over the author and the request's own random salt. So nobody can make a key whose mark
is that of somebody else: of a thousand authors two have the same by chance once in 10^8 requests, and not in the
next one. Who does not know an author learns nothing of it from its mark, and does not need to.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from gossip.forks import TIP_BYTES

SALT_BYTES = 8
MARK_BYTES = 6


@dataclass(frozen=True, slots=True)
class Marked:
    """How far an asker got with authors that it names by marks."""

    salt: bytes
    heads: Mapping[bytes, int]  # by mark
    tips: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])

    def named(self, authors: Iterable[str]) -> tuple[dict[str, int], dict[str, bytes]]:
        """Heads and tips by author, of those among `authors`. Of others heads by their marks in hex, no peer id: that
        they are there says that the asker knows of more.
        """
        names = {mark_of(self.salt, author): author for author in authors}
        heads = {names.get(mark, mark.hex()): seq for mark, seq in self.heads.items()}
        return heads, {names[mark]: tip for mark, tip in self.tips.items() if mark in names}


def mark_of(salt: bytes, author: str) -> bytes:
    return sha256(salt + author.encode()).digest()[:MARK_BYTES]


def marks_in(packed: bytes) -> list[bytes]:
    return [packed[at : at + MARK_BYTES] for at in range(0, len(packed), MARK_BYTES)]


def tips_in(packed: object, count: int) -> list[bytes]:
    """As many tips as there are heads, empty where there is none; all of them are, if it is anything else."""
    if not isinstance(packed, bytes) or len(packed) != TIP_BYTES * count:
        return [b""] * count
    tips = [packed[at : at + TIP_BYTES] for at in range(0, len(packed), TIP_BYTES)]
    return [tip if any(tip) else b"" for tip in tips]

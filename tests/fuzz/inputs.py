"""Byte strings that strangers could send: random ones, sound messages damaged, and sound shapes with hostile values.

Owns how they are made. Everything comes from the random.Random that is passed in.
"""

import copy
import struct
from collections.abc import Sequence
from random import Random
from typing import Any

import msgpack

MOST_REPEATED = 200  # entries of a list that is made longer still
Tree = Any  # what msgpack can hold, at any depth

LIES = (  # what a reader may believe before it has looked
    b"\xdd\xff\xff\xff\xff",  # an array of 2^32 - 1
    b"\xdf\xff\xff\xff\xff",  # a map of as many
    b"\xc6\xff\xff\xff\xff",  # bytes of as many
    b"\xdb\x7f\xff\xff\xff",  # text of half as many
    b"\xdc\xff\xff",
    b"\xde\xff\xff",
    b"\xc9\xff\xff\xff\xff\x05",  # an extension of as many
    b"\xd6\xff\xff\xff\xff\xff",  # a timestamp
    b"\xc1",  # never used
    b"\x91" * 40,
    b"\x91" * 3000,  # deep
    b"\x81\xa0" * 700,
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",  # NaN
    b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",  # infinity
    b"\xca\xff\x80\x00\x00",  # minus infinity, single
    b"\xcb\x00\x00\x00\x00\x00\x00\x00\x01",  # the smallest float
    b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff",  # the largest
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",  # 2^64 - 1
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",  # -2^63
    b"\xa3\xed\xa0\x80",  # half a surrogate pair
    b"\xa2\xc3\x28",  # not UTF-8
    b"\xa1\x00",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
)
VALUES: tuple[Tree, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53 - 1, 2**53, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 1.0, 1e308, -1e308,
    5e-324, 1e-300, float("nan"), float("inf"), float("-inf"), "", "a", "\0", "\x1b[2J", "\x1b]0;x\x07", "\u202e\u2066",
    "<script>", "é" * 40, "😀" * 61, "x" * 5000, b"", b"\xff" * 64, [], {}, [[]], [None] * 65, [0] * 4097, {"": 0},
    "2026-01-01T00:00:00Z", "9999-99-99T99:99:99Z", "12D3KooW" + "z" * 44, "ab" * 32, "measured", "crashed", "keep",
)  # fmt: skip


def random_bytes(rng: Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 2, 3, 5, 8, 20, 64, 65, 100, 300, 2000)))


def damaged(rng: Random, sound: Sequence[bytes]) -> bytes:
    """A sound message with one to four things wrong."""
    made = bytearray(rng.choice(sound))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(made) + 1)
        match rng.randrange(8):
            case 0 | 1 if made:
                made[at % len(made)] ^= 1 << rng.randrange(8)
            case 2:
                del made[at:]
            case 3:
                made[at:at] = rng.choice(LIES)
            case 4:
                lie = rng.choice(LIES)
                made[at : at + len(lie)] = lie
            case 5:
                other = rng.choice(sound)
                made[at:] = other[rng.randrange(len(other) + 1) :]
            case 6:
                made[at:at] = made[at : at + rng.randrange(1, 40)]
            case _:
                made[at : at + 1] = rng.randbytes(rng.randrange(1, 5))
    return bytes(made)


def with_hostile_value(rng: Random, shapes: Sequence[Tree]) -> bytes:
    """Sound msgpack of nearly the right shape: one to three nodes replaced, doubled, renamed or left out."""
    tree = copy.deepcopy(rng.choice(shapes))
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, key = rng.choice(_places(tree))
        match rng.randrange(6):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[_key(rng)] = holder.pop(key)
            case 2 if isinstance(holder, list) and len(holder) < MOST_REPEATED:
                holder *= rng.choice((0, 2, 33, 70))
            case 3:
                holder[key] = _near(rng, holder[key])
            case 4:
                holder[key] = _nested(rng, rng.choice((2, 15, 16, 17, 60, 150)))
            case _:
                holder[key] = _hostile(rng)
        if not _places(tree):
            break
    return msgpack.packb(tree)


def _places(tree: Tree) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in inside:
            found.append((node, key))
            waiting.append(value)
    return found


def _near(rng: Random, value: Tree) -> Tree:
    """Something of the same type, elsewhere in its range."""
    match value:
        case bool():
            return int(value)
        case int():
            other = rng.choice((-value, value + 1, value * 2**20 % 2**63))
            return float(value) if rng.random() < 0.2 else min(max(other, -(2**63)), 2**64 - 1)
        case float():
            return struct.unpack("<d", rng.randbytes(8))[0]
        case str():
            return rng.choice(
                (value * 2, value[:-1], value.upper(), value + "\n", value + "\0", value + "\u202e", " " + value)
            )
        case bytes():
            return rng.choice((value * 2, value[:-1], value.hex(), rng.randbytes(len(value))))
        case _:
            return _hostile(rng)


def _hostile(rng: Random) -> Tree:
    return copy.deepcopy(rng.choice(VALUES))  # what is drawn is changed in place


def _nested(rng: Random, levels: int) -> Tree:
    value: Tree = 0
    for _ in range(levels):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _key(rng: Random) -> Any:
    return rng.choice(("", "v", "kind", "later", "__proto__", b"bin", "\x1b[31m", "k" * 300))


def made(rng: Random, sound: Sequence[bytes], shapes: Sequence[Tree]) -> bytes:
    """One byte string of any sort."""
    chance = rng.random()
    if chance < 0.1:
        return random_bytes(rng)
    if chance < 0.55 or not shapes:
        return damaged(rng, sound)
    whole = with_hostile_value(rng, shapes)
    return damaged(rng, [whole]) if chance > 0.92 else whole

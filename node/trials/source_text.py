"""How much text a source could carry along: what a training script must not bring with it is the validation text.

Owns the counts and their limits. A script with the text of the validation shard in its strings, comments or names would
score well without having learned it. Run as a program it reads a source on standard input and prints the counts, under
limits, because a source can be made so that parsing it needs all memory there is. Standard library only: it starts in
30 ms.
"""

import ast
import io
import json
import lzma
import resource
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass

EXTRA_BYTES = 4096  # beyond what the shipped script has: room for a rewritten model with its comments, not for a text
NEW_BYTES = 4096  # packed, next to the shipped script: honest rewrites have at most 1,800 (tests/redteam)
PARSE_MEMORY_BYTES = 2**30


@dataclass(frozen=True)
class Carried:
    """Bytes of a source that could be any text."""

    literals: int  # strings, bytes, numbers
    comments: int
    names: int  # each name once


def count(source: bytes) -> Carried:
    """SyntaxError, ValueError: this is no Python source."""
    tree = ast.parse(source)
    literals = sum(_constant_bytes(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant))
    kinds: Counter[int] = Counter()
    names: set[str] = set()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        kinds[token.type] += len(token.string.encode())
        if token.type == tokenize.NAME:
            names.add(token.string)
    return Carried(literals, kinds[tokenize.COMMENT], sum(len(name.encode()) for name in names))


def refusal(carried: Carried, shipped: Carried) -> str:
    """Why a source is not run, empty when it may be."""
    for kind in ("literals", "comments", "names"):
        more = getattr(carried, kind) - getattr(shipped, kind)
        if more > EXTRA_BYTES:
            return f"its {kind} hold {more} bytes more than the shipped script's; {EXTRA_BYTES} are accepted"
    return ""


def news(source: bytes, shipped: bytes) -> int:
    """Bytes that are left of a source when it is packed by someone who knows the shipped script.

    However text is hidden in it, in the order of names, in digits or in white space: it is not much more than this.
    LZMA and not deflate, whose memory of 32 KB ends inside a script that has become longer at its beginning.
    """
    return _packed(shipped + source) - _packed(shipped)


def _packed(source: bytes) -> int:
    return len(lzma.compress(source, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}]))


def too_new(source: bytes, shipped: bytes) -> str:
    """Why a source is not run, empty when it may be."""
    new = news(source, shipped)
    return (
        f"it holds {new} bytes of news next to the shipped script; {NEW_BYTES} are accepted" if new > NEW_BYTES else ""
    )


def _constant_bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", errors="surrogatepass"))
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return max(1, value.bit_length() // 8)
    return 8 if isinstance(value, float | complex) else 0


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (PARSE_MEMORY_BYTES, PARSE_MEMORY_BYTES))
    source = sys.stdin.buffer.read()
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        carried = Carried(0, 0, 0)  # it cannot run; how it fails is shown by running it
    else:
        carried = count(source)
    sys.stdout.write(json.dumps([carried.literals, carried.comments, carried.names]))


if __name__ == "__main__":
    main()

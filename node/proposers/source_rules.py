"""What bytes may become a train.py, wherever they come from: a program's edit, a peer's change, a merge of two.

Owns one canonical form (ASCII, lines that end in a newline), so that the same change is the same key for everybody.
Whether it is Python that keeps the contract is `edits.check_source`'s question.
"""

from node.proposers.edits import EditRefused
from swarm.brief import MAX_SOURCE_BYTES


def canonical_source(content: bytes) -> str:
    """The text of a train.py. Raises EditRefused; nothing of such a file is used."""
    if len(content) > MAX_SOURCE_BYTES:
        raise EditRefused(f"train.py has more than {MAX_SOURCE_BYTES} bytes")
    if b"\0" in content:
        raise EditRefused("train.py holds NUL bytes: it is no text")
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EditRefused(f"train.py must be ASCII, and line {line} is not") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise EditRefused("train.py is empty")
    if not text.endswith("\n"):
        text += "\n"
    if len(text) > MAX_SOURCE_BYTES:
        raise EditRefused(f"train.py has more than {MAX_SOURCE_BYTES} bytes")
    return text

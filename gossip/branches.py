"""Branches between peers: which ones are asked for, and what an author signs of where its branch stands. Pure messages.

Owns the request and the head of the answer of the git protocol, and the signed head. What goes over the stream after
that is git's own; gossip/pipe.py carries it and gossip/libp2p_git.py has the streams. docs/protocol.md has the bytes.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, cast

import msgpack
import trio

from gossip.identity import Identity, public_key_of, verify
from gossip.refusal import RefusalReason, Refused

PROTOCOL = "/swarm/git/1"
MAX_REQUEST_BYTES = 16 * 1024
MAX_BRANCHES = 64  # named in one request
MAX_HEAD_BYTES = 1024  # of a signed head
SIGNATURE_BYTES = 64
SIGNING_PREFIX = b"research-swarm/head/1\0"  # a signature made for another purpose is never a head's
VERSION = 1
_MAX_INTEGER = 2**53 - 1
_BRANCH = re.compile(r"[a-z]{1,16}(/[A-Za-z0-9][A-Za-z0-9_-]{0,63}){1,3}")
_HEX_ID = re.compile(r"[0-9a-f]{64}")


class BranchStatus(IntEnum):
    """First and only byte before git's own protocol begins."""

    HERE = 0
    ABSENT = 1  # nothing of what was asked for
    BUSY = 2  # too many are being served: ask again later, or somebody else


class BranchSource(Protocol):
    async def open(self, names: Sequence[str]) -> AbstractAsyncContextManager[trio.abc.HalfCloseableStream] | None:
        """Something that speaks git's upload-pack about these branches, all that are offered if none is named. None:
        there are none of them. It ends with its context. Names are checked for form only."""
        ...


class NoBranches:
    """Gives none."""

    async def open(self, names: Sequence[str]) -> AbstractAsyncContextManager[trio.abc.HalfCloseableStream] | None:  # noqa: ARG002 - the port's signature
        return None


@dataclass(frozen=True, slots=True)
class SignedHead:
    """Where an author says that its branch stands."""

    author: str  # peer id
    brief: str
    branch: str
    commit: bytes  # 20 bytes
    seq: int  # of the author's record that the commit holds: a later head has a higher one
    at_ms: int  # author's clock: shown, never trusted
    frame: bytes = field(repr=False)


def seal_head(identity: Identity, brief: str, branch: str, commit: bytes, seq: int, at_ms: int) -> SignedHead:
    """Raises Refused if a field breaks a rule, so that nothing unreadable is told."""
    fields = {"v": VERSION, "author": identity.peer_id, "brief": brief, "branch": branch}
    body = msgpack.packb(fields | {"commit": commit, "seq": seq, "at": at_ms})
    return open_head(identity.sign(SIGNING_PREFIX + body) + body)


def open_head(frame: bytes) -> SignedHead:
    """Raises Refused, and nothing else, whatever the bytes."""
    if len(frame) > MAX_HEAD_BYTES:
        raise Refused(RefusalReason.OVERSIZE, f"signed head of {len(frame)} bytes is larger than {MAX_HEAD_BYTES}")
    signature, body = frame[:SIGNATURE_BYTES], frame[SIGNATURE_BYTES:]
    head = _read(_fields(body, "signed head"), frame)
    if not verify(head.author, SIGNING_PREFIX + body, signature):
        raise Refused(RefusalReason.BAD_SIGNATURE, f"head is not signed by {head.author}")
    return head


def encode_request(names: Sequence[str]) -> bytes:
    return msgpack.packb({"v": 1, "branches": list(names)})


def decode_request(message: bytes) -> tuple[str, ...]:
    """Names of branches; none: all. Raises Refused."""
    if len(message) > MAX_REQUEST_BYTES:
        raise Refused(RefusalReason.OVERSIZE, f"git request of {len(message)} bytes is over {MAX_REQUEST_BYTES}")
    fields = _fields(message, "git request")
    names = fields.get("branches")
    if fields.get("v") != 1 or not isinstance(names, list):
        raise Refused(RefusalReason.MALFORMED, "git request lacks its version or its branches")
    listed = cast("list[object]", names)
    if len(listed) > MAX_BRANCHES or not all(isinstance(name, str) and is_branch(name) for name in listed):
        raise Refused(RefusalReason.MALFORMED, "git request names something that is no branch")
    return tuple(cast("list[str]", listed))


def is_branch(name: str) -> bool:
    return _BRANCH.fullmatch(name) is not None


def _fields(message: bytes, what: str) -> dict[Any, Any]:  # Any: whatever a stranger packed
    try:
        fields: object = msgpack.unpackb(message, strict_map_key=True, max_array_len=64, max_map_len=64, max_ext_len=0)
    except Exception as error:  # msgpack raises many classes on hostile bytes; all mean the same here
        raise Refused(RefusalReason.MALFORMED, f"{what} is not msgpack: {type(error).__name__}") from None
    if not isinstance(fields, dict):
        raise Refused(RefusalReason.MALFORMED, f"{what} is not a map")
    return cast("dict[Any, Any]", fields)


def _read(fields: dict[Any, Any], frame: bytes) -> SignedHead:
    version = fields.get("v")
    if type(version) is int and version > VERSION:
        raise Refused(RefusalReason.UNKNOWN_VERSION, f"signed head has version {version}, this program reads {VERSION}")
    author, brief, branch = (fields.get(name) for name in ("author", "brief", "branch"))
    commit, seq, at_ms = (fields.get(name) for name in ("commit", "seq", "at"))
    wrong = (
        ("v", type(version) is not int or version != VERSION),
        ("author", not isinstance(author, str) or public_key_of(author) is None),
        ("brief", not isinstance(brief, str) or _HEX_ID.fullmatch(brief) is None),
        ("branch", not isinstance(branch, str) or not is_branch(branch)),
        ("commit", not isinstance(commit, bytes) or len(commit) != 20),
        ("seq", type(seq) is not int or not 1 <= seq <= _MAX_INTEGER),
        ("at", type(at_ms) is not int or not 0 <= at_ms <= _MAX_INTEGER),
    )
    for name, is_wrong in wrong:
        if is_wrong:
            raise Refused(RefusalReason.MALFORMED, f"signed head's field '{name}' is missing or not valid")
    texts = cast("tuple[str, str, str]", (author, brief, branch))
    return SignedHead(*texts, cast("bytes", commit), cast("int", seq), cast("int", at_ms), frame)

"""The frame that carries one signed record, and nothing of what the record says.

frame = 64-byte Ed25519 signature || body; body = a msgpack map (docs/protocol.md). The bytes are the record: id and
signature cover the body as received, nobody re-encodes it, and fields unknown to this version survive in it.
"""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, cast

import msgpack

from gossip.identity import Identity, public_key_of, verify
from gossip.refusal import RefusalReason, Refused
from gossip.unpacking import unpacked_map

MAX_FRAME_BYTES = 96 * 1024  # a finding of 64 KiB with room; one libp2p message may carry 1 MiB
SIGNATURE_BYTES = 64
SIGNING_PREFIX = b"research-swarm/record/1\0"  # a signature made for another purpose is never a record's
VERSION = 1
_MAX_INTEGER = 2**53 - 1  # exact in every language
_MAX_DEPTH = 16
_MAX_ITEMS = 4096  # of one array or map inside a body
_HEX_ID = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Record:
    id: str  # SHA-256 of the body, hex
    kind: str
    brief: str
    author: str  # peer id
    seq: int  # 1, 2, 3 … in its author's log of this brief
    prev: str  # id of the author's record before this one, "" for the first
    at_ms: int  # author's clock, unix milliseconds: shown, never trusted
    payload: bytes = field(repr=False)
    frame: bytes = field(repr=False)  # the bytes as received, which are stored and passed on


def seal(identity: Identity, kind: str, brief: str, seq: int, prev: str, at_ms: int, payload: bytes) -> Record:
    """A new record of `identity`. Raises Refused if a field breaks a rule, so that nothing unreadable is sent."""
    fields = {
        "v": VERSION,
        "kind": kind,
        "brief": brief,
        "author": identity.peer_id,
        "seq": seq,
        "prev": prev,
        "at": at_ms,
        "payload": payload,
    }
    body = msgpack.packb(fields)
    return open_frame(identity.sign(SIGNING_PREFIX + body) + body)


def open_frame(frame: bytes) -> Record:
    """Raises Refused, and nothing else, whatever the bytes."""
    if len(frame) > MAX_FRAME_BYTES:
        raise Refused(RefusalReason.OVERSIZE, f"frame of {len(frame)} bytes is larger than {MAX_FRAME_BYTES}")
    signature, body = frame[:SIGNATURE_BYTES], frame[SIGNATURE_BYTES:]
    record = _read(_unpack(body), frame, body)
    if not verify(record.author, SIGNING_PREFIX + body, signature):
        raise Refused(RefusalReason.BAD_SIGNATURE, f"record is not signed by its author {record.author}")
    return record


def record_id(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _unpack(body: bytes) -> dict[str, Any]:  # Any: whatever a stranger packed
    table = unpacked_map(body, "body", _MAX_ITEMS)
    if _declared_pairs(body) != len(table) or not all(isinstance(key, str) for key in table):
        # Readers differ in which of two equal keys counts; a record must say one thing to everybody.
        raise Refused(RefusalReason.MALFORMED, "body has a key twice or a key that is not text")
    if _too_deep(table, _MAX_DEPTH):
        raise Refused(RefusalReason.MALFORMED, f"body is nested deeper than {_MAX_DEPTH}")
    return table


def _declared_pairs(body: bytes) -> int:
    """The number of pairs that a msgpack map's head announces."""
    if body[0] == 0xDE:
        return int.from_bytes(body[1:3], "big")
    if body[0] == 0xDF:
        return int.from_bytes(body[1:5], "big")
    return body[0] & 0x0F


def _too_deep(value: object, allowed: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inside = cast("dict[object, object]", value).values() if isinstance(value, dict) else cast("list[object]", value)
    return allowed == 0 or any(_too_deep(item, allowed - 1) for item in inside)


def _read(fields: dict[str, Any], frame: bytes, body: bytes) -> Record:
    version = fields.get("v")
    if type(version) is int and version > VERSION:
        raise Refused(RefusalReason.UNKNOWN_VERSION, f"record has version {version}, this program reads {VERSION}")
    seq, at_ms, payload = _integer(fields, "seq"), _integer(fields, "at"), fields.get("payload")
    kind, brief, author, prev = (_text(fields, name) for name in ("kind", "brief", "author", "prev"))
    wrong = (
        ("v", version != VERSION or type(version) is not int),
        ("kind", _KIND.fullmatch(kind) is None),
        ("brief", _HEX_ID.fullmatch(brief) is None),
        ("author", public_key_of(author) is None),
        ("seq", seq < 1),
        ("prev", prev != "" if seq == 1 else _HEX_ID.fullmatch(prev) is None),
        ("at", at_ms < 0),
        ("payload", not isinstance(payload, bytes)),
    )
    for name, is_wrong in wrong:
        if is_wrong:
            raise Refused(RefusalReason.MALFORMED, f"record field '{name}' is missing or not valid")
    return Record(
        id=record_id(body),
        kind=kind,
        brief=brief,
        author=author,
        seq=seq,
        prev=prev,
        at_ms=at_ms,
        payload=cast("bytes", payload),
        frame=frame,
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else "\0"  # matches no rule below


def _integer(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int:  # type(): True is an int, but not a number here
        return -1
    return value if 0 <= value <= _MAX_INTEGER else -1

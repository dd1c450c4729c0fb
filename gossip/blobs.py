"""Blobs: bytes that peers give each other by their SHA-256. Pure messages and rules of the blob protocol.

Owns what a request and the head of an answer look like, and which blobs there are to give: those that were offered,
never a path from a request. Streams are gossip/libp2p_blobs.py, getting one blob from several peers is
gossip/blob_fetch.py. docs/protocol.md has the bytes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol, cast

import msgpack

from gossip.refusal import RefusalReason, Refused

PROTOCOL = "/swarm/blob/1"
MAX_REQUEST_BYTES = 256  # a hash and a number, with room for keys to come
HEAD_BYTES = 9  # status, size
MAX_BLOB_BYTES = 2**53 - 1  # largest integer on this wire
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BlobStatus(IntEnum):
    """First byte of an answer."""

    HERE = 0  # the size and the bytes follow
    ABSENT = 1  # not one of the answerer's
    BUSY = 2  # too many are being served: ask again later, or somebody else


@dataclass(frozen=True, slots=True)
class BlobRequest:
    """The blob's bytes from `offset` to its end."""

    sha256: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class BlobHead:
    status: BlobStatus
    size_bytes: int = 0  # of the whole blob


class BlobSource(Protocol):
    def find(self, sha256: str) -> Path | bytes | None:
        """A blob that is offered, in memory or as a file; None for all others. Quick, never raises."""
        ...


class OfferedBlobs:
    """What a node gives to whoever asks: a fixed list, made by the node."""

    def __init__(self, blobs: Mapping[str, Path | bytes] | None = None) -> None:
        self._blobs = dict(blobs or {})

    def find(self, sha256: str) -> Path | bytes | None:
        return self._blobs.get(sha256)


def encode_request(request: BlobRequest) -> bytes:
    return msgpack.packb({"v": 1, "hash": bytes.fromhex(request.sha256), "offset": request.offset})


def decode_request(message: bytes) -> BlobRequest:
    """Raises Refused."""
    fields = _fields(message)
    digest, offset = fields.get("hash"), fields.get("offset")
    if fields.get("v") != 1 or not isinstance(digest, bytes) or len(digest) != 32:
        raise Refused(RefusalReason.MALFORMED, "blob request lacks its version or a hash of 32 bytes")
    if type(offset) is not int or not 0 <= offset <= MAX_BLOB_BYTES:  # type(): True is an int, but not a number here
        raise Refused(RefusalReason.MALFORMED, "blob request has an offset that is none")
    return BlobRequest(digest.hex(), offset)


def encode_head(head: BlobHead) -> bytes:
    return bytes([head.status]) + head.size_bytes.to_bytes(HEAD_BYTES - 1, "big")


def decode_head(head: bytes) -> BlobHead:
    """Raises Refused."""
    size_bytes = int.from_bytes(head[1:], "big")
    if len(head) != HEAD_BYTES or head[0] not in list(BlobStatus) or size_bytes > MAX_BLOB_BYTES:
        raise Refused(RefusalReason.MALFORMED, f"blob answer begins with {head[:HEAD_BYTES].hex()}, which is no head")
    return BlobHead(BlobStatus(head[0]), size_bytes)


def is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None


def _fields(message: bytes) -> dict[Any, Any]:  # Any: whatever a stranger packed
    if len(message) > MAX_REQUEST_BYTES:
        raise Refused(RefusalReason.OVERSIZE, f"blob request of {len(message)} bytes is over {MAX_REQUEST_BYTES}")
    try:
        fields: object = msgpack.unpackb(message, strict_map_key=True, max_array_len=64, max_map_len=64, max_ext_len=0)
    except Exception as error:  # msgpack raises many classes on hostile bytes; all mean the same here
        raise Refused(RefusalReason.MALFORMED, f"blob request is not msgpack: {type(error).__name__}") from None
    if not isinstance(fields, dict):
        raise Refused(RefusalReason.MALFORMED, "blob request is not a map")
    return cast("dict[Any, Any]", fields)

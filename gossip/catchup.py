"""Catch-up: what peers say to each other so that each has every record. Pure messages and rules.

One request names how far the asker got in each author's log; one answer brings a bounded page of what is missing. The
asker repeats until the answer says that there is no more. Opening streams is the bus's, keeping records the store's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgpack

from gossip.addresses import MAX_ADDRESS_BYTES, dialable
from gossip.envelope import MAX_FRAME_BYTES
from gossip.identity import public_key_of
from gossip.refusal import RefusalReason, Refused
from gossip.store import RecordStore

PROTOCOL = "/swarm/catchup/1"
MAX_AUTHORS = 4096  # in one request; a larger swarm is asked about in ranges of authors
MAX_REQUEST_BYTES = 512 * 1024  # 4096 authors of about 60 bytes, twice
PAGE_BYTES = 512 * 1024  # of frames in one answer
MAX_RESPONSE_BYTES = PAGE_BYTES + MAX_FRAME_BYTES + 128 * 1024
MAX_PAGE_RECORDS = 8192
MAX_ADDRESSES = 16
_MAX_SEQ = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Request:
    """How far the asker got with the authors from `first` up to, not including, `end` ("" = without bound)."""

    brief: str
    heads: Mapping[str, int]
    first: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    frames: tuple[bytes, ...] = field(repr=False)
    more: bool
    addresses: tuple[str, ...] = ()  # where other peers of this topic can be reached


def requests(brief: str, heads: Mapping[str, int]) -> list[Request]:
    """One request, or as many as it takes to name every author."""
    authors = sorted(heads)
    starts = ["", *authors[MAX_AUTHORS::MAX_AUTHORS]]
    ends = [*starts[1:], ""]
    return [
        Request(brief, {a: heads[a] for a in authors if first <= a and (not end or a < end)}, first, end)
        for first, end in zip(starts, ends, strict=True)
    ]


def encode_request(request: Request) -> bytes:
    fields = {"v": 1, "brief": request.brief, "heads": dict(request.heads), "first": request.first, "end": request.end}
    return msgpack.packb(fields)


def decode_request(message: bytes) -> Request:
    """Raises Refused."""
    fields = _fields(message, MAX_REQUEST_BYTES)
    brief, heads, first, end = (fields.get(name) for name in ("brief", "heads", "first", "end"))
    texts_fit = all(isinstance(text, str) and len(text) <= 64 for text in (brief, first, end))
    if fields.get("v") != 1 or not texts_fit or not isinstance(heads, dict):
        raise Refused(RefusalReason.MALFORMED, "catch-up request lacks a field")
    table = cast("dict[Any, Any]", heads)  # Any: checked in the next line
    if len(table) > MAX_AUTHORS or not all(_is_head(author, seq) for author, seq in table.items()):
        raise Refused(RefusalReason.MALFORMED, "catch-up request has heads that are none")
    return Request(cast("str", brief), cast("dict[str, int]", table), cast("str", first), cast("str", end))


def answer(store: RecordStore, brief: str, request: Request, addresses: tuple[str, ...]) -> Page:
    """What `request` lacks, one page of it. Raises Refused for another brief."""
    if request.brief != brief:
        raise Refused(RefusalReason.WRONG_BRIEF, "catch-up request asks for another brief")
    own = store.heads()
    elsewhere = {a: seq for a, seq in own.items() if a < request.first or (request.end and a >= request.end)}
    asked = {**request.heads, **elsewhere}
    frames = store.records_after(asked, PAGE_BYTES)[:MAX_PAGE_RECORDS]
    missing = sum(max(0, seq - asked.get(author, 0)) for author, seq in own.items())
    return Page(tuple(frames), more=missing > len(frames), addresses=addresses[:MAX_ADDRESSES])


def encode_page(page: Page) -> bytes:
    return msgpack.packb({"v": 1, "records": list(page.frames), "more": page.more, "peers": list(page.addresses)})


def decode_page(message: bytes) -> Page:
    """Raises Refused. Frames come out unopened; addresses only if they can be dialled."""
    fields = _fields(message, MAX_RESPONSE_BYTES)
    frames, more, addresses = (fields.get(name) for name in ("records", "more", "peers"))
    if fields.get("v") != 1 or not isinstance(frames, list) or not isinstance(more, bool):
        raise Refused(RefusalReason.PAGE_MALFORMED, "catch-up answer lacks a field")
    listed = cast("list[object]", frames)
    if len(listed) > MAX_PAGE_RECORDS or not all(isinstance(frame, bytes) for frame in listed):
        raise Refused(RefusalReason.PAGE_MALFORMED, "catch-up answer carries something other than records")
    texts = cast("list[object]", addresses)[:MAX_ADDRESSES] if isinstance(addresses, list) else []
    known = [text for text in texts if isinstance(text, str) and len(text) <= MAX_ADDRESS_BYTES]
    return Page(tuple(cast("list[bytes]", listed)), more, dialable(known))


def _fields(message: bytes, limit_bytes: int) -> dict[Any, Any]:  # Any: whatever a stranger packed
    if len(message) > limit_bytes:
        raise Refused(RefusalReason.PAGE_MALFORMED, f"catch-up message of {len(message)} bytes is over {limit_bytes}")
    try:
        fields: object = msgpack.unpackb(
            message,
            strict_map_key=True,
            max_array_len=MAX_PAGE_RECORDS,
            max_map_len=MAX_AUTHORS,
            max_ext_len=0,
        )
    except Exception as error:  # msgpack raises many classes on hostile bytes; all mean the same here
        raise Refused(
            RefusalReason.PAGE_MALFORMED, f"catch-up message is not msgpack: {type(error).__name__}"
        ) from None
    if not isinstance(fields, dict):
        raise Refused(RefusalReason.PAGE_MALFORMED, "catch-up message is not a map")
    return cast("dict[Any, Any]", fields)


def _is_head(author: object, seq: object) -> bool:
    return isinstance(author, str) and public_key_of(author) is not None and type(seq) is int and 0 < seq <= _MAX_SEQ

"""Catch-up: what peers say to each other so that each has every record. Pure messages and rules.

One request says how far the asker got in each author's log; one answer brings a bounded page of what is missing. The
asker repeats until the answer says that there is no more. Opening streams is the bus's, keeping records the store's,
what an author is called in one request marks.py's.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgpack

from gossip.addresses import MAX_ADDRESS_BYTES, dialable
from gossip.envelope import MAX_FRAME_BYTES
from gossip.forks import TIP_BYTES, Forks, NoForks
from gossip.identity import public_key_of
from gossip.marks import MARK_BYTES, OFFSETS, Marked, mark_of, marks_in, tips_in
from gossip.refusal import RefusalReason, Refused
from gossip.store import RecordStore

PROTOCOL = "/swarm/catchup/1"
MAX_AUTHORS = 4096  # in one request; a larger swarm is asked about in ranges of authors
MAX_REQUEST_BYTES = 512 * 1024  # 4096 authors of about 60 bytes, twice
PAGE_BYTES = 512 * 1024  # of frames in one answer
MAX_RESPONSE_BYTES = PAGE_BYTES + MAX_FRAME_BYTES + 128 * 1024
MAX_PAGE_RECORDS = 8192
MAX_ADDRESSES = 16
_DEFLATE_LEVEL = 6  # 13 ms for a page of findings, to 19 % of its size; level 1: 4 ms, 21 %; 9: 117 ms, 18 % (measured)
_MAX_SEQ = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Request:
    """How far the asker got with the authors from `first` up to, not including, `end` ("" = without bound)."""

    brief: str
    heads: Mapping[str, int]
    first: str = ""
    end: str = ""
    tips: Mapping[str, bytes] = field(default_factory=dict[str, bytes])  # first bytes of the ids at the heads
    deflate: bool = False  # the asker reads answers whose records are compressed
    offset: int | None = None  # to be sent: authors are named by marks from there
    marked: Marked | None = None  # as it came: in the place of heads and tips, until `named`


@dataclass(frozen=True, slots=True)
class Page:
    frames: tuple[bytes, ...] = field(repr=False)
    more: bool
    addresses: tuple[str, ...] = ()  # where other peers of this topic can be reached


def requests(brief: str, heads: Mapping[str, int]) -> list[Request]:
    """One request, or as many as it takes to name every author."""
    if len(heads) <= MAX_AUTHORS:
        return [Request(brief, dict(heads))]
    authors = sorted(heads)
    starts = ["", *authors[MAX_AUTHORS::MAX_AUTHORS]]
    ends = [*starts[1:], ""]
    return [
        Request(brief, {a: heads[a] for a in authors if first <= a and (not end or a < end)}, first, end)
        for first, end in zip(starts, ends, strict=True)
    ]


def encode_request(request: Request) -> bytes:
    fields: dict[str, object] = {"v": 1, "brief": request.brief}
    authors = sorted(request.heads)
    if request.offset is not None:
        fields["offset"] = request.offset
        fields["marks"] = b"".join(mark_of(author, request.offset) for author in authors)
        fields["seqs"] = [request.heads[author] for author in authors]
    else:
        fields["heads"] = dict(request.heads)
    fields |= {"first": request.first, "end": request.end}
    if request.tips:
        nothing = bytes(TIP_BYTES)
        fields["tips"] = b"".join(request.tips.get(author, nothing) for author in authors)
    if request.deflate:
        fields["deflate"] = True
    return msgpack.packb(fields)


def decode_request(message: bytes) -> Request:
    """Raises Refused."""
    fields = _fields(message, MAX_REQUEST_BYTES)
    texts = tuple(fields.get(name) for name in ("brief", "first", "end"))
    if fields.get("v") != 1 or not all(isinstance(text, str) and len(text) <= 64 for text in texts):
        raise Refused(RefusalReason.MALFORMED, "catch-up request lacks a field")
    brief, first, end = cast("tuple[str, str, str]", texts)
    deflate = fields.get("deflate") is True
    if "marks" in fields:
        return Request(brief, {}, first, end, deflate=deflate, marked=_marked(fields))
    heads = _heads(fields.get("heads"))
    tips = zip(sorted(heads), tips_in(fields.get("tips"), len(heads)), strict=True)
    return Request(brief, heads, first, end, {author: tip for author, tip in tips if tip}, deflate)


def _heads(table: object) -> dict[str, int]:
    if not isinstance(table, dict):
        raise Refused(RefusalReason.MALFORMED, "catch-up request lacks its heads")
    heads = cast("dict[Any, Any]", table)  # Any: checked in the next line
    if len(heads) > MAX_AUTHORS or not all(_is_head(author, seq) for author, seq in heads.items()):
        raise Refused(RefusalReason.MALFORMED, "catch-up request has heads that are none")
    return cast("dict[str, int]", heads)


def _marked(fields: Mapping[Any, Any]) -> Marked:
    offset, marks, seqs = (fields.get(name) for name in ("offset", "marks", "seqs"))
    if type(offset) is not int or not isinstance(marks, bytes) or not isinstance(seqs, list):
        raise Refused(RefusalReason.MALFORMED, "catch-up request has marks without offset or heads")
    heads = cast("list[object]", seqs)
    fits = 0 <= offset < OFFSETS and len(marks) == MARK_BYTES * len(heads) and len(heads) <= MAX_AUTHORS
    if not fits or not all(_is_seq(seq) for seq in heads):
        raise Refused(RefusalReason.MALFORMED, "catch-up request has heads that are none, or not one for each mark")
    names = marks_in(marks)
    tips = zip(names, tips_in(fields.get("tips"), len(names)), strict=True)
    known = cast("list[int]", heads)
    return Marked(offset, dict(zip(names, known, strict=True)), {mark: tip for mark, tip in tips if tip})


def named(request: Request, authors: Iterable[str]) -> Request:
    """A request whose authors are named, if it is one with marks: `authors` are those known here."""
    if request.marked is None:
        return request
    heads, tips = request.marked.named(authors)
    return replace(request, heads=heads, tips=tips, marked=None)


def answer(
    store: RecordStore, brief: str, request: Request, addresses: tuple[str, ...], forks: Forks | None = None
) -> Page:
    """What `request` lacks, one page of it. Raises Refused for another brief."""
    if request.brief != brief:
        raise Refused(RefusalReason.WRONG_BRIEF, "catch-up request asks for another brief")
    own, asked = store.heads(), request.heads
    if request.first or request.end:
        asked = {**asked, **{a: seq for a, seq in own.items() if not _asked_about(a, request)}}
    evidence, left_out = _evidence(forks or NoForks(), request)
    frames = store.records_after(asked, PAGE_BYTES - sum(map(len, evidence)))[: MAX_PAGE_RECORDS - len(evidence)]
    missing = sum(seq - asked.get(author, 0) for author, seq in own.items() if seq > asked.get(author, 0))
    more = missing > len(frames) or left_out
    return Page((*evidence, *frames), more=more, addresses=addresses[:MAX_ADDRESSES])


def _evidence(forks: Forks, request: Request) -> tuple[list[bytes], bool]:
    """Frames that show an author's contradiction, and whether some had no room in their half of the page."""
    chosen: list[bytes] = []
    size = 0
    for author, frames in forks.evidence(request.heads, request.tips):
        if not _asked_about(author, request):
            continue
        size += sum(map(len, frames))
        if chosen and (size > PAGE_BYTES // 2 or len(chosen) + len(frames) > MAX_PAGE_RECORDS // 2):
            return chosen, True
        chosen += frames
    return chosen, False


def _asked_about(author: str, request: Request) -> bool:
    return author >= request.first and not (request.end and author >= request.end)


def encode_page(page: Page, *, deflate: bool = False) -> bytes:
    """`deflate`: records compressed, for an asker that said it reads them so."""
    fields: dict[str, object] = {"v": 1, "records": list(page.frames), "more": page.more, "peers": list(page.addresses)}
    if deflate and page.frames:
        fields["records"] = []
        fields["deflated"] = zlib.compress(msgpack.packb(list(page.frames)), _DEFLATE_LEVEL)
    return msgpack.packb(fields)


def decode_page(message: bytes) -> Page:
    """Raises Refused. Frames come out unopened; addresses only if they can be dialled."""
    fields = _fields(message, MAX_RESPONSE_BYTES)
    frames, more, addresses = (fields.get(name) for name in ("records", "more", "peers"))
    if "deflated" in fields:
        frames = _inflated(fields["deflated"])
    if fields.get("v") != 1 or not isinstance(frames, list) or not isinstance(more, bool):
        raise Refused(RefusalReason.PAGE_MALFORMED, "catch-up answer lacks a field")
    listed = cast("list[object]", frames)
    if len(listed) > MAX_PAGE_RECORDS or not all(isinstance(frame, bytes) for frame in listed):
        raise Refused(RefusalReason.PAGE_MALFORMED, "catch-up answer carries something other than records")
    texts = cast("list[object]", addresses)[:MAX_ADDRESSES] if isinstance(addresses, list) else []
    known = [text for text in texts if isinstance(text, str) and len(text) <= MAX_ADDRESS_BYTES]
    return Page(tuple(cast("list[bytes]", listed)), more, dialable(known))


def _inflated(packed: object) -> object:
    """No more comes out than an answer may have anyway, whatever went in."""
    if not isinstance(packed, bytes):
        raise Refused(RefusalReason.PAGE_MALFORMED, "catch-up answer has compressed records that are no bytes")
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(packed, MAX_RESPONSE_BYTES)
    except zlib.error:
        raise Refused(RefusalReason.PAGE_MALFORMED, "catch-up answer does not decompress") from None
    if not stream.eof or stream.unused_data:
        raise Refused(RefusalReason.PAGE_MALFORMED, f"catch-up answer is no whole stream of {MAX_RESPONSE_BYTES} bytes")
    return _unpacked(plain)


def _fields(message: bytes, limit_bytes: int) -> dict[Any, Any]:  # Any: whatever a stranger packed
    if len(message) > limit_bytes:
        raise Refused(RefusalReason.PAGE_MALFORMED, f"catch-up message of {len(message)} bytes is over {limit_bytes}")
    fields = _unpacked(message)
    if not isinstance(fields, dict):
        raise Refused(RefusalReason.PAGE_MALFORMED, "catch-up message is not a map")
    return cast("dict[Any, Any]", fields)


def _unpacked(message: bytes) -> object:
    try:
        return msgpack.unpackb(
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


def _is_head(author: object, seq: object) -> bool:
    return isinstance(author, str) and public_key_of(author) is not None and _is_seq(seq)


def _is_seq(seq: object) -> bool:
    return type(seq) is int and 0 < seq <= _MAX_SEQ

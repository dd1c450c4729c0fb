"""Claims: a signed word that its author works on something, for some seconds. Pure: time is passed in, nothing is sent.

Owns the frame, and which frames are taken and passed on. A claim is no record: it is in no log, nobody catches up on
it, and when it is lost nothing is. What is claimed is 32 bytes here; what they stand for is the reader's affair.
docs/protocol.md has the bytes.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgpack

from gossip.budgets import Budgets, Rate
from gossip.identity import Identity, peer_id_of, verify
from gossip.refusal import Refusal, RefusalReason, Refused
from gossip.unpacking import unpacked_map

VERSION = 1
MAX_CLAIM_BYTES = 320  # about 190 are used; room for keys to come
MAX_SECONDS = 7 * 24 * 3600  # as long as the longest trial
MAX_SLOTS = 16  # things that one author works on, or is about to, at one time
CLOCK_SECONDS = 600.0  # how wrong an author's clock may be; guess. Older claims may be somebody's repetition
SIGNING_PREFIX = b"research-swarm/claim/1\0"
SIGNATURE_BYTES = 64
KEY_BYTES = 32

# Guesses with room: a node claims once an experiment. The last one bounds what claims cost in a swarm of any size, at
# about 2 kB/s: each goes over some ten connections, at 450 bytes with what GossipSub adds. It is what 32 nodes claim.
AUTHOR_RATE = Rate(per_second=0.5, burst=16)
FORWARDER_RATE = Rate(per_second=10, burst=200)
PASSED_ON_RATE = Rate(per_second=0.25, burst=120)
_REMEMBERED = 4096  # author and slot, with the time of its latest claim
_MAX_INTEGER = 2**53 - 1
_MAX_KEYS = 16


@dataclass(frozen=True, slots=True)
class Claim:
    author: str  # peer id
    key: str  # 64 hex digits
    slot: int  # a later claim of the same author and slot takes the place of this one
    at_ms: int  # author's clock: orders an author's own claims, nothing else
    seconds: int  # from when it is heard; 0: given up
    begun: bool  # the work has begun, and is not given up for anybody
    frame: bytes = field(repr=False)


def seal_claim(
    identity: Identity, brief: str, key: str, *, slot: int, at_ms: int, seconds: int, begun: bool = False
) -> Claim:
    """A claim of `identity`. Raises Refused if a field breaks a rule."""
    fields = {"v": VERSION, "author": identity.public_key, "key": bytes.fromhex(key), "slot": slot, "at": at_ms}
    body = msgpack.packb(fields | {"seconds": seconds, "begun": begun})
    return open_claim(identity.sign(_signed(brief, body)) + body, brief)


def open_claim(frame: bytes, brief: str) -> Claim:
    """Raises Refused, and nothing else, whatever the bytes. The signature holds for one brief only."""
    claim = read_claim(frame)
    if not verify(claim.author, _signed(brief, frame[SIGNATURE_BYTES:]), frame[:SIGNATURE_BYTES]):
        raise Refused(RefusalReason.BAD_SIGNATURE, f"claim is not signed by {claim.author} for this brief")
    return claim


def read_claim(frame: bytes) -> Claim:
    """What a frame says, whoever signed it. Raises Refused."""
    if len(frame) > MAX_CLAIM_BYTES:
        raise Refused(RefusalReason.OVERSIZE, f"claim of {len(frame)} bytes is larger than {MAX_CLAIM_BYTES}")
    fields = _unpack(frame[SIGNATURE_BYTES:])
    version = fields.get("v")
    if type(version) is int and version > VERSION:
        raise Refused(RefusalReason.UNKNOWN_VERSION, f"claim has version {version}, this program reads {VERSION}")
    author, key, begun = fields.get("author"), fields.get("key"), fields.get("begun")
    at_ms, slot, seconds = (_integer(fields, name) for name in ("at", "slot", "seconds"))
    right = (
        version == VERSION and type(version) is int,
        isinstance(author, bytes) and len(author) == KEY_BYTES,
        isinstance(key, bytes) and len(key) == KEY_BYTES,
        isinstance(begun, bool),
        0 <= slot < MAX_SLOTS and at_ms >= 0 and 0 <= seconds <= MAX_SECONDS,
    )
    if not all(right):
        raise Refused(RefusalReason.MALFORMED, "claim has a field that is missing or not valid")
    author, key = cast("bytes", author), cast("bytes", key)
    return Claim(peer_id_of(author), key.hex(), slot, at_ms, seconds, cast("bool", begun), frame)


class ClaimAdmission:
    """Which claims are heard. Size, rate, shape, repetition, clock, signature, author, and how many of all authors.

    A claim that costs a signature check is paid for by who forwards it; what only its author can have done wrong
    is counted against nobody else.
    """

    def __init__(
        self,
        brief: str,
        *,
        refuse_author: Callable[[str], Refusal | None] | None = None,
        has_records: Callable[[str], bool] | None = None,  # whether an author's claims would be heeded at all
        author_rate: Rate = AUTHOR_RATE,
        forwarder_rate: Rate = FORWARDER_RATE,
        passed_on_rate: Rate = PASSED_ON_RATE,
    ) -> None:
        self.brief = brief
        self._refuse_author = refuse_author
        self._has_records = has_records
        self._authors = Budgets(author_rate)
        self._forwarders = Budgets(forwarder_rate)
        self._all = Budgets(passed_on_rate)
        self._latest: OrderedDict[tuple[str, int], int] = OrderedDict()  # (author, slot) -> at of its latest claim
        self._counts: Counter[str] = Counter()

    def admit(self, frame: bytes, from_peer: str, now: float, wall_ms: int) -> Claim | Refusal:
        """A claim that was broadcast to us. `now`: seconds of a steady clock, `wall_ms`: unix milliseconds."""
        try:
            claim = self._check(frame, from_peer, now, wall_ms)
        except Refused as refused:
            self._counts[refused.reason.value] += 1
            return refused.refusal
        self._counts["accepted"] += 1
        return claim

    def count(self, what: str) -> None:
        self._counts[what] += 1

    def statistics(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

    def _check(self, frame: bytes, from_peer: str, now: float, wall_ms: int) -> Claim:
        if len(frame) <= MAX_CLAIM_BYTES and not self._forwarders.take(from_peer, now):
            raise Refused(RefusalReason.RATE_OF_FORWARDER, f"{from_peer} sends too many claims")
        read = read_claim(frame)
        place = (read.author, read.slot)
        if read.at_ms <= self._latest.get(place, -1):
            raise Refused(RefusalReason.DUPLICATE, "this claim, or a later one in its place, was here before")
        if abs(read.at_ms - wall_ms) > CLOCK_SECONDS * 1000:
            raise Refused(RefusalReason.CLAIM_TIME, f"claim is {(read.at_ms - wall_ms) / 1000:.0f} s from our clock")
        claim = open_claim(frame, self.brief)
        unwanted = None if self._refuse_author is None else self._refuse_author(claim.author)
        if unwanted is not None:
            raise Refused(unwanted.reason, unwanted.sentence)
        if self._has_records is not None and not self._has_records(claim.author):
            raise Refused(RefusalReason.CLAIM_OF_NOBODY, f"{claim.author} claims, and has no record here")
        if not self._authors.take(claim.author, now):
            raise Refused(RefusalReason.RATE_OF_AUTHOR, f"{claim.author} claims too fast")
        if not self._all.take("", now):
            raise Refused(RefusalReason.CLAIMS_FULL, "more is claimed than is passed on here")
        self._remember(place, claim.at_ms)
        return claim

    def _remember(self, place: tuple[str, int], at_ms: int) -> None:
        self._latest[place] = at_ms
        self._latest.move_to_end(place)
        while len(self._latest) > _REMEMBERED:
            self._latest.popitem(last=False)


def _signed(brief: str, body: bytes) -> bytes:
    return SIGNING_PREFIX + bytes.fromhex(brief) + body


def _unpack(body: bytes) -> dict[Any, Any]:  # Any: whatever a stranger packed
    table = unpacked_map(body, "claim", _MAX_KEYS)
    if body[0] != 0x80 | len(table):  # other than a short head with so many keys: one of them stands twice
        raise Refused(RefusalReason.MALFORMED, "claim has a key twice, or a long head")
    return table


def _integer(fields: dict[Any, Any], name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int and value <= _MAX_INTEGER else -1

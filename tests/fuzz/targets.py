"""Everything that reads strangers' bytes, each with sound examples and the one way it may refuse."""

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgpack
import trio
import trio.testing
from zeroconf import ServiceInfo

from gossip import blobs, catchup, claims, envelope, mdns
from gossip.address_book import AddressBook, Source
from gossip.addresses import AddressError, parse_address
from gossip.admission import Admission, Admitted
from gossip.budgets import Rate
from gossip.catchup import Page, Request
from gossip.claims import Claim, ClaimAdmission
from gossip.envelope import MAX_FRAME_BYTES, SIGNING_PREFIX
from gossip.libp2p_private import WrongSwarm, enter
from gossip.packing import Packing
from gossip.refusal import Refused
from gossip.ticket import TicketError, decode_ticket, encode_ticket
from swarm.brief import Acceptance, brief_id, decode_brief, encode_brief
from swarm.claim import Leases
from swarm.finding import check_against, decode_finding, encode_finding
from swarm.ledger import Entry, Ledger, ReplayEntry
from swarm.preset import preset_of
from swarm.replay import decode_replay, encode_replay
from swarm.words import BriefError, FindingId, MalformedRecord, PeerId
from tests.fuzz import inputs
from tests.vectors import exchanges, messages, payloads
from tests.vectors.records import ALICE, BOB, BRIEF, records

SMALL = decode_brief(payloads.BRIEF_TEXT.encode())
ADDRESSES = [address.encode() for address in (*messages.ADDRESSES, "/ip4/0.0.0.0/tcp/0", "/dns/x/tcp/1")]
TICKETS = [vector["ticket"].encode() for vector in messages.ticket_vectors()]


@dataclass(frozen=True)
class Target:
    """`read` returns whether the bytes were taken. It may raise nothing."""

    name: str
    read: Callable[[bytes], bool]
    make: Callable[[Random], bytes]
    weight: int = 1


def _from(sound: Sequence[bytes], shapes: Sequence[Any] = ()) -> Callable[[Random], bytes]:
    return lambda rng: inputs.made(rng, sound, shapes)


def _unpacked(sound: Sequence[bytes]) -> list[Any]:
    return [msgpack.unpackb(data) for data in sound]


# --- records ---

FRAMES = [record.frame for record in records()]
BODIES = [frame[64:] for frame in FRAMES]


def frame_or_signed(rng: Random) -> bytes:
    """Half of them with a signature that fits: what is wrong lies behind it."""
    if rng.random() < 0.5:
        return inputs.damaged(rng, FRAMES) if rng.random() < 0.9 else inputs.random_bytes(rng)
    body = inputs.made(rng, BODIES, _unpacked(BODIES))
    return ALICE.sign(SIGNING_PREFIX + body) + body


def read_frame(data: bytes) -> bool:
    try:
        record = envelope.open_frame(data)
    except Refused:
        return False
    assert record.frame == data
    assert record.id == hashlib.sha256(data[64:]).hexdigest()
    return True


class AdmissionTarget:
    """One admission for all inputs of a process: what it remembers must stay bounded."""

    def __init__(self) -> None:
        self._admission = Admission(BRIEF, remembered_ids=500)
        self._now = 0.0

    def read(self, data: bytes) -> bool:
        self._now += 0.06
        outcome = self._admission.admit(data, f"peer {int(self._now) % 7000}", self._now, wall_ms=0)
        self._admission.admit_pulled(data)
        return isinstance(outcome, Admitted)


PRESET = preset_of(SMALL, brief_id(payloads.BRIEF_TEXT.encode()))
PACKING = Packing(PRESET)
PACKED = [PACKING.pack(frame) for frame in (*FRAMES, b"x" * 300, bytes(MAX_FRAME_BYTES))]


def packed(rng: Random) -> bytes:
    """A stream damaged, or a sound one of more or fewer bytes than a frame may have."""
    if rng.random() < 0.8:
        return inputs.made(rng, PACKED, ())
    stream = zlib.compressobj(rng.randrange(10), zdict=PRESET)
    return stream.compress(inputs.random_bytes(rng) * rng.choice((1, 100, 10_000))) + stream.flush()


def read_packed(data: bytes) -> bool:
    try:
        frame = PACKING.unpack(data)
    except Refused:
        assert PACKING.plain(data) == data
        return False
    assert frame == data or len(frame) <= MAX_FRAME_BYTES
    assert PACKING.unpack(PACKING.pack(frame)) == frame or frame[:6] == PACKED[0][:6]
    return True


# --- catch-up and blobs ---

REQUESTS = [
    catchup.encode_request(Request(BRIEF, {ALICE.peer_id: 1, BOB.peer_id: 7})),
    catchup.encode_request(Request(BRIEF, {}, ALICE.peer_id, BOB.peer_id)),
    catchup.encode_request(Request(BRIEF, {ALICE.peer_id: 1, BOB.peer_id: 7}, offset=3)),
    catchup.encode_request(Request(BRIEF, {BOB.peer_id: 7}, tips={BOB.peer_id: b"12345678"}, offset=3)),
]
PAGES = [catchup.encode_page(Page(tuple(FRAMES), more=True, addresses=messages.ADDRESSES))]
BLOB_REQUESTS = [blobs.encode_request(blobs.BlobRequest("ab" * 32, 5))]
BLOB_HEADS = [blobs.encode_head(blobs.BlobHead(status, 1000)) for status in blobs.BlobStatus]


class NoRecords:
    def heads(self) -> dict[str, int]:
        return {ALICE.peer_id: 2}

    def records_after(self, heads: dict[str, int], limit_bytes: int) -> list[bytes]:
        return FRAMES[heads.get(ALICE.peer_id, 0) : 2]


def read_request(data: bytes) -> bool:
    try:
        asked = catchup.named(catchup.decode_request(data), (ALICE.peer_id, BOB.peer_id))
        catchup.answer(NoRecords(), BRIEF, asked, ())  # type: ignore[arg-type]
    except Refused:
        return False
    return True


# --- claims ---

CLAIMS = [bytes.fromhex(str(vector["frame"])) for vector in exchanges.claim_vectors()]
CLAIM_BODIES = [frame[64:] for frame in CLAIMS]


def claim_or_signed(rng: Random) -> bytes:
    """Half of them with a signature that fits."""
    if rng.random() < 0.5:
        return inputs.damaged(rng, CLAIMS) if rng.random() < 0.9 else inputs.random_bytes(rng)
    body = inputs.made(rng, CLAIM_BODIES, _unpacked(CLAIM_BODIES))
    return ALICE.sign(claims.SIGNING_PREFIX + bytes.fromhex(BRIEF) + body) + body


class ClaimTarget:
    """One door and one table of leases for all inputs of a process: what they remember must stay bounded."""

    def __init__(self) -> None:
        self._admission = ClaimAdmission(BRIEF, author_rate=Rate(100, 100), passed_on_rate=Rate(100, 100))
        self._leases = Leases(1000.0)
        self._now = 0.0

    def read(self, data: bytes) -> bool:
        self._now += 0.06
        try:
            read = claims.open_claim(data, BRIEF)
        except Refused:
            self._admission.admit(data, f"peer {int(self._now) % 7000}", self._now, 0)
            return False
        outcome = self._admission.admit(data, "peer", self._now, read.at_ms)
        if isinstance(outcome, Claim):
            self._leases.hear(
                PeerId(read.author), read.key, read.slot, read.seconds, begun=read.begun, records=1, now=self._now
            )
        self._leases.holder(read.key, self._now)
        return True


# --- what the local network says, and the first bytes of whoever connects ---

ANNOUNCED = mdns.service_info(ALICE.peer_id, BRIEF, messages.ADDRESSES).text
LISTENER = mdns.LocalDiscovery(BOB.peer_id, BRIEF)


def announcement(rng: Random) -> bytes:
    """Half of them whole entries with hostile words in them; the rest a damaged TXT record."""
    if rng.random() < 0.5:
        return inputs.damaged(rng, [ANNOUNCED])
    words = [b"v=1", b"peer=" + ALICE.peer_id.encode(), b"brief=" + BRIEF.encode()]
    words += [b"a%d=" % n + address for n, address in enumerate(ADDRESSES)]
    for _ in range(rng.choice((0, 1, 1, 2))):
        words[rng.randrange(len(words))] = inputs.damaged(rng, words)[:255]
    return b"".join(bytes([len(word)]) + word for word in words)


def read_announcement(data: bytes) -> bool:
    found = LISTENER.addresses_in(ServiceInfo(mdns.SERVICE_TYPE, f"x.{mdns.SERVICE_TYPE}", properties=data))
    assert len(found) <= mdns.MAX_ADDRESSES
    return bool(found)


PRIVATE = exchanges.private_vectors()
FIRST_BYTES = [bytes.fromhex(str(PRIVATE["first"]))]


def read_first_bytes(data: bytes) -> bool:
    """What a listener of a private swarm makes of them. Before the key was shown it says nothing."""
    wire = _Wire(data)
    try:
        trio.run(_enter, wire, clock=trio.testing.MockClock(autojump_threshold=0))
    except WrongSwarm:
        assert wire.closed
        assert wire.sent == b""
        return False
    return True


async def _enter(wire: "_Wire") -> None:
    await enter(wire, bytes.fromhex(str(PRIVATE["key"])), dialled=False)  # type: ignore[arg-type]


class _Wire:
    """A connection that says some bytes and ends."""

    def __init__(self, coming: bytes) -> None:
        self._coming, self.sent, self.closed = coming, b"", False

    async def read(self, n: int | None = None) -> bytes:
        taken, self._coming = self._coming[:n], self._coming[len(self._coming[:n]) :]
        return taken

    async def write(self, data: bytes) -> None:
        self.sent += data

    async def close(self) -> None:
        self.closed = True


def _refuses(read: Callable[[bytes], object], *expected: type[Exception]) -> Callable[[bytes], bool]:
    def reads(data: bytes) -> bool:
        try:
            read(data)
        except expected:
            return False
        return True

    return reads


# --- words that people paste, and what a network names ---


def ticket_word(rng: Random) -> bytes:
    """Half of them with a checksum that fits."""
    if rng.random() < 0.5:
        return inputs.damaged(rng, TICKETS)
    fields = {"t": "x", "b": bytes(32), "a": [[ALICE.public_key, ["/ip4/192.0.2.7/tcp/4001"]]], "k": bytes(32)}
    payload = inputs.made(rng, [msgpack.packb(fields)], [fields])[:4000]
    whole = len(payload).to_bytes(2, "big") + payload
    check = hashlib.sha256(b"research-swarm/ticket/1\0" + whole).digest()[:4]
    return b"swarm1" + base64.b32encode(whole + check).rstrip(b"=").lower()


def read_ticket(data: bytes) -> bool:
    try:
        encode_ticket(decode_ticket(data.decode("utf-8", "surrogateescape")))
    except TicketError:
        return False
    return True


def read_address(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape")
    book = AddressBook(BOB.peer_id, Random(1))
    book.learn([text], Source.HEARSAY)
    book.load_json(text)
    book.load_json(json.dumps({"addresses": [{"address": text, "last_success": 1e400, "source": 5}, text, [text]]}))
    try:
        address = parse_address(text)
    except AddressError:
        return False
    assert parse_address(str(address)) == address
    return True


# --- payloads ---

FINDING_SHAPES = [payloads.least(), payloads.full(), payloads.crashed()]
REPLAY_SHAPES = [payloads.replay(), payloads.replay(steps=50, curve_deviation=0.004, kind="replay")]


def ledger_of_two() -> tuple[Ledger, Entry]:
    """A ledger that knows one finding; a stranger's next record comes to it."""
    ledger = Ledger(Acceptance())
    entry = Entry(FindingId("f" * 64), PeerId("me"), 1, 0, decode_finding(msgpack.packb(payloads.least())))
    ledger.apply(entry)
    return ledger, entry


def read_finding(data: bytes) -> bool:
    try:
        finding = decode_finding(data)
    except MalformedRecord:
        return False
    decode_finding(encode_finding(finding))
    ledger, known = ledger_of_two()
    entry = Entry(FindingId("a" * 64), PeerId("stranger"), 1, 0, finding)
    ledger.apply(entry)
    for one in (entry, known):
        ledger.standing(one), ledger.follows(one), ledger.score(one)
    try:
        check_against(SMALL, finding)
    except BriefError:
        return False
    return True


def read_replay(data: bytes) -> bool:
    try:
        replay = decode_replay(data)
    except MalformedRecord:
        return False
    decode_replay(encode_replay(replay))
    ledger, known = ledger_of_two()
    for of in (replay.of, known.id):
        one = replay.model_copy(update={"of": of, "key": known.finding.proposal.key})
        ledger.apply_replay(ReplayEntry("b" * 64, PeerId("stranger"), 1, 0, one))
    ledger.standing(known), ledger.score(known)
    return True


FLOATS = payloads.BRIEF_TEXT.replace(
    '"high":256,"kind":"int","log":true,"low":32', '"high":256.0,"kind":"float","low":0.5'
)
BRIEFS = [payloads.BRIEF_TEXT.encode(), encode_brief(SMALL), FLOATS.encode()]


def brief_text(rng: Random) -> bytes:
    """A brief that a peer gives, with numbers, names and brackets changed."""
    tokens = (b"1e999", b"-0", b"9" * 400, b"[" * 300, b"null", b"NaN", b'"\\ud800"', b"{}", b"1.5", b'""', b"true")
    made = inputs.damaged(rng, BRIEFS)
    if rng.random() < 0.7:
        made = rng.choice(BRIEFS)
        starts = [n for n, byte in enumerate(made) if byte in b":[,"]
        at = rng.choice(starts) + 1
        end = min((n for n in range(at, len(made)) if made[n] in b",}]"), default=len(made))
        made = made[:at] + rng.choice(tokens) + made[end:]
    return made


def targets() -> list[Target]:
    findings, replays = ([msgpack.packb(s) for s in shapes] for shapes in (FINDING_SHAPES, REPLAY_SHAPES))
    return [
        Target("frame", read_frame, frame_or_signed, 3),
        Target("packed frame", read_packed, packed, 2),
        Target("admission", AdmissionTarget().read, frame_or_signed, 2),
        Target("catch-up request", read_request, _from(REQUESTS, _unpacked(REQUESTS)), 2),
        Target("catch-up answer", _refuses(catchup.decode_page, Refused), _from(PAGES, _unpacked(PAGES)), 2),
        Target("blob request", _refuses(blobs.decode_request, Refused), _from(BLOB_REQUESTS, _unpacked(BLOB_REQUESTS))),
        Target("blob head", _refuses(blobs.decode_head, Refused), _from(BLOB_HEADS)),
        Target("claim", ClaimTarget().read, claim_or_signed, 2),
        Target("announcement", read_announcement, announcement),
        Target("private first bytes", read_first_bytes, _from(FIRST_BYTES), 1),
        Target("ticket", read_ticket, ticket_word, 2),
        Target("address", read_address, _from(ADDRESSES)),
        Target("finding", read_finding, _from(findings, FINDING_SHAPES), 4),
        Target("replay", read_replay, _from(replays, REPLAY_SHAPES), 2),
        Target("brief", _refuses(decode_brief, BriefError), brief_text),
    ]

"""Vectors of what peers say to each other beside records and tickets: claims, blobs, proofs, heads, private swarms."""

import hashlib
import warnings
import zlib

import msgpack
from noise.connection import Keypair, NoiseConnection

from gossip import blobs
from gossip.blobs import BlobHead, BlobRequest, BlobStatus
from gossip.catchup import Request, encode_request
from gossip.claims import MAX_CLAIM_BYTES, MAX_SECONDS, SIGNING_PREFIX, seal_claim
from gossip.envelope import Record, seal
from gossip.forks import NO_MORE, TIP_BYTES
from gossip.identity import Identity
from gossip.libp2p_private import noise_of
from gossip.mdns import announced_brief
from swarm.claim import Lease, lease_key
from swarm.trial import Track
from swarm.words import PeerId
from tests.vectors.records import ALICE, BOB, BRIEF, records

AT = 1_760_000_000_000
KEYS = ["00" * 32, "ab" * 32, hashlib.sha256(b"a proposal").hexdigest()]


# --- claims ---


def claim_vectors() -> list[dict[str, object]]:
    made = [
        (ALICE, seal_claim(ALICE, BRIEF, KEYS[2], slot=0, at_ms=AT, seconds=300)),
        (ALICE, seal_claim(ALICE, BRIEF, KEYS[2], slot=0, at_ms=AT + 1, seconds=300, begun=True)),
        (BOB, seal_claim(BOB, BRIEF, KEYS[1], slot=15, at_ms=2**53 - 1, seconds=MAX_SECONDS)),
        (BOB, seal_claim(BOB, BRIEF, KEYS[0], slot=15, at_ms=0, seconds=0)),
    ]
    return [
        {
            "seed": who.seed.hex(),
            "brief": BRIEF,
            "author": one.author,
            "key": one.key,
            "slot": one.slot,
            "at": one.at_ms,
            "seconds": one.seconds,
            "begun": one.begun,
            "frame": one.frame.hex(),
        }
        for who, one in made
    ]


def refused_claim_vectors() -> list[dict[str, object]]:
    good = seal_claim(ALICE, BRIEF, KEYS[2], slot=0, at_ms=AT, seconds=300).frame
    fields = msgpack.unpackb(good[64:])

    def signed(body: bytes, brief: str = BRIEF, who: Identity = ALICE, prefix: bytes = SIGNING_PREFIX) -> str:
        return (who.sign(prefix + bytes.fromhex(brief) + body) + body).hex()

    def changed(**values: object) -> str:
        return signed(msgpack.packb({**fields, **values}))

    def without(name: str) -> str:
        return signed(msgpack.packb({key: value for key, value in fields.items() if key != name}))

    table = {
        "empty": ("", "malformed"),
        "only a signature": (good[:64].hex(), "malformed"),
        "cut short": (good[:-1].hex(), "malformed"),
        "a byte after the map": (signed(good[64:] + b"\0"), "malformed"),
        "an array": (signed(msgpack.packb(list(fields.values()))), "malformed"),
        "a long head": (signed(b"\xde\x00\x07" + good[65:]), "malformed"),
        "a key twice": (signed(bytes([good[64] + 1]) + good[65:] + msgpack.packb("slot") + b"\x01"), "malformed"),
        "a map inside": (changed(key={"a": 1}), "malformed"),
        "version 2": (changed(v=2), "unknown_version"),
        "version true": (changed(v=True), "malformed"),
        "author as text": (changed(author=ALICE.peer_id), "malformed"),
        "author of 31 bytes": (changed(author=bytes(31)), "malformed"),
        "key of 31 bytes": (changed(key=bytes(31)), "malformed"),
        "slot 16": (changed(slot=16), "malformed"),
        "slot -1": (changed(slot=-1), "malformed"),
        "more than a week": (changed(seconds=MAX_SECONDS + 1), "malformed"),
        "half a second": (changed(seconds=0.5), "malformed"),
        "at 2^53": (changed(at=2**53), "malformed"),
        "begun as a number": (changed(begun=1), "malformed"),
        "begun missing": (without("begun"), "malformed"),
        "a byte too many": (changed(later=bytes(MAX_CLAIM_BYTES - len(good) - 7)), "oversize"),
        "signed for another brief": (signed(good[64:], "cd" * 32), "bad_signature"),
        "signed by another": (signed(good[64:], who=BOB), "bad_signature"),
        "signed as a record": (signed(good[64:], prefix=b"research-swarm/record/1\0"), "bad_signature"),
        "a key of the future": (changed(later=[1, "two"]), None),
        "as large as it may be": (changed(later=bytes(MAX_CLAIM_BYTES - len(good) - 8)), None),
    }  # fmt: skip
    return [{"what": what, "brief": BRIEF, "frame": frame, "reason": reason} for what, (frame, reason) in table.items()]


def lease_vectors() -> list[dict[str, object]]:
    """What is claimed, and who of Alice and Bob wins it when both do and neither has begun."""
    tracks = [("cpu-x86_64-2", 120.0), ("cpu-x86_64-2", 10.5), ("cuda-h100", 300.0)]
    made: list[dict[str, object]] = []
    for name, budget in tracks:
        for key in KEYS:
            lease = lease_key(key, Track(hardware_class=name, budget_seconds=budget))
            draws = [Lease(PeerId(who.peer_id), lease, begun=False, since=0.0, ends=0.0) for who in (ALICE, BOB)]
            winner = min(draws, key=lambda one: one.rank).author
            made.append({"proposal": key, "class": name, "budget": budget, "key": lease, "winner": winner})
    return made


# --- blobs ---


def blob_vectors() -> dict[str, object]:
    requests = [BlobRequest("ab" * 32), BlobRequest(KEYS[2], 5), BlobRequest("00" * 32, blobs.MAX_BLOB_BYTES)]
    heads = [
        BlobHead(BlobStatus.HERE, 0), BlobHead(BlobStatus.HERE, 16_141_585), BlobHead(BlobStatus.ABSENT),
        BlobHead(BlobStatus.BUSY),
    ]  # fmt: skip
    content = bytes(range(256))
    asked = blobs.encode_request(BlobRequest(hashlib.sha256(content).hexdigest(), 250))
    return {
        "protocol": blobs.PROTOCOL,
        "requests": [
            {"hash": one.sha256, "offset": one.offset, "message": blobs.encode_request(one).hex()} for one in requests
        ],
        "heads": [
            {"status": int(one.status), "size": one.size_bytes, "bytes": blobs.encode_head(one).hex()} for one in heads
        ],
        "stream": {
            "blob": content.hex(),
            "request": (len(asked).to_bytes(4, "big") + asked).hex(),
            "answer": (blobs.encode_head(BlobHead(BlobStatus.HERE, len(content))) + content[250:]).hex(),
        },
    }  # fmt: skip


def refused_blob_vectors() -> list[dict[str, str]]:
    good = {"v": 1, "hash": bytes(32), "offset": 0}

    def wrong(**values: object) -> bytes:
        return msgpack.packb({**good, **values})

    requests = {
        "nothing": b"",
        "an array": msgpack.packb([1, bytes(32), 0]),
        "version 2": wrong(v=2),
        "hash of 31 bytes": wrong(hash=bytes(31)),
        "hash as text": wrong(hash="ab" * 32),
        "offset -1": wrong(offset=-1),
        "offset true": wrong(offset=True),
        "offset 2^53": wrong(offset=2**53),
        "offset missing": msgpack.packb({"v": 1, "hash": bytes(32)}),
        "an extension type": b"\x81\xa1v\xd4\x05\x00",
    }
    heads = {
        "eight bytes": bytes(8),
        "status 3": b"\x03" + bytes(8),
        "a size of 2^53": b"\x00" + (2**53).to_bytes(8, "big"),
    }
    table = [("request", what, data, "malformed") for what, data in requests.items()]
    table += [("head", what, data, "malformed") for what, data in heads.items()]
    table.append(("request", "a byte too many", wrong(later=bytes(256)), "oversize"))
    return [{"what": what, "to": to, "message": data.hex(), "reason": reason} for to, what, data, reason in table]


# --- logs ---


def tip_vectors() -> list[dict[str, object]]:
    """Catch-up requests with tips, and what a reader makes of them: authors without one are not in `tips`."""
    first, second, other = records()
    heads = {ALICE.peer_id: 2, BOB.peer_id: 1}
    both = {ALICE.peer_id: bytes.fromhex(second.id)[:TIP_BYTES], BOB.peer_id: bytes.fromhex(other.id)[:TIP_BYTES]}
    one = {ALICE.peer_id: bytes.fromhex(first.id)[:TIP_BYTES]}
    plain = msgpack.unpackb(encode_request(Request(BRIEF, heads)))
    table = {
        "a tip for each head": (encode_request(Request(BRIEF, heads, tips=both)), both),
        "zeros where there is none": (encode_request(Request(BRIEF, heads, tips=one)), one),
        "a byte too few": (msgpack.packb({**plain, "tips": bytes(2 * TIP_BYTES - 1)}), {}),
        "as text": (msgpack.packb({**plain, "tips": "ab" * TIP_BYTES}), {}),
        "nothing more of Alice is wanted": (encode_request(Request(BRIEF, {**heads, ALICE.peer_id: NO_MORE})), {}),
    }
    return [
        {
            "what": what,
            "message": message.hex(),
            "heads": msgpack.unpackb(message)["heads"],
            "tips": {author: tip.hex() for author, tip in tips.items()},
        }
        for what, (message, tips) in table.items()
    ]


def deflated_vectors() -> list[dict[str, object]]:
    """Answers with compressed records, for who said `deflate`. Any zlib stream of them is right."""
    frames = [record.frame for record in records()]
    packed = msgpack.packb(frames)

    def answer(deflated: object) -> str:
        return msgpack.packb({"v": 1, "records": [], "more": False, "peers": [], "deflated": deflated}).hex()

    stored = zlib.compress(packed, 0)  # the same bytes from every zlib
    sound = [frame.hex() for frame in frames]
    return [
        {"what": "three records", "message": answer(stored), "records": sound, "reason": None},
        {"what": "cut short", "message": answer(stored[:-1]), "reason": "page_malformed"},
        {"what": "bytes after the stream", "message": answer(stored + b"\0"), "reason": "page_malformed"},
        {"what": "no stream", "message": answer(packed), "reason": "page_malformed"},
        {"what": "as text", "message": answer("text"), "reason": "page_malformed"},
    ]


def fork_vectors() -> list[dict[str, object]]:
    """Two frames each, and whether they prove that their author contradicts itself. Their order does not matter."""

    def record(seq: int, prev: str, payload: bytes, *, at: int = AT, who=ALICE, brief: str = BRIEF) -> Record:
        return seal(who, "finding", brief, seq, prev, at, payload)

    first = record(1, "", b"one story")
    second = record(2, first.id, b"goes on")
    table = {
        "two records 1": (first, record(1, "", b"another story"), True),
        "two records 1 that differ in time only": (first, record(1, "", b"one story", at=AT + 1), True),
        "two records 2 with the same before them": (second, record(2, first.id, b"goes elsewhere"), True),
        "a second that says another came first": (first, record(2, "ab" * 32, b"goes on"), True),
        "a record and the one after it": (first, second, False),
        "the same record twice": (first, first, False),
        "records 1 and 3": (first, record(3, "ab" * 32, b"later"), False),
        "records 1 of two authors": (first, record(1, "", b"another story", who=BOB), False),
        "records 1 of two briefs": (first, record(1, "", b"another story", brief="cd" * 32), False),
    }
    return [
        {"what": what, "first": one.frame.hex(), "second": other.frame.hex(), "proof": proof}
        for what, (one, other, proof) in table.items()
    ]


# --- private swarms ---


def started(key: bytes, ephemeral: bytes, *, dialled: bool) -> NoiseConnection:
    """One side of a handshake whose ephemeral key is known."""
    side = noise_of(key, dialled=dialled)
    side.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that this is for tests only
        side.start_handshake()
    return side


def private_vectors() -> dict[str, object]:
    """A connection from its first byte on, with ephemeral keys that nobody may ever use again."""
    key = bytes(range(32))
    secrets = {True: bytes([0x11]) * 32, False: bytes([0x22]) * 32}
    sides = {}
    for dialled, secret in secrets.items():
        sides[dialled] = started(key, secret, dialled=dialled)

    def framed(message: bytes) -> str:
        return (len(message).to_bytes(2, "big") + bytes(message)).hex()

    hello = bytes(sides[True].write_message())
    sides[False].read_message(hello)
    reply = bytes(sides[False].write_message())
    sides[True].read_message(reply)
    said = {"dialler": [b"/multistream/1.0.0\n", b"", bytes(range(256))], "listener": [b"/multistream/1.0.0\n"]}
    return {
        "key": key.hex(),
        "dialler_ephemeral_private": secrets[True].hex(),
        "listener_ephemeral_private": secrets[False].hex(),
        "first": framed(hello),
        "second": framed(reply),
        "handshake_hash": sides[True].get_handshake_hash().hex(),
        "transport": [
            {"from": who, "plain": plain.hex(), "wire": framed(sides[who == "dialler"].encrypt(plain))}
            for who, plains in said.items()
            for plain in plains
        ],
        "announced_brief": {"brief": BRIEF, "word": announced_brief(BRIEF, key)},
    }


VECTORS = {
    "claims.json": claim_vectors,
    "refused_claims.json": refused_claim_vectors,
    "leases.json": lease_vectors,
    "blobs.json": blob_vectors,
    "refused_blobs.json": refused_blob_vectors,
    "tips.json": tip_vectors,
    "deflated.json": deflated_vectors,
    "forks.json": fork_vectors,
    "private.json": private_vectors,
}

"""Writes the golden vectors of protocol version 1. Run by hand: python tests/vectors/make_vectors.py

Vectors are only ever added: what is in v1/ stays as it is, since other implementations were checked against it. An
existing file whose bytes would change is an error, not an update.
"""

import json
import sys
from pathlib import Path

import msgpack

from gossip.catchup import Page, Request, encode_page, encode_request
from gossip.envelope import SIGNING_PREFIX, Record, seal
from gossip.identity import Identity
from gossip.ticket import Ticket, encode_ticket

FOLDER = Path(__file__).parent / "v1"
ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
BRIEF = "5f" * 32
ADDRESSES = (
    f"/ip4/192.0.2.7/tcp/4001/p2p/{ALICE.peer_id}",
    f"/ip6/2001:db8::7/tcp/4001/p2p/{ALICE.peer_id}",
    f"/dns4/node.example.org/tcp/4001/p2p/{BOB.peer_id}",
)


def identities() -> list[dict[str, object]]:
    message = b"any message"
    return [
        {
            "seed": who.seed.hex(),
            "public_key": who.public_key.hex(),
            "peer_id": who.peer_id,
            "message": message.hex(),
            "signature": who.sign(message).hex(),
        }
        for who in (ALICE, BOB)
    ]


def records() -> list[Record]:
    first = seal(ALICE, "finding", BRIEF, 1, "", 1_760_000_000_000, b"first payload")
    second = seal(ALICE, "finding", BRIEF, 2, first.id, 1_760_000_060_000, bytes(range(256)))
    other = seal(BOB, "note", BRIEF, 1, "", 0, b"")
    return [first, second, other]


def record_vectors() -> list[dict[str, object]]:
    return [
        {
            "seed": (ALICE if record.author == ALICE.peer_id else BOB).seed.hex(),
            "kind": record.kind,
            "brief": record.brief,
            "author": record.author,
            "seq": record.seq,
            "prev": record.prev,
            "at": record.at_ms,
            "payload": record.payload.hex(),
            "id": record.id,
            "frame": record.frame.hex(),
        }
        for record in records()
    ]


def refused_vectors() -> list[dict[str, object]]:
    good = records()[0].frame
    fields = msgpack.unpackb(good[64:])

    def signed(body: bytes) -> str:
        return (ALICE.sign(SIGNING_PREFIX + body) + body).hex()

    def with_field(name: str, value: object) -> str:
        return signed(msgpack.packb({**fields, name: value}))

    twice = bytes([good[64] + 1]) + good[65:] + msgpack.packb("seq") + msgpack.packb(9)
    table = {
        "empty": ("", "malformed"),
        "one bit of the signature flipped": ((bytes([good[0] ^ 1]) + good[1:]).hex(), "bad_signature"),
        "one bit of the payload flipped": ((good[:-1] + bytes([good[-1] ^ 1])).hex(), "bad_signature"),
        "signed by another": ((BOB.sign(SIGNING_PREFIX + good[64:]) + good[64:]).hex(), "bad_signature"),
        "signed without the prefix": ((ALICE.sign(good[64:]) + good[64:]).hex(), "bad_signature"),
        "byte after the body": (signed(good[64:] + b"\0"), "malformed"),
        "key given twice": (signed(twice), "malformed"),
        "version 2": (with_field("v", 2), "unknown_version"),
        "sequence number 0": (with_field("seq", 0), "malformed"),
        "sequence number true": (with_field("seq", True), "malformed"),
        "first record with a predecessor": (with_field("prev", "00" * 32), "malformed"),
        "brief in capitals": (with_field("brief", "5F" * 32), "malformed"),
        "author with a space": (with_field("author", ALICE.peer_id + " "), "malformed"),
        "payload as text": (with_field("payload", "text"), "malformed"),
    }
    return [{"what": what, "frame": frame, "reason": reason} for what, (frame, reason) in table.items()]


def survivor_vectors() -> list[dict[str, object]]:
    """Records with fields that version 1 does not know: valid, and kept as they are."""
    body = msgpack.packb({**msgpack.unpackb(records()[0].frame[64:]), "later": {"nested": [1, "two", b"3"]}})
    return [{"what": "a field of the future", "frame": (ALICE.sign(SIGNING_PREFIX + body) + body).hex()}]


def ticket_vectors() -> list[dict[str, object]]:
    tickets = [
        Ticket("pysource", BRIEF, ADDRESSES),
        Ticket("pysource", BRIEF, ADDRESSES[:1], psk=bytes(range(32))),
        Ticket("", BRIEF, ()),
    ]
    return [
        {
            "topic": t.topic,
            "brief": t.brief,
            "addresses": list(t.addresses),
            "psk": None if t.psk is None else t.psk.hex(),
            "ticket": encode_ticket(t),
        }
        for t in tickets
    ]


def catchup_vectors() -> dict[str, object]:
    request = Request(BRIEF, {ALICE.peer_id: 1, BOB.peer_id: 7})
    page = Page(tuple(record.frame for record in records()), more=True, addresses=ADDRESSES[:1])
    return {
        "request": {
            "brief": BRIEF,
            "heads": dict(request.heads),
            "first": "",
            "end": "",
            "message": encode_request(request).hex(),
        },
        "page": {
            "records": [frame.hex() for frame in page.frames],
            "more": True,
            "peers": list(page.addresses),
            "message": encode_page(page).hex(),
        },
    }


VECTORS = {
    "identity.json": identities,
    "records.json": record_vectors,
    "refused.json": refused_vectors,
    "unknown_fields.json": survivor_vectors,
    "tickets.json": ticket_vectors,
    "catchup.json": catchup_vectors,
}


def text_of(name: str) -> str:
    return json.dumps(VECTORS[name](), indent=1) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in VECTORS:
        path, text = FOLDER / name, text_of(name)
        if path.exists() and path.read_text() != text:
            sys.exit(f"{path} would change: version 1 is fixed, add a new file or a new version")
        path.write_text(text)


if __name__ == "__main__":
    main()

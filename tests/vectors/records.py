"""Vectors of keys, peer ids and records: good frames, and bad ones with the reason that a reader counts."""

import msgpack

from gossip.envelope import MAX_FRAME_BYTES, SIGNING_PREFIX, Record, seal
from gossip.identity import Identity

ALICE, BOB = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
BRIEF = "5f" * 32


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


def peer_vectors() -> dict[str, object]:
    seeds = [bytes(32), b"\xff" * 32, *(bytes([n]) * 32 for n in range(1, 7))]
    valid = [
        {"seed": seed.hex(), "public_key": Identity(seed).public_key.hex(), "peer_id": Identity(seed).peer_id}
        for seed in seeds
    ]
    good = ALICE.peer_id
    refused = {
        "one character less": good[:-1],
        "one character more": good + "1",
        "a character that base58 lacks": good[:-1] + "l",
        "lower case": good.lower(),
        "a space after it": good + " ",
        "a newline after it": good + "\n",
        "an RSA peer id": "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "the same key as a CID": "bafzaajaiaejcaaebaibqibig",
        "the right look, wrong bytes in front": "12D3KooW" + "z" * 44,
        "empty": "",
    }
    return {"valid": valid, "refused": [{"what": what, "peer_id": text} for what, text in refused.items()]}


def limit_vectors() -> list[dict[str, object]]:
    """Frames at the limits of section 2. `fill` and `length` stand for a frame of so many equal bytes."""
    good = records()[0].frame
    fields = msgpack.unpackb(good[64:])

    def signed(body: bytes) -> str:
        return (ALICE.sign(SIGNING_PREFIX + body) + body).hex()

    def changed(**values: object) -> str:
        return signed(msgpack.packb({**fields, **values}))

    def with_bytes(name: str, value: bytes) -> str:
        """A field more than there are, of bytes that the packer would not write."""
        packed = msgpack.packb({**fields, name: 0})
        assert packed.endswith(b"\0")
        return signed(packed[:-1] + value)

    largest = 2**53 - 1
    accepted = {
        "sequence number 2^53 - 1": changed(seq=largest, prev="00" * 32),
        "time 2^53 - 1": changed(at=largest),
        "kind of 32 characters": changed(kind="k" * 32),
        "kind with a hyphen and an underscore": changed(kind="a-b_c9"),
        "16 levels": changed(later=_nested(15)),
        "an array of 4096": changed(later=[0] * 4096),
        "a map of 4096": changed(later={str(n): 0 for n in range(4096)}),
        "version as a 64-bit integer": signed(
            good[64:].replace(b"\xa1v\x01", b"\xa1v" + b"\xcf" + (1).to_bytes(8, "big"))
        ),
        "map head of 16 bits": signed(b"\xde\x00\x08" + good[65:]),
        "map head of 32 bits": signed(b"\xdf\x00\x00\x00\x08" + good[65:]),
        "keys in another order": signed(msgpack.packb(dict(reversed(fields.items())))),
        "a negative number in a key of the future": changed(later=-5),
        "an infinite float in a key of the future": changed(later=float("inf")),
    }
    malformed = {
        "sequence number 2^53": changed(seq=2**53, prev="00" * 32),
        "sequence number 1.0": changed(seq=1.0),
        "sequence number -1": changed(seq=-1),
        "time -1": changed(at=-1),
        "second record without a predecessor": changed(seq=2),
        "predecessor in capitals": changed(seq=2, prev="AB" * 32),
        "predecessor with a newline": changed(seq=2, prev="ab" * 32 + "\n"),
        "kind of 33 characters": changed(kind="k" * 33),
        "kind that begins with a digit": changed(kind="1a"),
        "kind with a newline": changed(kind="finding\n"),
        "kind as bin": changed(kind=b"finding"),
        "version 0": changed(v=0),
        "version 1.0": changed(v=1.0),
        "version true": changed(v=True),
        "version missing": signed(msgpack.packb({k: v for k, v in fields.items() if k != "v"})),
        "payload missing": signed(msgpack.packb({k: v for k, v in fields.items() if k != "payload"})),
        "17 levels": changed(later=_nested(16)),
        "200 levels": with_bytes("later", b"\x91" * 200 + b"\0"),
        "an array of 4097": changed(later=[0] * 4097),
        "a map of 4097": changed(later={str(n): 0 for n in range(4097)}),
        "an array that says it has 2^32 - 1 entries": with_bytes("later", b"\xdd\xff\xff\xff\xff"),
        "a map that says it has 2^32 - 1 entries": with_bytes("later", b"\xdf\xff\xff\xff\xff"),
        "bytes that say they are 2^32 - 1": with_bytes("later", b"\xc6\xff\xff\xff\xff"),
        "an extension type": with_bytes("later", b"\xd4\x05\x00"),
        "a timestamp extension": with_bytes("later", b"\xd6\xff\x00\x00\x00\x00"),
        "the byte that msgpack never uses": with_bytes("later", b"\xc1"),
        "text that is not UTF-8": with_bytes("later", b"\xa2\xc3\x28"),
        "text with half a surrogate pair": with_bytes("later", b"\xa3\xed\xa0\x80"),
        "a key that is a number": signed(bytes([good[64] + 1]) + good[65:] + b"\x05\x05"),
        "a key that is bin": signed(bytes([good[64] + 1]) + good[65:] + b"\xc4\x01k\x05"),
        "a key too few": signed(bytes([good[64] + 1]) + good[65:]),
        "an array": signed(msgpack.packb(list(fields.values()))),
        "a number": signed(b"\x05"),
        "only a signature": signed(b""),
    }
    tables = {None: accepted, "malformed": malformed}
    vectors = [{"what": what, "frame": frame, "reason": why} for why, t in tables.items() for what, frame in t.items()]
    vectors.append(
        {
            "what": "version 2 with nothing else of version 1",
            "frame": signed(b"\x81\xa1v\x02"),
            "reason": "unknown_version",
        }
    )
    vectors.append({"what": "a byte too many", "fill": "81", "length": MAX_FRAME_BYTES + 1, "reason": "oversize"})
    return vectors


def _nested(levels: int) -> object:
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


VECTORS = {
    "identity.json": identities,
    "peers.json": peer_vectors,
    "records.json": record_vectors,
    "refused.json": refused_vectors,
    "limits.json": limit_vectors,
    "unknown_fields.json": survivor_vectors,
}

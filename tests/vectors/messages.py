"""Vectors of what peers say to each other apart from records: tickets, topic names, catch-up messages."""

import base64
import hashlib

import msgpack

from gossip import branches, catchup
from gossip.catchup import Page, Request, encode_page, encode_request
from gossip.identity import Identity
from gossip.ticket import Ticket, encode_ticket
from tests.vectors.records import ALICE, BOB, BRIEF, records

ADDRESSES = (
    f"/ip4/192.0.2.7/tcp/4001/p2p/{ALICE.peer_id}",
    f"/ip6/2001:db8::7/tcp/4001/p2p/{ALICE.peer_id}",
    f"/dns4/node.example.org/tcp/4001/p2p/{BOB.peer_id}",
)


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


def topic_vectors() -> list[dict[str, str]]:
    return [
        {"brief": brief, "topic": f"/swarm/1/{brief}"} for brief in (BRIEF, "0" * 64, hashlib.sha256(b"").hexdigest())
    ]


def _ticket(payload: bytes, *, length: int | None = None, checksum: bytes | None = None) -> str:
    """A ticket's word around any payload."""
    whole = (len(payload) if length is None else length).to_bytes(2, "big") + payload
    check = hashlib.sha256(b"research-swarm/ticket/1\0" + whole).digest()[:4] if checksum is None else checksum
    return "swarm1" + base64.b32encode(whole + check).decode("ascii").rstrip("=").lower()


def refused_ticket_vectors() -> list[dict[str, str]]:
    good = encode_ticket(Ticket("pysource", BRIEF, ADDRESSES[:1]))
    fields = {"t": "pysource", "b": bytes.fromhex(BRIEF), "a": [[ALICE.public_key, ["/ip4/192.0.2.7/tcp/4001"]]]}
    payload = msgpack.packb(fields)

    def changed(**values: object) -> str:
        return _ticket(msgpack.packb({**fields, **values}))

    assert _ticket(payload) == good
    table = {
        "empty": ("", "not_a_ticket"),
        "another word": ("swarmticket", "not_a_ticket"),
        "without its head": (good[6:], "not_a_ticket"),
        "an address instead": (ADDRESSES[0], "not_a_ticket"),
        "version 2": ("swarm2" + good[6:], "newer_version"),
        "version 11": ("swarm11" + good[6:], "newer_version"),
        "8193 characters": ("swarm1" + "a" * 8193, "too_long"),
        "a digit that base32 lacks": (good[:-1] + "1", "character"),
        "a space inside": (good[:40] + " " + good[40:], "character"),
        "two tickets": (good + "," + good, "character"),
        "the head alone": ("swarm1", "cut_short"),
        "without its last two characters": (good[:-2], "cut_short"),
        "half of it": (good[: len(good) // 2], "cut_short"),
        "a length of more than there is": (_ticket(payload, length=len(payload) + 1), "cut_short"),
        "eight characters more": (good + "a" * 8, "extra"),
        "one character changed": (good[:30] + ("a" if good[30] != "a" else "b") + good[31:], "mistyped"),
        "wrong checksum": (_ticket(payload, checksum=bytes(4)), "mistyped"),
        "brief of 31 bytes": (changed(b=bytes(31)), "malformed"),
        "brief as text": (changed(b=BRIEF), "malformed"),
        "nine addresses": (
            changed(a=[[ALICE.public_key, [f"/ip4/192.0.2.7/tcp/{n}" for n in range(1, 10)]]]),
            "malformed",
        ),
        "public key of 31 bytes": (changed(a=[[bytes(31), ["/ip4/192.0.2.7/tcp/4001"]]]), "malformed"),
        "an address of another transport": (changed(a=[[ALICE.public_key, ["/ip4/192.0.2.7/udp/4001"]]]), "malformed"),
        "port 0": (changed(a=[[ALICE.public_key, ["/ip4/192.0.2.7/tcp/0"]]]), "malformed"),
        "topic with a capital letter": (changed(t="Pysource"), "malformed"),
        "swarm key of 31 bytes": (changed(k=bytes(31)), "malformed"),
        "an array": (_ticket(msgpack.packb(list(fields.values()))), "malformed"),
        "a byte after the map": (_ticket(payload + b"\0"), "malformed"),
        "an array that says it has 2^32 - 1 entries": (_ticket(b"\xdd\xff\xff\xff\xff"), "malformed"),
    }
    return [{"what": what, "ticket": word, "reason": reason} for what, (word, reason) in table.items()]


def refused_catchup_vectors() -> list[dict[str, str]]:
    """Messages without their length in front. `to`: which of the two they pretend to be."""
    ask = {"v": 1, "brief": BRIEF, "heads": {ALICE.peer_id: 1}, "first": "", "end": ""}
    page = {"v": 1, "records": [records()[0].frame], "more": False, "peers": []}

    def wrong(sound: dict[str, object], **values: object) -> bytes:
        return msgpack.packb({**sound, **values})

    asked = {
        "version 2": wrong(ask, v=2),
        "brief as a number": wrong(ask, brief=5),
        "brief of 65 characters": wrong(ask, brief="a" * 65),
        "heads as an array": wrong(ask, heads=[1]),
        "an author who is no peer id": wrong(ask, heads={"someone": 1}),
        "head 0": wrong(ask, heads={ALICE.peer_id: 0}),
        "head true": wrong(ask, heads={ALICE.peer_id: True}),
        "head 2^53": wrong(ask, heads={ALICE.peer_id: 2**53}),
        "first missing": msgpack.packb({key: value for key, value in ask.items() if key != "first"}),
    }
    answered = {
        "version 2": wrong(page, v=2),
        "records missing": msgpack.packb({"v": 1, "more": False, "peers": []}),
        "a record that is text": wrong(page, records=["text"]),
        "more as a number": wrong(page, more=1),
    }
    neither = {
        "nothing": b"",
        "cut short": encode_request(Request(BRIEF, {ALICE.peer_id: 1}))[:-1],
        "a byte after the map": encode_request(Request(BRIEF, {})) + b"\0",
        "a map that says it has 2^32 - 1 entries": b"\xdf\xff\xff\xff\xff",
        "an extension type": b"\x81\xa1v\xd4\x05\x00",
        "an array": msgpack.packb([1, BRIEF, {}]),
    }
    groups = (("request", "malformed", asked), ("answer", "page_malformed", answered),
              ("request", "page_malformed", neither), ("answer", "page_malformed", neither))  # fmt: skip
    return [
        {"what": what, "to": to, "message": message.hex(), "reason": reason}
        for to, reason, table in groups
        for what, message in table.items()
    ]


class _Answerer:
    """Holds Alice's records 1 and 2 and Bob's 1 and gives one frame at a time, as if they were large."""

    def heads(self) -> dict[str, int]:
        return {ALICE.peer_id: 2, BOB.peer_id: 1}

    def records_after(self, heads: dict[str, int], limit_bytes: int) -> list[bytes]:
        asked = [r.frame for r in sorted(records(), key=lambda r: (r.author, r.seq)) if r.seq > heads.get(r.author, 0)]
        return asked[:1]


def exchange_vectors() -> dict[str, object]:
    """A whole conversation as it stands on the streams, length in front: the asker comes to have all."""
    steps: list[dict[str, object]] = []
    heads: dict[str, int] = {}
    by_frame = {record.frame: record for record in records()}
    more = True
    while more:
        question = encode_request(Request(BRIEF, heads))
        page = catchup.answer(_Answerer(), BRIEF, catchup.decode_request(question), ())  # type: ignore[arg-type]
        reply = encode_page(page)
        for frame in page.frames:
            heads = heads | {by_frame[frame].author: by_frame[frame].seq}
        more = page.more
        steps.append(
            {
                "request": (len(question).to_bytes(4, "big") + question).hex(),
                "answer": (len(reply).to_bytes(4, "big") + reply).hex(),
                "records": [by_frame[frame].id for frame in page.frames],
                "more": more,
                "heads_after": heads,
            }
        )
    return {"protocol": catchup.PROTOCOL, "brief": BRIEF, "streams": steps}


BRANCH = f"nodes/{ALICE.peer_id}/pysource"


def head_vectors() -> list[dict[str, object]]:
    """Signed heads as the blobs that lie beside their branches."""
    made = [
        branches.seal_head(ALICE, BRIEF, BRANCH, bytes(range(20)), 1, 1_763_000_000_000),
        branches.seal_head(ALICE, BRIEF, BRANCH, b"\xff" * 20, 2**53 - 1, 0),
    ]
    return [
        {
            "seed": ALICE.seed.hex(),
            "author": head.author,
            "brief": head.brief,
            "branch": head.branch,
            "commit": head.commit.hex(),
            "seq": head.seq,
            "at": head.at_ms,
            "head": head.frame.hex(),
        }
        for head in made
    ]


def refused_head_vectors() -> list[dict[str, str]]:
    sound = {"v": 1, "author": ALICE.peer_id, "brief": BRIEF, "branch": BRANCH, "commit": bytes(20), "seq": 1, "at": 0}

    def signed(fields: object, prefix: bytes = b"research-swarm/head/1\0", who: Identity = ALICE) -> bytes:
        body = msgpack.packb(fields)
        return who.sign(prefix + body) + body

    table = {
        "nothing": (b"", "malformed"),
        "signed by another": (signed(sound, who=BOB), "bad_signature"),
        "signed as a record": (signed(sound, b"research-swarm/record/1\0"), "bad_signature"),
        "version 2": (signed(sound | {"v": 2}), "unknown_version"),
        "commit of 32 bytes": (signed(sound | {"commit": bytes(32)}), "malformed"),
        "commit as text": (signed(sound | {"commit": "00" * 20}), "malformed"),
        "seq 0": (signed(sound | {"seq": 0}), "malformed"),
        "seq true": (signed(sound | {"seq": True}), "malformed"),
        "branch that leaves its folder": (signed(sound | {"branch": "nodes/../x"}), "malformed"),
        "branch that looks like an option": (signed(sound | {"branch": "-u"}), "malformed"),
        "a byte after the map": (signed(sound) + b"\0", "malformed"),
        "over 1024 bytes": (signed(sound | {"more": "x" * 1024}), "oversize"),
    }
    return [{"what": what, "head": head.hex(), "reason": reason} for what, (head, reason) in table.items()]


def git_request_vectors() -> dict[str, object]:
    asked = [[], [BRANCH], [BRANCH, f"nodes/{BOB.peer_id}/pysource"]]
    refused = {
        "version 2": msgpack.packb({"v": 2, "branches": []}),
        "branches as text": msgpack.packb({"v": 1, "branches": BRANCH}),
        "a branch that is a number": msgpack.packb({"v": 1, "branches": [5]}),
        "a path": msgpack.packb({"v": 1, "branches": ["../../etc/passwd"]}),
        "an option": msgpack.packb({"v": 1, "branches": ["--upload-pack=x"]}),
        "65 branches": msgpack.packb({"v": 1, "branches": [BRANCH] * 65}),
        "an array": msgpack.packb([1, []]),
        "nothing": b"",
    }
    return {
        "requests": [{"branches": names, "message": branches.encode_request(names).hex()} for names in asked],
        "refused": [{"what": what, "message": message.hex()} for what, message in refused.items()],
    }


VECTORS = {
    "heads.json": head_vectors,
    "refused_heads.json": refused_head_vectors,
    "git_requests.json": git_request_vectors,
    "tickets.json": ticket_vectors,
    "refused_tickets.json": refused_ticket_vectors,
    "topics.json": topic_vectors,
    "catchup.json": catchup_vectors,
    "refused_catchup.json": refused_catchup_vectors,
    "exchange.json": exchange_vectors,
}

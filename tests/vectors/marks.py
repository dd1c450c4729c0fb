"""Vectors of catch-up requests that name authors by marks."""

import msgpack

from gossip.catchup import Request, encode_request
from gossip.forks import NO_MORE, TIP_BYTES
from gossip.identity import Identity
from gossip.marks import mark_of
from tests.vectors.records import ALICE, BOB, BRIEF, records


def mark_vectors() -> list[dict[str, object]]:
    """Catch-up requests with marks, and what an answerer finds in them that knows of Alice and Bob only."""
    _, second, other = records()
    known = (ALICE.peer_id, BOB.peer_id)
    stranger = Identity(b"stranger" * 4).peer_id
    both = {ALICE.peer_id: 2, BOB.peer_id: 1}
    tips = {ALICE.peer_id: bytes.fromhex(second.id)[:TIP_BYTES], BOB.peer_id: bytes.fromhex(other.id)[:TIP_BYTES]}

    def asks(asked: dict[str, int], offset: int = 0, /, **more: object) -> bytes:
        said = {author: tip for author, tip in tips.items() if author in asked}
        return msgpack.packb(msgpack.unpackb(encode_request(Request(BRIEF, asked, tips=said, offset=offset))) | more)

    def without(*names: str) -> bytes:
        return msgpack.packb({key: value for key, value in msgpack.unpackb(asks(both)).items() if key not in names})

    read: dict[str, tuple[bytes, dict[str, int], dict[str, bytes]]] = {
        "Alice and Bob": (asks(both), both, tips),
        "from another offset": (asks(both, 26), both, tips),
        "nothing more of Alice is wanted": (
            asks({**both, ALICE.peer_id: NO_MORE}),
            {**both, ALICE.peer_id: NO_MORE},
            tips,
        ),
        "somebody whom the answerer does not know": (asks({**both, stranger: 3}), both, tips),
        "nobody": (asks({}), {}, {}),
        "tips of another length": (asks(both, tips=bytes(15)), both, {}),
        "heads beside them do not count": (asks(both, heads={ALICE.peer_id: 1}), both, tips),
        "one mark twice: the last counts": (
            asks({ALICE.peer_id: 2}, marks=2 * mark_of(ALICE.peer_id, 0), seqs=[2, 1], tips=b""),
            {ALICE.peer_id: 1},
            {},
        ),
    }
    refused = {
        "no offset": without("offset"),
        "offset 27": asks(both, offset=27),
        "offset -1": asks(both, offset=-1),
        "offset true": asks(both, offset=True),
        "no heads": without("seqs"),
        "a head too few": asks(both, seqs=[1]),
        "a byte too many": asks(both, marks=bytes(13)),
        "marks as text": asks(both, marks="x" * 12),
        "a head of 0": asks(both, seqs=[0, 1]),
        "a head of 2^53": asks(both, seqs=[1, 2**53]),
        "neither marks nor heads": without("marks"),
    }
    return [
        {
            "what": what,
            "message": message.hex(),
            "known": list(known),
            "heads": heads,
            "tips": {author: tip.hex() for author, tip in found.items()},
            "reason": None,
        }
        for what, (message, heads, found) in read.items()
    ] + [{"what": what, "message": message.hex(), "reason": "malformed"} for what, message in refused.items()]


VECTORS = {"marks.json": mark_vectors}

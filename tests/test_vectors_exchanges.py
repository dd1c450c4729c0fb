"""The golden vectors of claims, blobs, proofs, heads and private swarms: read by this code as they say."""

import hashlib

import pytest
import trio
from noise.connection import NoiseConnection
from test_vectors import each, vectors

from gossip import blobs, catchup, claims
from gossip.envelope import open_frame
from gossip.forks import contradict
from gossip.identity import Identity
from gossip.libp2p_private import PrivateStream, WrongSwarm, enter
from gossip.mdns import announced_brief
from gossip.packing import Packing
from gossip.refusal import Refused
from swarm.brief import brief_id, decode_brief
from swarm.claim import Lease, lease_key
from swarm.preset import preset_of
from swarm.trial import Track
from tests.vectors.exchanges import started
from tests.vectors.records import ALICE, BOB


@each("claims.json", "key")
def test_claim(vector) -> None:
    frame = bytes.fromhex(vector["frame"])
    read = claims.open_claim(frame, vector["brief"])
    said = {"author": read.author, "key": read.key, "slot": read.slot, "at": read.at_ms, "seconds": read.seconds}
    assert said | {"begun": read.begun} == {name: vector[name] for name in (*said, "begun")}
    author = Identity(bytes.fromhex(vector["seed"]))
    fields = {"slot": vector["slot"], "at_ms": vector["at"], "seconds": vector["seconds"], "begun": vector["begun"]}
    assert claims.seal_claim(author, vector["brief"], vector["key"], **fields).frame == frame


@each("refused_claims.json")
def test_refused_claim(vector) -> None:
    reason = None
    try:
        claims.open_claim(bytes.fromhex(vector["frame"]), vector["brief"])
    except Refused as refused:
        reason = refused.reason.value
    assert reason == vector["reason"]


@each("leases.json", "key")
def test_lease(vector) -> None:
    key = lease_key(vector["proposal"], Track(hardware_class=vector["class"], budget_seconds=vector["budget"]))
    assert key == vector["key"]
    both = [Lease(who.peer_id, key, begun=False, since=n, ends=n) for n, who in enumerate((ALICE, BOB))]
    assert min(both, key=lambda one: one.rank).author == vector["winner"]


def test_leases_are_not_all_won_by_one() -> None:
    assert {vector["winner"] for vector in vectors("leases.json")} == {ALICE.peer_id, BOB.peer_id}


def test_blobs() -> None:
    found = vectors("blobs.json")
    assert found["protocol"] == blobs.PROTOCOL
    for one in found["requests"]:
        request = blobs.BlobRequest(one["hash"], one["offset"])
        assert blobs.encode_request(request).hex() == one["message"]
        assert blobs.decode_request(bytes.fromhex(one["message"])) == request
    for one in found["heads"]:
        head = blobs.BlobHead(blobs.BlobStatus(one["status"]), one["size"])
        assert blobs.encode_head(head).hex() == one["bytes"]
        assert blobs.decode_head(bytes.fromhex(one["bytes"])) == head
    blob, asked, answer = (bytes.fromhex(found["stream"][name]) for name in ("blob", "request", "answer"))
    assert int.from_bytes(asked[:4], "big") == len(asked) - 4
    request, head = blobs.decode_request(asked[4:]), blobs.decode_head(answer[: blobs.HEAD_BYTES])
    assert request.sha256 == hashlib.sha256(blob).hexdigest()
    assert (head.status, head.size_bytes) == (blobs.BlobStatus.HERE, len(blob))
    assert answer[blobs.HEAD_BYTES :] == blob[request.offset :]


@each("refused_blobs.json")
def test_refused_blob(vector) -> None:
    decode = {"request": blobs.decode_request, "head": blobs.decode_head}[vector["to"]]
    with pytest.raises(Refused) as caught:
        decode(bytes.fromhex(vector["message"]))
    assert caught.value.reason == vector["reason"]


@each("tips.json")
def test_tips(vector) -> None:
    request = catchup.decode_request(bytes.fromhex(vector["message"]))
    assert request.heads == vector["heads"]
    assert {author: tip.hex() for author, tip in request.tips.items()} == vector["tips"]


@each("marks.json")
def test_marks(vector) -> None:
    message = bytes.fromhex(vector["message"])
    if vector["reason"] is not None:
        with pytest.raises(Refused) as caught:
            catchup.decode_request(message)
        assert caught.value.reason == vector["reason"]
        return
    request = catchup.named(catchup.decode_request(message), vector["known"])
    assert {author: seq for author, seq in request.heads.items() if author in vector["known"]} == vector["heads"]
    assert {author: tip.hex() for author, tip in request.tips.items()} == vector["tips"]


@each("deflated.json")
def test_deflated(vector) -> None:
    message = bytes.fromhex(vector["message"])
    if vector["reason"] is None:
        assert [frame.hex() for frame in catchup.decode_page(message).frames] == vector["records"]
        return
    with pytest.raises(Refused) as caught:
        catchup.decode_page(message)
    assert caught.value.reason == vector["reason"]


def test_the_dictionary_of_a_brief() -> None:
    found = vectors("packed.json")
    brief = bytes.fromhex(found["brief"])
    assert preset_of(decode_brief(brief), brief_id(brief)).hex() == found["dictionary"]


def test_packed_frames() -> None:
    found = vectors("packed.json")
    packing = Packing(bytes.fromhex(found["dictionary"]))
    for vector in found["data"]:
        data = bytes.fromhex(vector["data"])
        if vector["reason"] is None:
            assert packing.unpack(data).hex() == vector["frame"], vector["what"]
            assert packing.unpack(packing.pack(bytes.fromhex(vector["frame"]))).hex() == vector["frame"]
            continue
        with pytest.raises(Refused) as caught:
            packing.unpack(data)
        assert caught.value.reason == vector["reason"], vector["what"]


@each("forks.json")
def test_fork(vector) -> None:
    one, other = (open_frame(bytes.fromhex(vector[name])) for name in ("first", "second"))
    assert contradict(one, other) is contradict(other, one) is vector["proof"]


# --- private swarms ---


class Wire:
    """One end of a connection: what is to come is given, what was sent is kept."""

    def __init__(self, coming: bytes = b"") -> None:
        self.coming, self.sent, self.closed = coming, b"", False

    async def read(self, n: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        taken, self.coming = self.coming[:7], self.coming[7:]  # in small pieces, as streams like to
        return taken

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = True

    def get_remote_address(self) -> None:
        return None


def side(vector, who: str) -> NoiseConnection:
    ephemeral = bytes.fromhex(vector[f"{who}_ephemeral_private"])
    return started(bytes.fromhex(vector["key"]), ephemeral, dialled=who == "dialler")


@pytest.mark.parametrize("who", ["dialler", "listener"])
async def test_a_private_connection_byte_for_byte(who: str) -> None:
    vector = vectors("private.json")
    ours, theirs = ([one for one in vector["transport"] if (one["from"] == who) is mine] for mine in (True, False))
    first, second = bytes.fromhex(vector["first"]), bytes.fromhex(vector["second"])
    begin, comes = (first, second) if who == "dialler" else (second, first)
    wire = Wire(comes + b"".join(bytes.fromhex(one["wire"]) for one in theirs))
    noise = side(vector, who)
    private = PrivateStream(wire, noise)  # type: ignore[arg-type]
    await private.shake_hands(dialled=who == "dialler")
    assert wire.sent == begin
    assert noise.get_handshake_hash().hex() == vector["handshake_hash"]
    heard = b"".join([piece async for piece in pieces(private)])
    assert heard == b"".join(bytes.fromhex(one["plain"]) for one in theirs)
    wire.sent = b""
    for one in ours:
        plain = bytes.fromhex(one["plain"])
        if plain:
            await private.write(plain)
        else:  # a message of nothing is allowed, though our streams send none
            wire.sent += len(tag := bytes(noise.encrypt(b""))).to_bytes(2, "big") + tag
    assert wire.sent.hex() == "".join(one["wire"] for one in ours)


async def pieces(private: PrivateStream):
    while piece := await private.read(1000):
        yield piece


async def test_a_listener_answers_the_first_message_and_says_nothing_to_another_key() -> None:
    vector = vectors("private.json")
    wire = Wire(bytes.fromhex(vector["first"]))
    await enter(wire, bytes.fromhex(vector["key"]), dialled=False)  # type: ignore[arg-type]
    assert len(wire.sent) == 50
    wire = Wire(bytes.fromhex(vector["first"]))
    with pytest.raises(WrongSwarm):
        await enter(wire, bytes(32), dialled=False)  # type: ignore[arg-type]
    assert (wire.sent, wire.closed) == (b"", True)


def test_what_a_private_swarm_announces() -> None:
    vector = vectors("private.json")
    said = vector["announced_brief"]
    assert announced_brief(said["brief"], bytes.fromhex(vector["key"])) == said["word"]

"""The golden vectors: read by this code, and written by it byte for byte."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from gossip import catchup, envelope, identity, ticket
from gossip.refusal import Refused

FOLDER = Path(__file__).parent / "vectors" / "v1"


def vectors(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


@pytest.mark.parametrize("vector", vectors("identity.json"), ids=lambda v: v["peer_id"][-6:])
def test_identity(vector: dict[str, str]) -> None:
    who = identity.Identity(bytes.fromhex(vector["seed"]))
    message, signature = bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
    assert who.peer_id == vector["peer_id"]
    assert who.public_key.hex() == vector["public_key"]
    assert who.sign(message) == signature
    assert identity.verify(vector["peer_id"], message, signature)


@pytest.mark.parametrize("vector", vectors("records.json"), ids=lambda v: v["id"][:6])
def test_record(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame"])
    record = envelope.open_frame(frame)
    read = (
        record.id,
        record.kind,
        record.brief,
        record.author,
        record.seq,
        record.prev,
        record.at_ms,
        record.payload.hex(),
    )
    assert read == tuple(vector[name] for name in ("id", "kind", "brief", "author", "seq", "prev", "at", "payload"))
    author = identity.Identity(bytes.fromhex(vector["seed"]))
    fields = (
        vector["kind"],
        vector["brief"],
        vector["seq"],
        vector["prev"],
        vector["at"],
        bytes.fromhex(vector["payload"]),
    )
    assert envelope.seal(author, *fields).frame == frame


@pytest.mark.parametrize("vector", vectors("refused.json"), ids=lambda v: v["what"])
def test_refused(vector: dict[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        envelope.open_frame(bytes.fromhex(vector["frame"]))
    assert caught.value.reason == vector["reason"]


@pytest.mark.parametrize("vector", vectors("unknown_fields.json"), ids=lambda v: v["what"])
def test_unknown_fields(vector: dict[str, str]) -> None:
    frame = bytes.fromhex(vector["frame"])
    assert envelope.open_frame(frame).frame == frame


@pytest.mark.parametrize("vector", vectors("tickets.json"), ids=lambda v: v["ticket"][-6:])
def test_ticket(vector: dict[str, Any]) -> None:
    psk = None if vector["psk"] is None else bytes.fromhex(vector["psk"])
    expected = ticket.Ticket(vector["topic"], vector["brief"], tuple(vector["addresses"]), psk)
    assert ticket.decode_ticket(vector["ticket"]) == expected
    assert ticket.encode_ticket(expected) == vector["ticket"]


def test_catchup() -> None:
    request, page = vectors("catchup.json")["request"], vectors("catchup.json")["page"]
    asked = catchup.Request(request["brief"], request["heads"], request["first"], request["end"])
    assert catchup.decode_request(bytes.fromhex(request["message"])) == asked
    assert catchup.encode_request(asked).hex() == request["message"]
    frames = tuple(bytes.fromhex(frame) for frame in page["records"])
    answered = catchup.Page(frames, page["more"], tuple(page["peers"]))
    assert catchup.decode_page(bytes.fromhex(page["message"])) == answered
    assert catchup.encode_page(answered).hex() == page["message"]


def test_the_maker_would_write_the_same_files() -> None:
    path = FOLDER.parent / "make_vectors.py"
    spec = importlib.util.spec_from_file_location("make_vectors", path)
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert {name: maker.text_of(name) for name in maker.VECTORS} == {
        p.name: p.read_text() for p in FOLDER.glob("*.json")
    }

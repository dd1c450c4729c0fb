"""The golden vectors: read by this code as they say, and written by the maker byte for byte."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip import branches, catchup, envelope, identity, ticket
from gossip.refusal import Refused
from swarm.brief import BriefId, brief_id, decode_brief, topic_name
from swarm.finding import decode_finding
from swarm.replay import decode_replay
from swarm.space import config_key
from swarm.words import MalformedRecord
from tests.vectors import make, payloads
from tests.vectors.records import BRIEF, records

FOLDER = Path(make.__file__).parent / "v1"
TICKET_SENTENCES = {  # what a person is told, by the reason that the vectors name
    "not_a_ticket": "is not a ticket",
    "newer_version": "of a newer version",
    "too_long": "too long to be one",
    "character": "holds a character that tickets never have",
    "cut_short": "is cut short",
    "extra": "has extra characters",
    "mistyped": "checksum does not fit",
    "malformed": "ticket (is malformed inside|with|without|whose)",
}


def vectors(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def each(name: str, key: str = "what"):
    return pytest.mark.parametrize(
        "vector", vectors(name), ids=lambda v: f"{v.get('to', v.get('kind', ''))} {v[key]}"[:60]
    )


def test_the_maker_writes_these_files() -> None:
    assert {name: make.text_of(name) for name in make.VECTORS} == {p.name: p.read_text() for p in FOLDER.glob("*.json")}


def test_a_file_that_would_change_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    make.main()
    make.main()
    (tmp_path / "topics.json").write_text("[]\n")
    with pytest.raises(SystemExit, match=r"topics\.json would change"):
        make.main()


def test_the_readme_says_what_every_file_is() -> None:
    named = re.findall(r"^\| `(\w+\.json)`", (FOLDER.parent / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(make.VECTORS)
    protocol = (FOLDER.parent.parent.parent / "docs" / "protocol.md").read_text()
    assert not [name for name in make.VECTORS if f"`{name}`" not in protocol]


# --- keys and records ---


@each("identity.json", "peer_id")
def test_identity(vector: dict[str, str]) -> None:
    who = identity.Identity(bytes.fromhex(vector["seed"]))
    message, signature = bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
    assert who.peer_id == vector["peer_id"]
    assert who.public_key.hex() == vector["public_key"]
    assert who.sign(message) == signature
    assert identity.verify(vector["peer_id"], message, signature)


def test_peer_ids() -> None:
    for vector in vectors("peers.json")["valid"]:
        assert identity.Identity(bytes.fromhex(vector["seed"])).peer_id == vector["peer_id"]
        public_key = identity.public_key_of(vector["peer_id"])
        assert public_key is not None
        assert public_key.hex() == vector["public_key"]
    for vector in vectors("peers.json")["refused"]:
        assert identity.public_key_of(vector["peer_id"]) is None, vector["what"]


@each("records.json", "id")
def test_record(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame"])
    record = envelope.open_frame(frame)
    names = ("id", "kind", "brief", "author", "seq", "prev")
    assert [getattr(record, name) for name in names] == [vector[name] for name in names]
    assert (record.at_ms, record.payload.hex()) == (vector["at"], vector["payload"])
    author = identity.Identity(bytes.fromhex(vector["seed"]))
    fields = [vector[name] for name in ("kind", "brief", "seq", "prev", "at")]
    assert envelope.seal(author, *fields, bytes.fromhex(vector["payload"])).frame == frame


def open_or_reason(vector: dict[str, Any]) -> str | None:
    filled = bytes.fromhex(vector["fill"]) * vector["length"] if "fill" in vector else None
    frame = bytes.fromhex(vector["frame"]) if filled is None else filled
    try:
        assert envelope.open_frame(frame).frame == frame
    except Refused as refused:
        return refused.reason.value
    return None


@each("refused.json")
def test_refused(vector: dict[str, str]) -> None:
    assert open_or_reason(vector) == vector["reason"]


@each("limits.json")
def test_limits(vector: dict[str, Any]) -> None:
    assert open_or_reason(vector) == vector["reason"]


@each("unknown_fields.json")
def test_unknown_fields(vector: dict[str, str]) -> None:
    assert open_or_reason(vector) is None


# --- payloads ---


def agrees(read: Any, said: Any) -> bool:
    """Whether everything said was read so, apart from keys of the future."""
    if isinstance(said, dict):
        return all(agrees(read[key], value) for key, value in said.items() if key != "later")
    if isinstance(said, list):
        return len(read) == len(said) and all(map(agrees, read, said))
    return bool(read == said)


@each("findings.json")
def test_finding(vector: dict[str, Any]) -> None:
    assert agrees(decode_finding(bytes.fromhex(vector["payload"])).model_dump(mode="json"), vector["fields"])


@each("replays.json")
def test_replay(vector: dict[str, Any]) -> None:
    assert agrees(decode_replay(bytes.fromhex(vector["payload"])).model_dump(mode="json"), vector["fields"])


@each("refused_payloads.json")
def test_refused_payload(vector: dict[str, str]) -> None:
    read = {"finding": decode_finding, "replay": decode_replay}[vector["kind"]]
    with pytest.raises(MalformedRecord):
        read(bytes.fromhex(vector["payload"]))
    assert vector["reason"] == "content"


@each("refused_verdicts.json")
def test_refused_verdict(vector: dict[str, str]) -> None:
    with pytest.raises(MalformedRecord):
        decode_finding(bytes.fromhex(vector["payload"]))


@each("censored.json")
def test_censored(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["payload"])
    if vector["reason"] is not None:
        with pytest.raises(MalformedRecord):
            decode_finding(payload)
        return
    finding = decode_finding(payload)
    assert agrees(finding.model_dump(mode="json"), vector["fields"])
    assert finding.outcome == vector["outcome"]
    assert (finding.val_bpb is None) == (finding.outcome == "censored")


def test_what_the_refused_payloads_are_changes_of_is_sound() -> None:
    for sound in (payloads.least(), payloads.full()):
        decode_finding(payloads.msgpack.packb(sound))
    decode_replay(payloads.msgpack.packb(payloads.replay()))


@pytest.mark.parametrize("vector", vectors("keys.json"), ids=lambda v: v["key"][:6])
def test_key(vector: dict[str, str]) -> None:
    config = payloads.msgpack.unpackb(bytes.fromhex(vector["config"]))
    assert config_key(config, vector["source_sha256"]) == vector["key"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_in_a_key_is_written_as_the_protocol_says(number: float) -> None:
    text = json.dumps(number)
    assert float(text) == number
    if number == 0 or 1e-4 <= abs(number) < 1e16:
        assert re.fullmatch(r"-?[0-9]+\.[0-9]+", text)
    else:
        assert re.fullmatch(r"-?[1-9](\.[0-9]*[1-9])?e[+-][0-9]{2,3}", text)


def test_brief() -> None:
    vector = vectors("brief.json")
    data = bytes.fromhex(vector["bytes"])
    assert brief_id(data) == vector["id"]
    assert decode_brief(data).name == vector["name"]


# --- messages ---


def test_topics() -> None:
    assert all(topic_name(BriefId(vector["brief"])) == vector["topic"] for vector in vectors("topics.json"))


@each("tickets.json", "ticket")
def test_ticket(vector: dict[str, Any]) -> None:
    psk = None if vector["psk"] is None else bytes.fromhex(vector["psk"])
    expected = ticket.Ticket(vector["topic"], vector["brief"], tuple(vector["addresses"]), psk)
    assert ticket.encode_ticket(expected) == vector["ticket"]
    for text in (vector["ticket"], vector["ticket"].upper(), f' "{vector["ticket"]}"\n'):
        assert ticket.decode_ticket(text) == expected


@each("refused_tickets.json")
def test_refused_ticket(vector: dict[str, str]) -> None:
    with pytest.raises(ticket.TicketError, match=TICKET_SENTENCES[vector["reason"]]):
        ticket.decode_ticket(vector["ticket"])


def test_catchup() -> None:
    request, page = vectors("catchup.json")["request"], vectors("catchup.json")["page"]
    asked = catchup.Request(request["brief"], request["heads"], request["first"], request["end"])
    assert catchup.decode_request(bytes.fromhex(request["message"])) == asked
    assert catchup.encode_request(asked).hex() == request["message"]
    frames = tuple(bytes.fromhex(frame) for frame in page["records"])
    answered = catchup.Page(frames, page["more"], tuple(page["peers"]))
    assert catchup.decode_page(bytes.fromhex(page["message"])) == answered
    assert catchup.encode_page(answered).hex() == page["message"]


@each("refused_catchup.json")
def test_refused_catchup(vector: dict[str, str]) -> None:
    decode = {"request": catchup.decode_request, "answer": catchup.decode_page}[vector["to"]]
    with pytest.raises(Refused) as caught:
        decode(bytes.fromhex(vector["message"]))
    assert caught.value.reason == vector["reason"]


def test_exchange() -> None:
    exchange, heads = vectors("exchange.json"), dict[str, int]()
    assert (exchange["protocol"], exchange["brief"]) == (catchup.PROTOCOL, BRIEF)
    for step in exchange["streams"]:
        request, answer = (bytes.fromhex(step[name]) for name in ("request", "answer"))
        assert [int.from_bytes(message[:4], "big") for message in (request, answer)] == [
            len(request) - 4,
            len(answer) - 4,
        ]
        assert catchup.decode_request(request[4:]) == catchup.Request(BRIEF, heads)
        page = catchup.decode_page(answer[4:])
        opened = [envelope.open_frame(frame) for frame in page.frames]
        assert ([record.id for record in opened], page.more) == (step["records"], step["more"])
        heads |= {record.author: record.seq for record in opened}
        assert heads == step["heads_after"]
    assert sum(heads.values()) == len(records())
    assert not exchange["streams"][-1]["more"]


# --- branches ---


@each("heads.json", "seq")
def test_signed_head(vector: dict[str, Any]) -> None:
    head = branches.open_head(bytes.fromhex(vector["head"]))
    said = (head.author, head.brief, head.branch, head.commit.hex(), head.seq, head.at_ms)
    assert said == tuple(vector[name] for name in ("author", "brief", "branch", "commit", "seq", "at"))
    author = identity.Identity(bytes.fromhex(vector["seed"]))
    made = branches.seal_head(author, head.brief, head.branch, head.commit, head.seq, head.at_ms)
    assert made.frame == head.frame


@each("refused_heads.json")
def test_refused_head(vector: dict[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        branches.open_head(bytes.fromhex(vector["head"]))
    assert caught.value.reason.value == vector["reason"]


def test_git_requests() -> None:
    for vector in vectors("git_requests.json")["requests"]:
        message = bytes.fromhex(vector["message"])
        assert branches.decode_request(message) == tuple(vector["branches"])
        assert branches.encode_request(vector["branches"]) == message
    for vector in vectors("git_requests.json")["refused"]:
        with pytest.raises(Refused):
            branches.decode_request(bytes.fromhex(vector["message"]))

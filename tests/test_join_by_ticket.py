"""Joining with nothing but a ticket: real processes, real libp2p on loopback, an empty home.

Waits end when the awaited thing has happened; their limits only bound a failure.
"""

import dataclasses
import hashlib
import os
import re
import time
from contextlib import contextmanager
from threading import Event, Thread

import pytest
import trio
from node_process import NodeProcess, facts, until, write_topic

from gossip.blobs import OfferedBlobs
from gossip.identity import Identity
from gossip.libp2p_bus import Libp2pBus
from gossip.refusal import Answer
from gossip.ticket import Ticket, decode_ticket, encode_ticket
from node import shipped
from node.sandbox.policy import Backend
from node.sandbox.probe import probe
from node.topics.loading import Topic, load_topic
from node.trials.hardware import detect
from node.trials.scoring import SHIPPED_SAMPLES
from swarm.brief import brief_id, encode_brief, topic_name
from swarm.words import short

pytestmark = pytest.mark.end_to_end

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
ONE_TRIAL = "noise_trials = 1\n"  # of [acceptance], with which the topic file ends: the baseline is run once
LARGE_BYTES = 200_000_000  # takes a second or two on loopback: time for a kill in the middle


@pytest.fixture(scope="module")
def topic_file(tmp_path_factory) -> str:
    file = write_topic(tmp_path_factory.mktemp("topic"))
    file.write_text(file.read_text() + ONE_TRIAL)
    return str(file)


@pytest.fixture(scope="module")
def topic(topic_file, tmp_path_factory) -> Topic:
    """The same topic as the nodes have, for peers of our own making."""
    return load_topic(topic_file, tmp_path_factory.mktemp("corpora"))


@contextmanager
def peer(brief: str, blobs: OfferedBlobs, number: int):
    """A peer of ours in a thread; yields its address."""
    ready, addresses, stop = Event(), list[str](), Event()

    async def run() -> None:
        bus = Libp2pBus(
            Identity(bytes([number]) * 32), topic_name(brief), [LOOPBACK], lambda *_: Answer.IGNORE, lambda *_: b"",
            wall_clock=time.time, blobs=blobs,
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.run)
            addresses.append(bus.addresses()[0])
            ready.set()
            await trio.to_thread.run_sync(stop.wait)
            nursery.cancel_scope.cancel()

    thread = Thread(target=trio.run, args=(run,))
    thread.start()
    try:
        assert ready.wait(30)
        yield addresses[0]
    finally:
        stop.set()
        thread.join()


def with_brief(topic: Topic, **changes: object) -> Topic:
    """The topic with another brief: its shards are the same."""
    brief = topic.brief.model_copy(update=changes)
    content = encode_brief(brief)
    return dataclasses.replace(topic, brief=brief, brief_bytes=content, brief_id=brief_id(content))


def ticket_to(topic: Topic, *addresses: str) -> Ticket:
    return Ticket(topic.name, topic.brief_id, addresses)


def peer_id(address: str) -> str:
    return address.rsplit("/", 1)[1]


def test_a_ticket_and_an_empty_home_are_enough(topic_file, tmp_path):
    homes = [tmp_path / name for name in ("a", "b", "c")]
    with NodeProcess("launch", "--topic", topic_file, "--no-train", home=homes[0]) as first:
        ticket = first.wait_for("listening")["ticket"]
        with NodeProcess("join", ticket, "--max-experiments", "1", home=homes[1]) as second:
            assert second.wait() == 0, second.stderr
            assert second.happened("finding_recorded")[0]["outcome"] == "measured"
            shown = {event["what"] for event in second.happened("preparing")}
            assert {"brief of topic tiny from peers", "train shard of topic tiny from peers"} <= shown
        assert facts("status", homes[1])["brief_id"] == decode_ticket(ticket).brief
    # Nobody is there now. Who has joined once needs nobody, and a third one gets everything from that one.
    with NodeProcess("join", ticket, "--no-train", home=homes[1]) as second:
        ticket = second.wait_for("listening")["ticket"]
        with NodeProcess("join", ticket, "--no-train", home=homes[2]) as third:
            third.wait_for("listening")


def test_nobody_there_is_one_sentence_and_sigterm_ends_it(topic, tmp_path):
    dead = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWNeyMAf8HrkBFLEhpYqFZWNWBkuhGabcYoXBH87kooJ79"
    ticket = encode_ticket(ticket_to(topic, dead))
    with NodeProcess("join", ticket, home=tmp_path / "home") as node:
        said = node.wait_for("notice")
        assert said["text"].startswith(f"no peer of the ticket answers ({dead})")
        assert node.terminate() < 5
        assert node.wait() == 0
        assert node.stderr == ""


def test_wrong_bytes_are_refused_and_the_next_peer_is_used(topic, tmp_path):
    lies = {
        key: bytes(len(blob) if isinstance(blob, bytes) else blob.stat().st_size) for key, blob in topic.blobs().items()
    }
    numbers = sorted((1, 2), key=lambda number: Identity(bytes([number]) * 32).peer_id)  # in this order they are asked
    with (
        peer(topic.brief_id, OfferedBlobs(lies), numbers[0]) as liar,
        peer(topic.brief_id, OfferedBlobs(topic.blobs()), numbers[1]) as honest,
    ):
        ticket = encode_ticket(ticket_to(topic, liar))
        with NodeProcess("join", ticket, "--no-train", home=tmp_path / "home") as node:
            refused = node.wait_for("notice", lambda event: "is not asked any more" in event["text"])
            assert short(peer_id(liar)) in refused["text"]
            node.terminate()
        ticket = encode_ticket(ticket_to(topic, liar, honest))
        with NodeProcess("join", ticket, "--no-train", home=tmp_path / "home") as node:
            node.wait_for("listening")
    shards = [path.parent for path in (tmp_path / "home" / "corpora").glob("*/manifest.json")]
    assert [(path / "train.bin").read_bytes() for path in shards] == [(topic.shards / "train.bin").read_bytes()]


def test_a_joiner_that_is_killed_in_the_middle_of_a_shard_goes_on_there(topic, tmp_path):
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        for _ in range(LARGE_BYTES // 10**6):
            file.write(os.urandom(10**6))
    with large.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    shard = topic.brief.corpus.train.model_copy(
        update={"sha256": sha256, "tokens": LARGE_BYTES, "raw_bytes": LARGE_BYTES}
    )
    theirs = with_brief(topic, corpus=topic.brief.corpus.model_copy(update={"train": shard}))
    blobs = OfferedBlobs({**topic.blobs(), theirs.brief_id: theirs.brief_bytes, sha256: large})
    home = tmp_path / "home"

    def of_the_shard(event) -> bool:
        return event["what"].startswith("train shard")

    with peer(theirs.brief_id, blobs, 1) as address:
        ticket = encode_ticket(ticket_to(theirs, address))
        with NodeProcess("join", ticket, "--no-train", home=home) as node:
            node.wait_for("preparing", of_the_shard)
            until(lambda: any(p.stat().st_size > 0 for p in home.glob("corpora/.receiving-*/train.bin.part")), "bytes")
            node.kill_9()
        (part,) = home.glob("corpora/.receiving-*/train.bin.part")
        had = part.stat().st_size
        assert 0 < had < LARGE_BYTES, "killed in the middle, or this tests nothing"
        with NodeProcess("join", ticket, "--no-train", home=home) as node:
            assert node.wait_for("preparing", of_the_shard)["done"] == had
            node.wait_for("listening")
            node.terminate()
    (found,) = home.glob("corpora/*/train.bin")
    with found.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == sha256


def test_a_brief_with_code_of_its_own_runs_in_a_sandbox_and_is_examined_in_full(tmp_path):
    if probe(detect()).backend is Backend.NONE:
        pytest.skip("no sandbox works on this machine; what happens then is in test_node_topics_fetching.py")
    file = write_topic(tmp_path / "topic")
    for text in (file.parent / "text").iterdir():  # more windows than the shipped script is asked about again
        text.write_text(text.read_text() * 6)
    file.write_text(file.read_text() + ONE_TRIAL)
    topic = load_topic(str(file), tmp_path / "corpora")
    source = shipped.shipped_text(shipped.experiments(), "train.py") + "# a line of the brief's author\n"
    theirs = with_brief(topic, editable={"train.py": source})
    home = tmp_path / "home"
    with peer(theirs.brief_id, OfferedBlobs(theirs.blobs()), 1) as address:
        ticket = encode_ticket(ticket_to(theirs, address))
        with NodeProcess("join", ticket, "--max-experiments", "1", home=home) as node:
            assert node.wait() == 0, node.stderr
            assert node.happened("finding_recorded")[0]["outcome"] == "measured"
    assert (home / "results" / "train.py").read_text() == source
    (log,) = (home / "results" / "runs").glob("0001-*/log.txt")
    asked = re.search(r"(\d+) prefixes asked again", log.read_text())
    assert asked is not None
    assert int(asked[1]) > SHIPPED_SAMPLES

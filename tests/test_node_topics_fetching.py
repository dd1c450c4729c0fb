"""Joining by a ticket: where the brief and its text come from, and what is refused. Over a network in memory."""

import dataclasses
import hashlib
import json
import random
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from node_process import write_topic

from gossip import blob_fetch
from gossip.blob_fetch import FetchError
from gossip.blobs import OfferedBlobs
from gossip.identity import Identity
from gossip.memory_bus import MemoryNetwork
from gossip.refusal import Answer
from gossip.ticket import Ticket
from node import shipped
from node.cli.replay import ProgressLine
from node.events import Events, Notice, Preparing
from node.home import Home
from node.replays.alone import Here, replay_alone
from node.replays.request import ReplayRequest
from node.sandbox.confinement import Confinement, unconfined
from node.sandbox.policy import Backend
from node.sandbox.spec import Limits
from node.topics import fetching, joining
from node.topics.corpus import receiving_folder
from node.topics.fetching import CannotFetch, TicketPeers, check_size
from node.topics.joining import Joining, StrangersCode, check_code
from node.topics.loading import Topic, load_topic
from node.trials.hardware import Hardware
from swarm.brief import Brief, brief_id, encode_brief, topic_name

ME, GIVER = (Identity(bytes([number]) * 32) for number in (1, 2))


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Topic:
    """A topic of somebody's own files."""
    folder = tmp_path_factory.mktemp("giver")
    return load_topic(str(write_topic(folder / "topic")), folder / "corpora")


def changed(topic: Topic, **brief: object) -> Topic:
    """The same text, another brief."""
    made = topic.brief.model_copy(update=brief)
    content = encode_brief(made)
    return dataclasses.replace(topic, name=made.name, brief=made, brief_bytes=content, brief_id=brief_id(content))


class Joiner:
    """Somebody with a ticket and a home, on a network in memory."""

    def __init__(self, path: Path, ticket: Ticket, net: MemoryNetwork, check=lambda _: None, **peers) -> None:
        self.home, self.events, self.said = Home(path), Events(), []
        self.home.create()
        self.events.listen(self.said.append)
        make = partial(net.bus, ME.peer_id, topic_name(brief_id(b"")))
        found = TicketPeers(ME.peer_id, ticket.topic, ticket.addresses, self.home, make, self.events, **peers)
        self.joining = Joining(ticket, self.home, found, self.events, check)

    async def join(self) -> Topic:
        with trio.fail_after(20):
            return await self.joining.topic()

    def notices(self) -> list[str]:
        return [event.text for event in self.said if isinstance(event, Notice)]

    def prepared(self) -> list[str]:
        return [event.what for event in self.said if isinstance(event, Preparing)]


@pytest.fixture
def net() -> MemoryNetwork:
    return MemoryNetwork(random.Random(3), latency_seconds=0.001)


@asynccontextmanager
async def giving(net: MemoryNetwork, blobs: dict[str, Path | bytes], giver: Identity = GIVER):
    async with trio.open_nursery() as nursery:
        bus = net.bus(giver.peer_id, "/swarm/1/x", lambda *_: Answer.IGNORE, lambda *_: b"", OfferedBlobs(blobs))
        await nursery.start(bus.run)
        yield bus
        nursery.cancel_scope.cancel()


def ticket_for(topic: Topic, net: MemoryNetwork, *givers: Identity) -> Ticket:
    return Ticket(topic.name, topic.brief_id, tuple(net.address(giver.peer_id) for giver in givers or (GIVER,)))


async def test_a_ticket_alone_brings_brief_and_shards_and_the_second_start_needs_nobody(tmp_path, net, offered):
    ticket = ticket_for(offered, net)
    first = Joiner(tmp_path / "home", ticket, net)
    async with giving(net, offered.blobs()):
        topic = await first.join()
    assert dataclasses.replace(topic, shards=offered.shards) == offered
    assert topic.shards.parent == first.home.corpora
    for name in ("train.bin", "validation.bin", "sealed.bin"):
        assert (topic.shards / name).read_bytes() == (offered.shards / name).read_bytes()
    assert [path.name for path in first.home.corpora.iterdir()] == [topic.shards.name], "nothing half is left"
    assert [path.name for path in first.home.briefs.iterdir()] == [f"{topic.brief_id}.json"]
    words = ("brief", "train shard", "validation shard", "sealed shard")
    assert first.prepared()[0] == "looking for peers of topic tiny"
    assert {f"{word} of topic tiny from peers" for word in words} <= set(first.prepared())
    again = Joiner(tmp_path / "home", ticket, net)
    assert await again.join() == topic
    assert again.prepared() == []


async def test_a_damaged_brief_and_a_damaged_shard_are_fetched_again(tmp_path, net, offered):
    ticket, home = ticket_for(offered, net), tmp_path / "home"
    async with giving(net, offered.blobs()):
        topic = await Joiner(home, ticket, net).join()
        brief, shard = Home(home).briefs / f"{offered.brief_id}.json", topic.shards / "sealed.bin"
        brief.write_bytes(brief.read_bytes()[:-1])
        shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
        assert await Joiner(home, ticket, net).join() == topic
    assert brief.read_bytes() == offered.brief_bytes
    assert shard.read_bytes() == (offered.shards / "sealed.bin").read_bytes()


async def test_what_came_before_a_kill_is_not_fetched_again(tmp_path, net, offered):
    joiner, corpus = Joiner(tmp_path / "home", ticket_for(offered, net), net), offered.brief.corpus
    folder = receiving_folder(corpus, joiner.home.corpora)
    folder.mkdir()
    text = (offered.shards / "train.bin").read_bytes()
    (folder / "train.bin.part").write_bytes(text[:50_000])
    async with giving(net, offered.blobs()):
        await joiner.join()
    done = [e.done for e in joiner.said if isinstance(e, Preparing) and e.what.startswith("train shard")]
    assert done[0] == 50_000


async def test_nobody_there_is_said_once_and_waited_for(tmp_path, net, offered, monkeypatch):
    monkeypatch.setattr(fetching, "DIAL_SECONDS", 0.01)
    joiner = Joiner(tmp_path / "home", ticket_for(offered, net), net)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joiner.join)
        await trio.sleep(0.3)
        (said,) = joiner.notices()
        assert said.startswith("no peer of the ticket answers (/ip4/127.0.0.1/tcp/")
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 1


async def test_who_is_denied_is_neither_dialled_nor_asked(tmp_path, net, offered, monkeypatch):
    monkeypatch.setattr(fetching, "DIAL_SECONDS", 0.01)
    joiner = Joiner(tmp_path / "home", ticket_for(offered, net), net, admits=lambda peer: peer != GIVER.peer_id)
    async with giving(net, offered.blobs()) as bus, trio.open_nursery() as nursery:
        nursery.start_soon(joiner.join)
        await trio.sleep(0.3)
        assert bus.connected() == ()
        nursery.cancel_scope.cancel()
    assert joiner.notices()[0].startswith("no peer of the ticket answers")


async def test_a_network_that_breaks_is_started_again(tmp_path, net, offered, monkeypatch):
    monkeypatch.setattr(fetching, "RESTART_SECONDS", 0.05)
    monkeypatch.setattr(blob_fetch, "_ABSENT_SECONDS", 0.05)
    blobs = offered.blobs()
    train = blobs.pop(offered.brief.corpus.train.sha256)
    joiner = Joiner(tmp_path / "home", ticket_for(offered, net), net)
    async with giving(net, blobs) as bus, trio.open_nursery() as nursery:
        nursery.start_soon(joiner.join)
        while not any("train shard" in what for what in joiner.prepared()):
            await trio.sleep(0.01)
        net.break_bus(ME.peer_id)
        bus.blobs = OfferedBlobs({**blobs, offered.brief.corpus.train.sha256: train})
    assert any(text.startswith("network stopped, restarting it") for text in joiner.notices())
    assert await Joiner(tmp_path / "home", ticket_for(offered, net), net).join()


async def test_wrong_bytes_are_refused_and_the_next_peer_is_asked(tmp_path, net, offered):
    liar = min(GIVER, Identity(bytes([3]) * 32), key=lambda one: one.peer_id)
    honest = max(GIVER, Identity(bytes([3]) * 32), key=lambda one: one.peer_id)
    lies = {key: bytes(len(value) if isinstance(value, bytes) else value.stat().st_size)
            for key, value in offered.blobs().items()}  # fmt: skip
    joiner = Joiner(tmp_path / "home", ticket_for(offered, net, liar, honest), net)
    async with giving(net, lies, liar), giving(net, offered.blobs(), honest):
        topic = await joiner.join()
    assert topic.brief == offered.brief
    assert any("is not asked any more: its bytes make another hash" in text for text in joiner.notices())


async def test_bytes_that_are_no_brief_are_one_sentence(tmp_path, net):
    junk = b'{"format": 7}'
    ticket = Ticket("later", hashlib.sha256(junk).hexdigest(), (net.address(GIVER.peer_id),))
    joiner = Joiner(tmp_path / "home", ticket, net)
    async with giving(net, {ticket.brief: junk}):
        with pytest.raises(CannotFetch, match="the ticket's brief cannot be used by this version"):
            await joiner.join()
    assert list(joiner.home.briefs.iterdir()) == []


async def test_a_shipped_topic_that_needs_no_download_asks_nobody(tmp_path, net):
    own = await trio.to_thread.run_sync(load_topic, "pysource", tmp_path / "home" / "corpora")
    joiner = Joiner(tmp_path / "home", ticket_for(own, net), net)
    assert await joiner.join() == own
    assert "looking for peers of topic pysource" not in joiner.prepared()
    theirs = changed(own, goal="Another goal.")
    other = Joiner(tmp_path / "home", ticket_for(theirs, net), net)
    async with giving(net, {theirs.brief_id: theirs.brief_bytes}):
        assert (await other.join()).brief.goal == "Another goal."
    assert not any("shard" in what for what in other.prepared()), "the text is here already"


async def test_a_shipped_topic_with_a_download_is_downloaded_when_peers_stay_silent(
    tmp_path, net, monkeypatch, offered
):
    """Until then peers are asked: without a brief from them, what the download leads to counts."""
    monkeypatch.setattr(joining, "DOWNLOAD_PATIENCE_SECONDS", 0.05)
    asked: list[str] = []

    def download(name: str, _cache: Path, _progress: object) -> Topic:
        asked.append(name)
        return offered

    monkeypatch.setattr(joining, "load_topic", download)
    ticket = Ticket("tinystories", offered.brief_id, (net.address(GIVER.peer_id),))
    joiner = Joiner(tmp_path / "home", ticket, net)
    assert await joiner.join() == offered
    assert asked == ["tinystories"]
    assert any("downloading its text instead" in text for text in joiner.notices())


# -- what a stranger's brief may be

LIMITS = Limits(1 << 30, 1 << 30, 16, 1 << 20, 16, 16, 1 << 20)
NO_SANDBOX = unconfined(LIMITS)
SANDBOX = dataclasses.replace(NO_SANDBOX, backend=Backend.LANDLOCK)
SHIPPED = shipped.shipped_text(shipped.experiments(), "train.py")


@pytest.mark.parametrize(
    ("source", "confinement", "trains", "runs"),
    [
        (SHIPPED, NO_SANDBOX, True, True),
        (SHIPPED + "#\n", SANDBOX, True, True),
        (SHIPPED + "#\n", NO_SANDBOX, True, False),
        (
            SHIPPED + "#\n",
            dataclasses.replace(NO_SANDBOX, unsafe=True),
            True,
            False,
        ),  # --unsafe is no word on strangers
        (SHIPPED + "#\n", NO_SANDBOX, False, True),
    ],
)
def test_a_strangers_train_py_needs_a_sandbox(
    offered: Topic, source: str, confinement: Confinement, trains: bool, runs: bool
) -> None:
    brief = offered.brief.model_copy(update={"editable": {"train.py": source}})
    if runs:
        check_code(brief, confinement=confinement, trains=trains)
    else:
        with pytest.raises(StrangersCode, match=r"topic tiny brings a train\.py of its own, and no sandbox"):
            check_code(brief, confinement=confinement, trains=trains)


async def test_code_that_may_not_run_is_refused_before_any_text_is_fetched(tmp_path, net, offered):
    theirs = changed(offered, editable={"train.py": SHIPPED + "#\n"})
    check = partial(check_code, confinement=NO_SANDBOX, trains=True)
    for _ in range(2):  # the second time the brief is here
        joiner = Joiner(tmp_path / "home", ticket_for(theirs, net), net, check)
        async with giving(net, theirs.blobs()):
            with pytest.raises(StrangersCode):
                await joiner.join()
        assert not any("shard" in what for what in joiner.prepared())


async def test_a_replay_does_not_run_a_strangers_train_py_unconfined_either(tmp_path, offered):
    theirs, home = changed(offered, editable={"train.py": SHIPPED + "#\n"}), Home(tmp_path / "home")
    home.create()
    request = ReplayRequest(brief=theirs.brief_id, finding="ab" * 32, steps=None)
    here = Here(Hardware("cpu", "test", "test", 1, "cpu"), NO_SANDBOX)
    with pytest.raises(StrangersCode):
        await replay_alone(home, theirs.brief, None, request, here, Events(), ProgressLine(sys.stderr, "", shown=False))


def with_shards(topic: Topic, tokens: int, **corpus: object) -> Brief:
    shard = topic.brief.corpus.train.model_copy(update={"tokens": tokens, "raw_bytes": tokens})
    return topic.brief.model_copy(update={"corpus": topic.brief.corpus.model_copy(update={"train": shard, **corpus})})


def test_a_text_that_is_too_large_or_unknown_is_refused(offered: Topic, tmp_path: Path) -> None:
    with pytest.raises(CannotFetch, match=r"the text of topic tiny is 17\.0 GB, at most 16 GB"):
        check_size(with_shards(offered, 17 << 30), 0, tmp_path)
    with pytest.raises(CannotFetch, match="a vocabulary of 1000000 tokens"):
        check_size(with_shards(offered, 1000, vocab_size=1_000_000), 0, tmp_path)
    with pytest.raises(FetchError, match="not enough room on the disk of"):
        check_size(with_shards(offered, 1000), 1 << 60, tmp_path)
    check_size(offered.brief, 0, tmp_path)


def test_a_peers_manifest_names_what_it_holds(offered: Topic) -> None:
    """Blobs are named by what they are: the brief by its id, each shard by the hash in it."""
    for sha256, blob in offered.blobs().items():
        content = blob if isinstance(blob, bytes) else blob.read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
    assert json.loads(offered.brief_bytes)["corpus"]["train"]["sha256"] in offered.blobs()

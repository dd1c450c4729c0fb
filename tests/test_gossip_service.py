from random import Random

import pytest
import trio

from gossip import catchup
from gossip.blobs import OfferedBlobs
from gossip.bus import BusFailed, ListenError
from gossip.events import (
    BootstrapReached,
    BootstrapUnreachable,
    CatchupCutOff,
    CaughtUp,
    Listening,
    NetworkBack,
    NetworkFailed,
    PeerJoined,
    PeerSpeaksAnotherVersion,
)
from gossip.identity import Identity
from gossip.inbox import Inbox
from gossip.memory_bus import MemoryNetwork
from gossip.puller import SMALL_SWARM
from gossip.refusal import Answer, Refusal, RefusalReason
from tests.simworld.gossip_world import TOPIC, MemoryStore, Node, identity, memory_node, until


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork(Random(7))


def swarm(network: MemoryNetwork, count: int) -> list[Node]:
    """Nodes that all know the first."""
    first = network.address(identity(1).peer_id)
    return [memory_node(network, n, bootstrap=[first] if n > 1 else []) for n in range(1, count + 1)]


async def test_a_fresh_record_reaches_everyone_at_once(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    one, two, three = swarm(network, 3)
    async with one.running(), two.running(), three.running():
        await until(lambda: len(one.service.snapshot().peers) == 2)
        await trio.sleep(1)
        record = two.write(b"found something")
        started_at = trio.current_time()
        await until(lambda: record.id in three.store.ids() and record.id in one.store.ids())
        assert trio.current_time() - started_at < 0.1
        assert two.store.unsent() == []


async def test_a_late_joiner_gets_everything(network: MemoryNetwork, autojump_clock: trio.testing.MockClock) -> None:
    one, two, late = swarm(network, 3)
    async with one.running(), two.running():
        for n in range(200):
            (one, two)[n % 2].write(bytes([n]))
        await until(lambda: len(one.store) == len(two.store) == 200)
        async with late.running():
            started_at = trio.current_time()
            await until(lambda: len(late.store) == 200)
            assert trio.current_time() - started_at < 2
            await until(lambda: late.said(CaughtUp))


async def test_lost_broadcasts_are_made_good(network: MemoryNetwork, autojump_clock: trio.testing.MockClock) -> None:
    network.loss = 0.5
    nodes = swarm(network, 4)
    async with nodes[0].running(), nodes[1].running(), nodes[2].running(), nodes[3].running():
        await until(lambda: len(nodes[0].service.snapshot().peers) == 3)
        for n in range(40):
            nodes[n % 4].write(bytes([n]))
            await trio.sleep(0.5)
        await until(lambda: all(len(node.store) == 40 for node in nodes), seconds=60)


async def test_what_is_no_news_is_not_broadcast_but_comes_with_the_next_round(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    one, two = swarm(network, 2)
    one._is_news = lambda record: record.payload == b"news"
    one.fresh_service()
    async with one.running(), two.running():
        await until(lambda: one.service.snapshot().peers)
        await trio.sleep(1)
        quiet, loud = one.write(b"no improvement"), one.write(b"news")
        await until(lambda: loud.id in two.store.ids())
        assert quiet.id not in two.store.ids()
        assert one.store.unsent() == []
        assert one.service.snapshot().counters["bus.published"] == 1
        await until(lambda: quiet.id in two.store.ids(), seconds=45)


async def test_in_a_large_swarm_too_who_asks_and_knows_more_is_asked_back(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    one, two = swarm(network, 2)
    for node in (one, two):
        for number in range(100, 100 + 2 * SMALL_SWARM):
            node.store.write(identity(number), b"known to both")

    def requests() -> int:
        return two.service.snapshot().counters["catchup.requests"]

    async with one.running(), two.running():
        await until(lambda: two.service.snapshot().peers)
        await trio.sleep(215)  # far from the next round
        before, known = requests(), two.store.heads()
        two.service._asked(one.peer_id, known)
        await trio.sleep(1)
        assert requests() == before
        two.service._asked(one.peer_id, known | {identity(100).peer_id: 2})
        await trio.sleep(1)
        assert requests() == before + 1


async def test_an_idle_swarm_asks_ever_less_and_a_busy_one_often(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    one, two = swarm(network, 2)

    def asked() -> int:
        return one.service.snapshot().counters.get("catchup.requests", 0)

    async with one.running(), two.running():
        await until(lambda: one.service.snapshot().peers)
        await trio.sleep(120)
        idle = asked()
        await trio.sleep(400)
        assert asked() - idle == 10, "every 40 s"
        busy = asked()
        for n in range(40):
            two.write(bytes([n]))
            await trio.sleep(10)
        assert asked() - busy >= 35, "every 10 s"


async def test_a_partition_heals(network: MemoryNetwork, autojump_clock: trio.testing.MockClock) -> None:
    nodes = swarm(network, 4)
    async with nodes[0].running(), nodes[1].running(), nodes[2].running(), nodes[3].running():
        await until(lambda: len(nodes[0].service.snapshot().peers) == 3)
        await trio.sleep(15)  # addresses of the others have been exchanged
        network.partition([nodes[0].peer_id, nodes[1].peer_id], [nodes[2].peer_id, nodes[3].peer_id])
        for n in range(50):
            nodes[n % 4].write(bytes([n]))
            await trio.sleep(1)
        await until(lambda: all(len(node.store) == (26 if node in nodes[:2] else 24) for node in nodes))
        network.heal()
        started_at = trio.current_time()
        await until(lambda: all(len(node.store) == 50 for node in nodes), seconds=60)
        assert trio.current_time() - started_at < 30


async def test_what_was_not_sent_is_sent_after_a_restart(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    one, two = swarm(network, 2)
    async with two.running():
        await trio.sleep(1)
        record = two.write(b"nobody was there")
        await trio.sleep(5)
        assert two.store.unsent() == [record]
    two.fresh_service()
    async with one.running(), two.running():
        await until(lambda: record.id in one.store.ids())
        await until(lambda: two.store.unsent() == [])


async def test_a_broken_bus_is_replaced_and_mentioned_once(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    one, two = swarm(network, 2)
    async with one.running(), two.running():
        await until(lambda: one.service.snapshot().peers)
        network.break_bus(two.peer_id)
        await until(lambda: two.said(NetworkFailed))
        missed = one.write(b"while you were away")
        await until(lambda: missed.id in two.store.ids())
        await until(lambda: two.said(NetworkBack))
        assert len(two.said(NetworkFailed)) == len(two.said(NetworkBack)) == len(two.said(Listening)) == 1


async def test_a_bus_that_never_starts_is_retried_ever_slower_and_mentioned_once(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    tries: list[float] = []

    class Hopeless:
        def hear_claims(self, deliver: object) -> None: ...

        async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            tries.append(trio.current_time())
            raise BusFailed("no luck")

    node = memory_node(network, 1)
    node._bus_factory = lambda deliver, serve: Hopeless()
    node.fresh_service()
    async with node.running():
        await trio.sleep(300)
    assert 8 <= len(tries) <= 12
    assert len(node.events) == 1


async def test_a_port_in_use_at_the_start_is_for_the_person(network: MemoryNetwork) -> None:
    class Taken:
        def hear_claims(self, deliver: object) -> None: ...

        async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            raise ListenError("cannot listen on /ip4/127.0.0.1/tcp/1: port in use")

    node = memory_node(network, 1)
    node._bus_factory = lambda deliver, serve: Taken()
    with pytest.raises(ListenError, match="port in use"):
        await node.fresh_service().run()


async def test_a_dead_bootstrap_is_mentioned_once_and_so_is_its_return(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    one, two = swarm(network, 2)
    async with two.running():
        await trio.sleep(600)
        assert len(two.said(BootstrapUnreachable)) == 1
        async with one.running():
            await until(lambda: two.said(BootstrapReached), seconds=20)
        await trio.sleep(600)
        assert len(two.said(BootstrapUnreachable)) == 2
        assert len(two.events) == 6  # listening; lost, joined, reached; left, lost


async def test_alone_it_is_quiet(network: MemoryNetwork, autojump_clock: trio.testing.MockClock) -> None:
    one = memory_node(network, 1)
    async with one.running():
        one.write(b"for nobody")
        await trio.sleep(3600)
    assert [type(event) for event in one.events] == [Listening]


async def test_nodes_find_each_other_again_without_a_bootstrap(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    hub, one, two = swarm(network, 3)
    async with one.running(), two.running(), hub.running():
        await until(lambda: len(one.service.snapshot().peers) == 2 and len(two.service.snapshot().peers) == 2)
    books = [node.book.to_json() for node in (one, two)]
    one, two = memory_node(network, 2), memory_node(network, 3)
    for node, text in zip((one, two), books, strict=True):
        node.book.load_json(text)
    async with one.running(), two.running():
        await until(lambda: one.service.snapshot().peers == (two.peer_id,), seconds=5)


async def test_a_home_from_an_old_backup_gets_its_own_records_back(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    one, two = swarm(network, 2)
    async with one.running(), two.running():
        for n in range(5):
            two.write(bytes([n]))
        await until(lambda: len(one.store) == 5)
    whole = two.store.ids()
    two.store = MemoryStore(two.peer_id)
    two.fresh_service()
    one.fresh_service()
    async with one.running(), two.running():
        await until(lambda: two.store.ids() == whole)


async def test_one_of_another_topic_is_no_peer(network: MemoryNetwork, autojump_clock: trio.testing.MockClock) -> None:
    one = memory_node(network, 1)
    other = memory_node(network, 2, bootstrap=[network.address(one.peer_id)], topic="/swarm/1/" + "cd" * 32)
    async with one.running(), other.running():
        await until(lambda: other.service.snapshot().connected)
        await trio.sleep(60)
        assert other.service.snapshot().peers == ()
        assert not other.said(PeerJoined)


async def test_one_of_another_version_is_mentioned_once(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    from gossip.bus import PeerIncompatible
    from gossip.memory_bus import MemoryBus

    class NewerBus(MemoryBus):
        async def request(self, peer: str, message: bytes) -> bytes:
            raise PeerIncompatible(peer, ("/swarm/catchup/2",))

    one = memory_node(network, 1)
    other = memory_node(network, 2, bootstrap=[network.address(one.peer_id)])
    other._bus_factory = lambda deliver, serve: NewerBus(
        network, other.peer_id, "/swarm/2/x", deliver, serve, OfferedBlobs()
    )
    other.fresh_service()
    async with one.running(), other.running():
        await trio.sleep(120)
    (event,) = other.said(PeerSpeaksAnotherVersion)
    assert "/swarm/catchup/2" in str(event)


def lying(network: MemoryNetwork, number: int, reply: bytes) -> Node:
    liar = memory_node(network, number)
    liar._bus_factory = lambda deliver, serve: network.bus(liar.peer_id, TOPIC, deliver, lambda peer, message: reply)
    liar.fresh_service()
    return liar


def endless() -> bytes:
    store = MemoryStore()
    store.write(identity(50), b"always the same")
    return catchup.encode_page(catchup.Page(tuple(store.records_after({}, 10**6)), more=True))


def of_another_brief() -> bytes:
    from gossip.envelope import seal

    return catchup.encode_page(
        catchup.Page((seal(identity(50), "finding", "cd" * 32, 1, "", 0, b"").frame,), more=False)
    )


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"garbage", RefusalReason.PAGE_MALFORMED),
        (bytes(catchup.MAX_RESPONSE_BYTES + 1), RefusalReason.PAGE_MALFORMED),
        (endless(), RefusalReason.PAGE_ENDLESS),
        (of_another_brief(), RefusalReason.WRONG_BRIEF),
        (catchup.encode_page(catchup.Page((b"no record",), more=False)), RefusalReason.MALFORMED),
    ],
    ids=["garbage", "oversized", "endless", "another brief", "no record"],
)
async def test_a_lying_responder_is_cut_off_and_the_others_still_asked(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock, reply: bytes, reason: RefusalReason
) -> None:
    liar, honest = lying(network, 8, reply), memory_node(network, 9)
    victim = memory_node(network, 1, bootstrap=[network.address(liar.peer_id), network.address(honest.peer_id)])
    for n in range(20):
        honest.store.write(honest.who, bytes([n]))
        honest.store.mark_sent(honest.store.ids())
    async with liar.running(), honest.running(), victim.running():
        await until(lambda: victim.said(CatchupCutOff))
        await until(lambda: honest.store.ids() <= victim.store.ids())
        await trio.sleep(120)
        assert len(victim.said(CatchupCutOff)) == 1
        assert victim.service.snapshot().counters[f"catchup.cut_off_{reason}"] == 1


async def test_a_full_inbox_drops_with_a_reason_and_lets_the_record_come_again(
    network: MemoryNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = memory_node(network, 1).fresh_service()
    monkeypatch.setattr(service._intake, "_inbox", Inbox(max_records=2))
    author = MemoryStore()
    frames = [author.write(identity(5), bytes([n])).frame for n in range(3)]
    answers = [service._intake.deliver("forwarder", frame) for frame in [*frames, frames[2]]]
    assert answers == [Answer.ACCEPT, Answer.ACCEPT, Answer.IGNORE, Answer.IGNORE]
    assert service.snapshot().counters["admission.inbox_full"] == 2


async def test_refused_content_is_counted(network: MemoryNetwork, autojump_clock: trio.testing.MockClock) -> None:
    one, two = swarm(network, 2)
    one.keep = lambda record, heard: Refusal(RefusalReason.CONTENT, "not a finding")  # type: ignore[method-assign]
    one.fresh_service()
    async with one.running(), two.running():
        await until(lambda: one.service.snapshot().peers)
        await trio.sleep(1)
        two.write(b"?")
        await until(lambda: one.service.snapshot().counters.get("admission.content"))


async def test_a_failing_disk_is_not_taken_for_networking_trouble(
    network: MemoryNetwork, autojump_clock: trio.testing.MockClock
) -> None:
    one, two = swarm(network, 2)

    class DiskFull(Exception):
        pass

    def keep(record: object, heard: object) -> None:
        raise DiskFull

    one.keep = keep  # type: ignore[method-assign]
    one.fresh_service()
    async with two.running():
        two.write(b"x")
        with trio.fail_after(60):
            with pytest.raises(ExceptionGroup) as caught:
                await one.service.run()
    assert caught.group_contains(DiskFull)


async def test_the_sentences_are_for_people(network: MemoryNetwork) -> None:
    peer = Identity(bytes(32)).peer_id
    for event in (
        Listening(("/a",)),
        PeerJoined(peer),
        NetworkBack(),
        BootstrapUnreachable(("/a",)),
        CaughtUp(peer, 3, 0.1),
    ):
        assert "\n" not in str(event)
        assert "(" not in str(event)[:10]

from dataclasses import replace

import trio

from gossip.envelope import Record, seal
from gossip.identity import Identity
from gossip.inbox import Inbox

ONE = seal(Identity(bytes([1]) * 32), "finding", "ab" * 32, 1, "", 0, b"x")


def record(name: str, size: int = 100) -> Record:
    return replace(ONE, id=name, frame=bytes(size))


async def taken(inbox: Inbox) -> list[str]:
    return [(await inbox.get())[1].id for _ in range(len(inbox))]


async def test_each_peer_has_its_turn_and_its_own_order() -> None:
    inbox = Inbox()
    for name in ("f1", "f2", "f3"):
        assert inbox.put("flooder", record(name)) is None
    inbox.put("bob", record("b1"))
    inbox.put("bob", record("b2"))
    assert await taken(inbox) == ["f1", "b1", "f2", "b2", "f3"]


async def test_a_flooder_loses_its_own_newest() -> None:
    inbox = Inbox(max_records=4)
    dropped = [inbox.put("flooder", record(f"f{n}")) for n in range(5)]
    assert [one and one.id for one in dropped] == [None, None, None, None, "f4"]
    assert inbox.put("bob", record("b1")).id == "f3"
    assert await taken(inbox) == ["f0", "b1", "f1", "f2"]


async def test_bytes_count_too() -> None:
    inbox = Inbox(max_bytes=1000)
    assert inbox.put("flooder", record("large", 900)) is None
    assert inbox.put("bob", record("b1", 90)) is None
    assert inbox.put("bob", record("b2", 90)).id == "large"
    assert await taken(inbox) == ["b1", "b2"]


async def test_waiting_for_the_first_ends_when_it_comes(autojump_clock: trio.testing.MockClock) -> None:
    inbox, got = Inbox(), []
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            got.append((await inbox.get())[1].id)

        nursery.start_soon(take)
        await trio.sleep(1)
        inbox.put("bob", record("b1"))
    assert got == ["b1"]
    assert len(inbox) == 0

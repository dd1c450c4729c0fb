"""What py-libp2p leaves to chance or to a thread, and we do not."""

import threading
from types import SimpleNamespace

from libp2p.connection_types import ConnectionType

from gossip.libp2p_connections import prefer_newest
from gossip.libp2p_seen import SeenMessages


def connection(streams: int = 1, kind: ConnectionType = ConnectionType.DIRECT):
    return SimpleNamespace(get_streams=lambda: (None,) * streams, get_connection_type=lambda: kind)


def test_of_equal_connections_the_newest_is_used_after_direct_ones_and_busy_ones():
    swarm = SimpleNamespace()
    prefer_newest(swarm)
    old, new, busy = connection(), connection(), connection(streams=2)
    relayed = connection(streams=9, kind=ConnectionType.RELAYED)
    assert swarm._best_connection([old, new]) is new
    assert swarm._best_connection([new, old]) is old, "the last of the list is the newest, wherever it lies in memory"
    assert swarm._best_connection([busy, new]) is busy
    assert swarm._best_connection([old, relayed]) is old


def test_seen_messages_are_swept_when_it_is_said_and_by_no_thread():
    before = threading.active_count()
    fresh, stale = SeenMessages(ttl=60), SeenMessages(ttl=-60)
    for seen in (fresh, stale):
        assert seen.add(b"x")
        assert not seen.add(b"x")
        seen.sweep()
    assert fresh.has(b"x")
    assert not stale.has(b"x")
    assert threading.active_count() == before

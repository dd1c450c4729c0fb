"""A stranger without manners: one libp2p process that does to a node whatever can be done to it, until it is ended.

    python tests/hostile_peer.py ADDRESS BRIEF

Each round has a new identity, because the last one is banned: garbage on the port, half-open connections and streams,
frames and RPCs that announce more than they may, garbage in the topic, and a flood of signed records. A line of JSON on
standard output for each round: {"round", "sent"}.
"""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import trio  # noqa: E402
from libp2p.custom_types import TProtocol  # noqa: E402
from libp2p.peer.id import ID  # noqa: E402

from gossip import blobs, catchup  # noqa: E402
from gossip.bus import BusFailed, PeerUnreachable  # noqa: E402
from gossip.envelope import MAX_FRAME_BYTES, seal  # noqa: E402
from gossip.identity import Identity  # noqa: E402
from gossip.libp2p_bus import Libp2pBus  # noqa: E402
from gossip.refusal import Answer  # noqa: E402
from swarm.brief import topic_name  # noqa: E402
from swarm.words import BriefId  # noqa: E402

MESHSUB = "/meshsub/1.1.0"
ROUND_SECONDS = 20.0  # at most
STREAMS = 40  # more than one peer may have open
FLOOD = 3000  # records; more than one forwarder may send at once
OPENINGS = (
    os.urandom(500),
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x13/multistream/1.0.0\n" + os.urandom(100),
    b"\xff" * 20,  # a length that never ends
    b"",
)
RPCS = (
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x40",  # 2^62 bytes announced
    b"\xff\xff\xff\x7f" + bytes(1000),  # 256 MB announced
    b"\x64" + b"\xff" * 100,
    b"\xff" * 20,
)
REQUESTS = (b"\xff\xff\xff\xff", b"\x00\x00\x00\x05garba", b"\x00", os.urandom(64), b"\x00\x00\x00\x00")


class Stranger:
    def __init__(self, address: str, brief: str) -> None:
        self.address, self.brief = address, brief
        self.target = address.rsplit("/", 1)[1]
        self.sent = 0

    async def knock(self, held: list[trio.SocketStream]) -> None:
        """Connections that say something else than libp2p, or nothing, and stay."""
        for data in OPENINGS * 4:
            with suppress(OSError, trio.BrokenResourceError):
                held.append(await trio.open_tcp_stream("127.0.0.1", int(self.address.split("/")[4])))
                await held[-1].send_all(data)
                self.sent += 1

    async def half_open(self, bus: Libp2pBus) -> None:
        """Streams of every protocol that get the beginning of something, or something that is nothing."""
        assert bus._host is not None
        endings = {MESHSUB: RPCS, catchup.PROTOCOL: REQUESTS, blobs.PROTOCOL: REQUESTS}
        for protocol, beginnings in endings.items():
            for n in range(STREAMS):
                with suppress(Exception):  # reset at once, or we are banned by now
                    stream = await bus._host.new_stream(ID.from_base58(self.target), [TProtocol(protocol)])
                    await stream.write(beginnings[n % len(beginnings)])
                    self.sent += 1

    async def flood(self, bus: Libp2pBus, identity: Identity) -> None:
        """First records that are signed and say nothing, then bytes that are none, then too many of them."""
        previous = ""
        for seq in range(1, FLOOD):
            record = seal(identity, "finding", self.brief, seq, previous, 1000, os.urandom(200))
            previous = record.id
            await bus.publish(record.frame)
            self.sent += 1
            if seq % 50 == 0:
                await trio.sleep(0.01)
        for n in range(30):
            await bus.publish(os.urandom(MAX_FRAME_BYTES if n % 10 == 0 else 100))
            self.sent += 1

    async def round(self) -> None:
        identity = Identity(os.urandom(32))
        held: list[trio.SocketStream] = []
        topic = topic_name(BriefId(self.brief))
        bus = Libp2pBus(
            identity,
            topic,
            ["/ip4/127.0.0.1/tcp/0"],
            lambda *_: Answer.IGNORE,
            lambda *_: b"\xc1",
            wall_clock=time.time,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.run)
            await self.knock(held)
            with suppress(PeerUnreachable, BusFailed):
                await bus.dial(self.address)
                with trio.move_on_after(3):
                    while self.target not in bus.peers():
                        await trio.sleep(0.05)
                await self.flood(bus, identity)
                await self.half_open(bus)
            nursery.cancel_scope.cancel()
        for stream in held:
            await stream.aclose()


async def main() -> None:
    stranger = Stranger(sys.argv[1], sys.argv[2])
    number = 0
    while True:
        number += 1
        with trio.move_on_after(ROUND_SECONDS):
            await stranger.round()
        sys.stdout.write(json.dumps({"round": number, "sent": stranger.sent}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main)

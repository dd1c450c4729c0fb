"""One node of the gossip benchmark: everything of a real node's network side, and findings when it is told to.

    python tests/bench/gossip_peer.py HOME BRIEF [BOOTSTRAP ...]

Lines on standard input: `publish` makes one finding of about 2 KB, of a config nobody has tried; `fill N` makes N of
them at once, before anybody is told. Lines on standard output are JSON: {"address"}, {"peers"}, {"sent", "at"},
{"got", "at"}, {"caught_up", "seconds"}; `at` is the machine's clock in nanoseconds, the same for all processes here.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

import trio

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from samples import make_finding  # noqa: E402

from gossip.identity import load_or_create  # noqa: E402
from node.events import Events, FindingReceived, Listening, PeersChanged  # noqa: E402
from node.home import Home  # noqa: E402
from node.journal import Journal  # noqa: E402
from node.network import Network, NetworkSettings  # noqa: E402
from node.notebook import Notebook  # noqa: E402
from swarm.brief import brief_id, decode_brief  # noqa: E402
from swarm.trial import CurvePoint  # noqa: E402

RECORD_BYTES = 2048  # what a finding of a night comes to, its curve thinned
COMMIT = "c" * 40


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class Peer:
    def __init__(self, home: Home, brief_bytes: bytes, bootstrap: tuple[str, ...]) -> None:
        identity = load_or_create(home.key)
        self.events = Events()
        self.events.listen(self.hear)
        brief = decode_brief(brief_bytes)
        self.notebook = Notebook(brief, Journal(home.journal).of(brief_id(brief_bytes)), identity, self.events)
        settings = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0",), bootstrap=bootstrap, mdns=False)
        self.network = Network(home, identity, self.notebook, settings, self.events)
        self.rng = random.Random(identity.peer_id)
        self.made = 0

    def hear(self, event: object) -> None:
        match event:
            case Listening():
                say(address=event.addresses[0])
            case PeersChanged():
                say(peers=len(event.peers))
            case FindingReceived():
                say(got=event.id, at=time.time_ns())
            case _:
                pass

    def publish(self) -> None:
        """A finding as long as real ones are, its trial's curve filled up to that."""
        self.made += 1
        finding = make_finding(
            self.notebook.brief, self.made, 1 + self.rng.random(), learning_rate=self.rng.uniform(1e-4, 1e-2)
        )
        short = len(self.notebook.seal(finding).frame)
        points = [
            CurvePoint(step=9 * n, seconds=n / 7, train_loss=1 + self.rng.random(), progress=n / 200)
            for n in range(200)
        ]
        first = finding.trials[0]
        per_point = 0
        for count in (8, 0):
            count = count or max(0, (RECORD_BYTES - short) // max(1, per_point))
            longer = finding.model_copy(update={"trials": (first.model_copy(update={"curve": tuple(points[:count])}),)})
            record = self.notebook.seal(longer)
            per_point = (len(record.frame) - short) // 8
        say(sent=record.id, at=time.time_ns())
        self.notebook.append_own(record, COMMIT)

    async def obey(self) -> None:
        async for line in trio.wrap_file(sys.stdin):
            word, _, count = line.strip().partition(" ")
            if word == "publish":
                self.publish()
            elif word == "fill":
                for _ in range(int(count)):
                    self.publish()
                say(filled=int(count))


async def main() -> None:
    home = Home(Path(sys.argv[1]))
    home.create()
    peer = Peer(home, Path(sys.argv[2]).read_bytes(), tuple(sys.argv[3:]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.network.run)
        await peer.obey()
        nursery.cancel_scope.cancel()
    os._exit(0)


if __name__ == "__main__":
    trio.run(main)

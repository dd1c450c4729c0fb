"""A node's network side in a home of its own, on a network in memory."""

from contextlib import contextmanager

from samples import TRACK, make_finding
from small_lab import BRIEF, ME, notebook_at, until

from gossip.memory_bus import MemoryNetwork
from node.claims import Claims
from node.events import Events, Listening, Notice
from node.home import Home
from node.network import Network, NetworkSettings


class NetworkedHome:
    """`at`: where the network has it, for one whose identity somebody else has, too."""

    def __init__(self, path, identity, net: MemoryNetwork, *, at: str = "", bootstrap=(), claims=False, **settings):
        place = at or identity.peer_id

        class InMemory(Network):
            def _bus_factory(self, topic, listen):
                return lambda deliver, serve: net.bus(place, topic, deliver, serve)

        self.home, self.events, self.said, self.address = Home(path), Events(), [], net.address(place)
        self.home.create()
        self.events.listen(self.said.append)
        self.notebook = notebook_at(self.home.journal, self.events, identity=identity)
        chosen = NetworkSettings(listen=(), bootstrap=tuple(bootstrap), mdns=False, **settings)
        self.claims = Claims(self.notebook, TRACK)
        heard = self.claims if claims else None
        self.network = InMemory(self.home, identity, self.notebook, chosen, self.events, claims=heard)

    def happened(self, kind):
        return [event for event in self.said if isinstance(event, kind)]

    def notices(self) -> list[str]:
        return [event.text for event in self.happened(Notice)]

    def warnings(self) -> list[str]:
        return [event.text for event in self.happened(Notice) if event.warning]

    def find(self, number: int, bpb: float = 2.0) -> str:
        """Make a finding and tell it; its id."""
        return self.notebook.append_own(self.notebook.seal(make_finding(BRIEF, number, bpb)), f"{number:040}").id

    def findings(self) -> list[str]:
        return [entry.id for entry in self.notebook.ledger.entries()]

    def close(self) -> None:
        self.notebook.journal.validate()
        self.notebook.journal.journal.close()


@contextmanager
def homes_on(net: MemoryNetwork, folder):
    """Makes them, and looks at the journal of each in the end."""
    made: list[NetworkedHome] = []

    def make(identity=ME, **options) -> NetworkedHome:
        made.append(NetworkedHome(folder / str(len(made)), identity, net, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


async def running(nursery, *nodes: NetworkedHome) -> None:
    for one in nodes:
        nursery.start_soon(one.network.run)
    await until(lambda: all(one.happened(Listening) for one in nodes))

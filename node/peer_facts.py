"""What is known of every peer of a topic, as JSON values: what `swarm peers` answers. docs/cli.md names every key.

Put together from the journal, the files that a running node writes, and those of lists and reputation; works whether or
not the node runs, and changes nothing.
"""

from gossip.doorkeeper import PeerLists
from gossip.reputation import Standing
from node.clock import rfc3339
from node.clock_skew import ahead_of_us
from node.network import load_reputation
from node.network_file import read_network
from node.peer_lists import load_peer_lists
from node.text import clean
from node.topic_journal import Fork
from node.views import Archive, Json
from swarm.words import PeerId


def peers(archive: Archive, now: float) -> Json:
    """Everybody but this node itself, who is connected first. `now`: unix seconds."""
    connected = set(archive.state.get("peers", []) if archive.running else [])
    counts = archive.records.counts()
    forks = {fork.author: fork for fork in archive.records.forks()}
    standings = {standing.peer: standing for standing in load_reputation(archive.home)}
    network = read_network(archive.home, archive.brief_id)
    lists = _lists(archive, network)
    traffic, since = network.get("traffic", {}).get("peers", {}), network.get("peers", {})
    claimed: Json = network.get("claims", {}).get("others", {}) if archive.running else {}
    ahead = ahead_of_us(archive.records.latest_arrivals())
    known = {*connected, *counts, *forks, *standings, *lists.allow, *lists.deny, *traffic} - {archive.me}
    rows = [
        {
            "peer": peer,
            "name": _name(archive, peer),
            "connected": peer in connected,
            "connected_since": since.get(peer) if peer in connected else None,
            "traffic": traffic.get(peer),
            "clock_ahead_seconds": round(ahead[peer], 1) if peer in ahead else None,
            "records": counts.get(peer, 0),
            "claims": claimed.get(peer, 0),
            "findings": len(archive.ledger.entries(author=PeerId(peer))),
            **_standing(standings.get(peer, Standing(peer)), now),
            "equivocation": _fork(forks.get(peer)),
            "list": "deny" if peer in lists.deny else "allow" if peer in lists.allow else None,
        }
        for peer in sorted(known, key=lambda peer: (peer not in connected, -counts.get(peer, 0), peer))
    ]
    return {
        "peers": rows,
        "running": archive.running,
        "traffic": network.get("traffic", {}).get("totals"),
        "counters": network.get("counters", {}),
        "counted_at": network.get("written_at"),
        "own_equivocation": _fork(forks.get(archive.me)),
    }


def _lists(archive: Archive, network: Json) -> PeerLists:
    """The file's, and those of the options of a node that runs."""
    options: Json = network.get("lists", {}) if archive.running else {}
    return load_peer_lists(archive.home.path, options.get("allow", ()), options.get("deny", ()))


def _name(archive: Archive, peer: str) -> str:
    """As the peer called itself last."""
    entries = archive.ledger.entries(author=PeerId(peer))
    return clean(max(entries, key=lambda entry: entry.seq).finding.node_name, 40) if entries else ""


def _standing(standing: Standing, now: float) -> Json:
    left = standing.seconds_left(now)
    ban = {"seconds_left": round(left), "until": rfc3339(now + left), "reason": clean(standing.reason, 64)}
    return {"strikes": round(standing.strikes_at(now), 2), "ban": ban if left > 0 else None}


def _fork(fork: Fork | None) -> Json | None:
    """The two records that contradict each other."""
    if fork is None:
        return None
    return {
        "records": [{"id": one.id, "number": one.seq} for one in (fork.first, fork.second)],
        "seen_at": rfc3339(fork.at),
    }

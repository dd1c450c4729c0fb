"""What the network side of a running node counts, on disk: for `swarm peers`, `metrics`, `explain` and `doctor`.

A file of its own, `network.json`, beside the state file: it is larger, strangers make it grow (up to about half a
megabyte), and it is written every few seconds, not with each event. Owns its form; docs/cli.md has what is shown of it.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from gossip.doorkeeper import PeerLists
from gossip.heard import Refused, RefusedRecords
from gossip.service import Snapshot
from gossip.traffic import Flow, Kind
from node.clock import rfc3339
from node.home import Home, write_atomically
from node.text import clean

FILE_NAME = "network.json"
MAX_PEERS = 256  # whose traffic is written; who was heard last
Json = dict[str, Any]  # Any: a JSON document


def network_facts(
    snapshot: Snapshot, refused: RefusedRecords, connected_since: Mapping[str, float], lists: PeerLists, now: float
) -> Json:
    """`connected_since`: unix seconds, of the peers of the topic. `now`: unix seconds."""
    latest = dict(list(snapshot.traffic.peers.items())[-MAX_PEERS:])
    return {
        "format": 1,
        "written_at": rfc3339(now),
        "connections": len(snapshot.connected),
        "peers": {peer: rfc3339(since) for peer, since in sorted(connected_since.items())},
        "counters": snapshot.counters,
        "traffic": {
            "totals": _flows(snapshot.traffic.totals),
            "peers": {peer: _flows(flows) for peer, flows in latest.items()},
        },
        "lists": {"allow": sorted(lists.allow), "deny": sorted(lists.deny)},
        "refused": [refused_json(one) for one in refused],
    }


def claim_facts(own: Sequence[tuple[str, float]], others: Mapping[str, int]) -> Json:
    """`own`: key and seconds left; `others`: how much each peer has claimed, of as many peers as are written."""
    mine = [{"key": key, "seconds_left": round(left)} for key, left in own]
    return {"claims": {"own": mine, "others": dict(list(others.items())[-MAX_PEERS:])}}


def refused_json(one: Refused) -> Json:
    return {
        "id": one.id,
        "peer": one.heard.peer,
        "way": one.heard.way.value,
        "reason": one.reason.value,
        "sentence": clean(one.sentence, 200),
        "times": one.times,
        "first_at": rfc3339(one.first_at),
        "last_at": rfc3339(one.last_at),
    }


def write_network(home: Home, brief_id: str, facts: Json) -> None:
    """A full disk makes it old, nothing worse."""
    with contextlib.suppress(OSError):
        text = json.dumps({"brief_id": brief_id} | facts, separators=(",", ":"))
        write_atomically(home.path / FILE_NAME, text.encode(), mode=0o600)


def read_network(home: Home, brief_id: str | None = None) -> Json:
    """What was written last, of a brief if one is named; empty if there is nothing that can be read."""
    try:
        written: object = json.loads((home.path / FILE_NAME).read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(written, dict) or cast("Json", written).get("format") != 1:
        return {}
    facts = cast("Json", written)
    return facts if brief_id in (None, facts.get("brief_id")) else {}


def _flows(flows: Mapping[Kind, Flow]) -> Json:
    return {kind.value: asdict(flow) for kind, flow in flows.items()}

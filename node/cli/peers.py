"""`swarm peers`: everybody this node knows in a topic, and what it thinks of them."""

from datetime import datetime

import click
from rich.console import Console
from rich.text import Text

from node import views
from node.cli.look import print_json
from node.cli.options import home_option, json_option, topic_option
from node.cli.paper import row, table
from node.clock import wall_clock
from node.clock_skew import in_words
from node.home import Home
from node.peer_facts import peers as peer_facts
from swarm.words import short


@click.command()
@home_option
@topic_option
@json_option
def peers(home: Home, topic: str | None, as_json: bool) -> None:
    """Everybody this node knows: who is connected, and who is kept out or ignored."""
    with views.open_archive(home, topic) as archive:
        facts = peer_facts(archive, wall_clock())
    if as_json:
        print_json(facts)
        return
    console = Console()
    if facts["own_equivocation"]:
        console.print(
            "this node's identity is used by another machine, too: what is found here is told to nobody; stop the node "
            "and move its identity.key away",
            style="bold",
        )
    if not facts["peers"]:
        console.print("no peers yet")
        return
    made = table(("peer", ""), ("here for", ""), ("in", "right"), ("out", "right"), ("records", "right"), ("", "wide"))
    for peer in facts["peers"]:
        here = _here_for(peer, wall_clock())
        amounts = (amount(peer["traffic"], way) for way in ("in", "out"))
        made.add_row(*row(short(peer["peer"]), here, *amounts, peer["records"], _remarks(peer)))
    console.print(made)
    if facts["traffic"]:
        console.print(Text(_totals(facts["traffic"]), style="dim"), soft_wrap=True)


def _here_for(peer: views.Json, now: float) -> str:
    if not peer["connected"]:
        return "-"
    since = peer["connected_since"]
    return "yes" if since is None else duration(max(0.0, now - datetime.fromisoformat(since).timestamp()))


def amount(flows: views.Json | None, way: str) -> str:
    """Bytes of all kinds, '1.2 MB'; empty if nothing was counted."""
    return "" if flows is None else in_bytes(sum(flow[f"bytes_{way}"] for flow in flows.values()))


def in_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _totals(traffic: views.Json) -> str:
    kinds = [
        f"{kind} {in_bytes(flow['bytes_in'])} in, {in_bytes(flow['bytes_out'])} out" for kind, flow in traffic.items()
    ]
    return f"since the start: {'; '.join(kinds)}"


def _remarks(peer: views.Json) -> str:
    remarks: list[str] = [peer["name"]] if peer["name"] else []
    if clock := in_words(peer["clock_ahead_seconds"] or 0.0):
        remarks.append(f"clock {clock}")
    if peer["strikes"]:
        remarks.append(f"{peer['strikes']:g} strikes")
    if peer["equivocation"]:
        one, other = (f"{record['number']} ({short(record['id'])})" for record in peer["equivocation"]["records"])
        remarks.append(f"ignored: its records {one} and {other} contradict each other")
    if peer["ban"]:
        remarks.append(f"banned for {duration(peer['ban']['seconds_left'])} more: {peer['ban']['reason']}")
    if peer["list"]:
        remarks.append("denied" if peer["list"] == "deny" else "allowed")
    return "; ".join(remarks)


def duration(seconds: float) -> str:
    """'45 s', '12 min', '3.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

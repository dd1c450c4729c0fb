"""`swarm fetch`: a peer's branch, now."""

from typing import cast

import click
import trio

from gossip.identity import load_or_create
from gossip.ticket import Ticket
from node.branches.by_hand import Goal, Json, fetch_of, goal_of_peer, goal_of_ticket, topic_of_home, visiting
from node.branches.door import through_the_door
from node.branches.fetching import Fetcher
from node.branches.healing import heal_cuts
from node.branches.quiet_git import QuietGit
from node.branches.quotas import FILE_NAME, Quotas
from node.branches.service import QUARANTINE
from node.cli.launch import TicketType
from node.cli.look import print_json
from node.cli.options import PeerType, home_option, json_option
from node.home import Home
from node.replays.alone import expected_failure
from node.results.repository import open_results
from swarm.words import short


@click.command()
@click.argument("peer", type=PeerType())
@home_option
@click.option(
    "--topic", metavar="NAME", default=None, help="Of another topic of this home than the one last worked on."
)
@click.option("--from", "ticket", type=TicketType(), metavar="TICKET", default=None,
              help="Where to look for it, if no node runs here.")  # fmt: skip
@json_option
def fetch(peer: str, home: Home, topic: str | None, ticket: Ticket | None, as_json: bool) -> None:
    """Get the branch of a PEER into the results repository, from the peer or from whoever has it."""
    home.require()
    try:
        facts = trio.run(_fetch, home, peer, topic, ticket)
    except BaseExceptionGroup as group:
        raise expected_failure(group) from None
    if as_json:
        print_json(facts)
        return
    if not facts["fetched"]:
        click.echo(f"{facts['branch']} is up to date here")
        return
    many = "one commit" if facts["commits"] == 1 else f"{facts['commits']} commits"
    click.echo(
        f"{facts['branch']} is at {facts['head'][:10]} now: {many}, {facts['bytes'] / 1024:.0f} kB from "
        f"{short(facts['source'])}"
    )


async def _fetch(home: Home, peer: str, topic: str | None, ticket: Ticket | None) -> Json:
    if home.running():
        request = {"v": 1, "do": "fetch", "topic": topic or "", "peer": peer}
        async with through_the_door(home, request) as (answer, _):
            return cast("Json", answer["result"])
    goal = (
        goal_of_peer(home, *topic_of_home(home, topic or ""), peer) if ticket is None else goal_of_ticket(ticket, peer)
    )
    with home.lock():
        return await _visit(home, goal)


async def _visit(home: Home, goal: Goal) -> Json:
    me = load_or_create(home.key).peer_id
    quotas = Quotas(home.path / FILE_NAME)
    await open_results(home.results, me, goal.topic).prepare()
    await heal_cuts(QuietGit(home.results), quotas.kept)
    async with visiting(home, goal, as_home=True) as bus:
        quarantine = home.path / QUARANTINE
        fetcher = Fetcher(home.results, quarantine, me, goal.brief, goal.topic, bus.join, quotas)
        return await fetch_of(goal.peer, fetcher, bus.connected())

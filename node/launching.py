"""What a person asked for when a node was started, and what can be said of it before anything starts.

Owns the checks that need no network and no hardware. What runs is node/app.py's.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from gossip.addresses import parse_address, parse_dialable
from gossip.refusal import GossipError
from gossip.ticket import Ticket
from node.branches.following import Mode
from node.branches.quotas import DEFAULT_QUOTA_MB
from node.browse.address import PageAddress
from node.events import Events, ModelAsked
from node.home import Home
from node.ideas import agent_of
from node.metrics_server import MetricsAddress
from node.network import NetworkSettings
from node.peer_lists import load_peer_lists
from node.private import PrivacyConflict, check_private_option, swarm_key
from node.proposers.auto import Kind, ModelOptions, make_proposer
from node.proposers.port import Proposer
from node.proposers.spending import NO_CAPS, Caps, Usage
from swarm.words import BriefId, SwarmError


class UsageError(SwarmError):
    """What was asked for cannot be; the command line exits with 2."""


@dataclass(frozen=True)
class Launch:
    """What a person asked for."""

    topic: str | None  # None: what the ticket is for
    home: Home
    ticket: Ticket | None = None
    budget_s: float | None = None
    max_experiments: int | None = None
    until: float | None = None  # seconds since the epoch
    name: str | None = None
    listen: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    mdns: bool = True
    proposer: Kind = "auto"
    model: str | None = None
    agent_command: str | None = None
    remote: str | None = None
    branches: Mode = "full"  # what is fetched of peers' branches by itself
    fetch_quota_mb: int = DEFAULT_QUOTA_MB
    train: bool = True
    unsafe: bool = False
    early_stop: bool = True
    peer_code: bool | None = None  # whether peers' changes of train.py are tried; None: where that is safe enough
    ticket_file: Path | None = None
    private: bool = False
    metrics: MetricsAddress | None = None  # where to serve them
    page: PageAddress | None = None  # where to serve the page to browse
    director_model: str | None = None
    director_every: int = 20
    caps: Caps = NO_CAPS  # of what a language model may take


def swarm_key_of(launch: Launch, brief: BriefId) -> bytes | None:
    try:
        return swarm_key(launch.home, brief, asked=launch.private, ticket=launch.ticket)
    except PrivacyConflict as error:
        raise UsageError(str(error)) from None


def settings_of(launch: Launch) -> NetworkSettings:
    """Checked here, before anything starts: an address nobody can dial is a usage error."""
    for option, addresses, parse in (
        ("--listen", launch.listen, parse_address),
        ("--bootstrap", launch.bootstrap, parse_dialable),
    ):
        for address in addresses:
            try:
                parse(address)
            except GossipError as error:
                raise UsageError(f"{option}: {error}") from None
    try:
        check_private_option(launch.private, launch.ticket)
    except PrivacyConflict as error:
        raise UsageError(str(error)) from None
    joined = launch.ticket.addresses if launch.ticket else ()
    return NetworkSettings(
        listen=launch.listen,
        bootstrap=(*joined, *launch.bootstrap),
        mdns=launch.mdns,
        ticket_file=launch.ticket_file,
        lists=load_peer_lists(launch.home.path, launch.allow, launch.deny),
    )


def proposer_of(launch: Launch, events: Events) -> Proposer:
    def told(by: str, outcome: str, usage: Usage) -> None:
        events.emit(ModelAsked(by=by, outcome=outcome, **usage.as_json()))

    options = ModelOptions(launch.director_model, launch.director_every, launch.caps, launch.home.path)
    try:
        agent = agent_of(launch.agent_command, launch.peer_code, launch.home, events)
        return make_proposer(
            launch.proposer, launch.model, os.environ, lambda text: events.notice(text), options, told, agent
        )
    except SwarmError as error:
        raise UsageError(str(error)) from None

"""`swarm launch` and `swarm join`: start a node."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import trio

from gossip.ticket import Ticket, TicketError, decode_ticket
from node.app import run_node
from node.branches.following import MODES, Mode
from node.branches.quotas import DEFAULT_QUOTA_MB
from node.browse.address import PageAddress
from node.cli.options import PageAddressType, PeerType, home_option
from node.home import Home
from node.imported import refuse_work_on
from node.launching import Launch, UsageError
from node.metrics_server import MetricsAddress
from node.proposers.auto import KINDS, Kind
from node.proposers.spending import Caps
from node.screen import make_screen

F = TypeVar("F", bound=Callable[..., Any])
MAX_BUDGET_SECONDS = 7 * 24 * 3600


def parse_until(value: str, now: datetime) -> datetime:
    """'07:30' (the next one) or an RFC 3339 time. Raises ValueError."""
    try:
        clock = datetime.strptime(value, "%H:%M")  # noqa: DTZ007 - a time of day in the zone of `now`
    except ValueError:
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    moment = now.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


class BudgetType(click.FloatRange):
    name = "SECONDS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = super().convert(cast("float", value), param, ctx)  # really text; click names the type it will have
        if math.isnan(seconds):  # no comparison with a bound is false for it
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


class CostType(click.FloatRange):
    name = "DOLLARS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        cost = super().convert(cast("float", str(value).removeprefix("$")), param, ctx)  # text, see BudgetType
        if not math.isfinite(cost):  # no comparison with a bound is false for it
            self.fail(f"{value!r} is not an amount of dollars", param, ctx)
        return cost


class UntilType(click.ParamType[datetime]):
    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        now = datetime.now().astimezone()
        try:
            moment = parse_until(str(value), now)
        except ValueError:
            self.fail(f"{value!r} is not a time; write 07:30 or 2026-11-22T07:30:00+01:00", param, ctx)
        if moment <= now:
            self.fail(f"{value!r} is in the past", param, ctx)
        return moment


class MetricsType(click.ParamType[MetricsAddress]):
    name = "[HOST:]PORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> MetricsAddress:
        if isinstance(value, MetricsAddress):
            return value
        host, colon, port = str(value).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            ip = str(ip_address(host)) if colon else "127.0.0.1"
            number = int(port) if port.isascii() and port.isdigit() else -1
        except ValueError:
            ip, number = "", -1
        if not 0 <= number <= 65_535:
            self.fail(f"{value!r} is not a port, nor an IP address and a port such as 192.0.2.7:9464", param, ctx)
        return MetricsAddress(ip, number)


class AgentCommandType(click.ParamType[str]):
    name = "COMMAND"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not str(value).strip() or "\0" in str(value):
            self.fail("it is empty; give a command of the shell, such as 'sh idea.sh'", param, ctx)
        return str(value)


class TicketType(click.ParamType[Ticket]):
    name = "TICKET"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Ticket:
        if isinstance(value, Ticket):
            return value
        try:
            return decode_ticket(str(value))
        except TicketError as error:
            self.fail(str(error), param, ctx)


def node_options(command: F) -> F:
    """Options that launch and join share."""
    options = [
        home_option,
        click.option("--budget", type=BudgetType(min=1, max=MAX_BUDGET_SECONDS), metavar="SECONDS",
                     help="Seconds of one trial; by default what the topic says for this hardware."),
        click.option("--max-experiments", type=click.IntRange(min=1), metavar="N", help="Stop after N experiments."),
        click.option("--until", type=UntilType(), help="Stop at a time: 07:30, or RFC 3339."),
        click.option("--name", metavar="TEXT", help="What others see this node called."),
        click.option("--listen", multiple=True, metavar="MULTIADDR",
                     help="Where to listen, e.g. /ip4/0.0.0.0/tcp/4001. Repeatable."),
        click.option("--bootstrap", multiple=True, metavar="MULTIADDR",
                     help="A peer to connect to, ending in /p2p/PEER. Repeatable."),
        click.option("--allow", multiple=True, type=PeerType(), metavar="PEER",
                     help="Let in only this peer, by peer id. Repeatable."),
        click.option("--deny", multiple=True, type=PeerType(), metavar="PEER",
                     help="Keep a peer out, and its findings. Repeatable."),
        click.option("--mdns/--no-mdns", default=True, help="Find peers on the local network."),
        click.option("--proposer", type=click.Choice(KINDS), default="auto", show_default=True, metavar="NAME",
                     help="Who has the ideas. auto: a portfolio, with a language model in it if one is configured; "
                          "classic: without; llm; command: the program of --agent-command; or one arm alone: "
                          + ", ".join(KINDS[3:-1]) + "."),
        click.option("--model", metavar="NAME", envvar="OPENAI_MODEL", help="Language model, for OPENAI_BASE_URL."),
        click.option("--agent-command", type=AgentCommandType(),
                     help="A program that has ideas: a coding agent or a script. Run by the shell in a checkout of the "
                          "best, with your rights; its edit of train.py or config.json is tried."),
        click.option("--director-model", metavar="NAME",
                     help="Another model, at the same endpoint, that reviews the progress and writes the direction."),
        click.option("--director-every", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
                     help="Own runs between two reviews."),
        click.option("--max-cost", type=CostType(min=0), metavar="DOLLARS",
                     help="What language models may cost this home in all."),
        click.option("--max-cost-per-day", type=CostType(min=0), metavar="DOLLARS", help="... and on one day (UTC)."),
        click.option("--max-tokens", type=click.IntRange(min=0), metavar="N",
                     help="Tokens that language models may take in all, in and out."),
        click.option("--max-tokens-per-day", type=click.IntRange(min=0), metavar="N", help="... and on one day (UTC)."),
        click.option("--remote", metavar="URL", help="Also push the branch to this git remote."),
        click.option("--branches", type=click.Choice(MODES), default="full", show_default=True, metavar="MODE",
                     help="Fetch peers' branches: full, shallow (the newest commit of each) or off."),
        click.option("--fetch-quota", "fetch_quota_mb", type=click.IntRange(min=1, max=1 << 20), metavar="MB",
                     default=DEFAULT_QUOTA_MB, show_default=True,
                     help="How much of peers' branches is kept; a quarter of it at most of one peer."),
        click.option("--no-train", is_flag=True, help="Keep records and introduce peers, but do not research."),
        click.option("--unsafe", is_flag=True,
                     help="Where no sandbox works: run code that the language model wrote all the same."),
        click.option("--early-stop/--no-early-stop", default=True,
                     help="Give a trial up when its loss curve is hopeless against the best."),
        click.option("--peer-code/--no-peer-code", default=None,
                     help="Try peers' changes of train.py, in the sandbox; by default on a CPU where one works."),
        click.option("--ticket-file", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH",
                     help="Also write the ticket to a file."),
        click.option("--private", is_flag=True,
                     help="A private swarm: only who has its ticket can connect. Remembered."),
        click.option("--metrics-port", "metrics", type=MetricsType(),
                     help="Serve Prometheus metrics at /metrics; on 127.0.0.1 unless an address is given."),
        click.option("--dashboard", "page", type=PageAddressType(off=True), default=PageAddress,
                     help="Where to serve the page to browse; a free port of 127.0.0.1 unless one is named."),
        click.option("--dashboard-expose", is_flag=True,
                     help="Allow --dashboard an address that other machines can reach; the page asks for its token."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object per event."),
        click.option("--plain", is_flag=True, help="Print plain lines even on a terminal."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--topic", "reference", metavar="REF", default="pysource", show_default=True,
              help="A topic's name (see: swarm topic list) or a topic file, TOPIC.toml.")  # fmt: skip
@node_options
def launch(reference: str, **options: Any) -> None:  # Any: click hands over parsed options
    """Start a node: research a topic, share what it finds."""
    _start(reference, None, **options)


@click.command()
@click.argument("ticket", type=TicketType())
@click.option("--topic", "reference", metavar="REF", default=None,
              help="A topic or topic file to take the text from, instead of from peers.")  # fmt: skip
@node_options
def join(ticket: Ticket, reference: str | None, **options: Any) -> None:  # Any: click hands over parsed options
    """Start a node in the swarm of a TICKET that somebody's node printed."""
    _start(reference, ticket, **options)


def check_page_address(address: PageAddress | None, expose: bool) -> None:
    """Nobody puts the page before strangers by a slip."""
    if address is not None and not address.is_loopback and not expose:
        raise UsageError(
            f"--dashboard {address.host} can be reached by other machines; if that is meant, add --dashboard-expose"
        )


def _start(
    reference: str | None,
    ticket: Ticket | None,
    *,
    home: Home,
    budget: float | None,
    max_experiments: int | None,
    until: datetime | None,
    name: str | None,
    listen: tuple[str, ...],
    bootstrap: tuple[str, ...],
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    mdns: bool,
    proposer: Kind,
    model: str | None,
    agent_command: str | None,
    director_model: str | None,
    director_every: int,
    max_cost: float | None,
    max_cost_per_day: float | None,
    max_tokens: int | None,
    max_tokens_per_day: int | None,
    remote: str | None,
    branches: Mode,
    fetch_quota_mb: int,
    no_train: bool,
    unsafe: bool,
    early_stop: bool,
    peer_code: bool | None,
    ticket_file: Path | None,
    private: bool,
    metrics: MetricsAddress | None,
    page: PageAddress | None,
    dashboard_expose: bool,
    as_json: bool,
    plain: bool,
) -> None:
    check_page_address(page, dashboard_expose)
    if reference is not None:
        refuse_work_on(home, reference)
    chosen = Launch(
        topic=reference,
        ticket=ticket,
        home=home,
        budget_s=budget,
        max_experiments=max_experiments,
        until=until.timestamp() if until else None,
        name=name,
        listen=listen,
        bootstrap=bootstrap,
        allow=allow,
        deny=deny,
        mdns=mdns,
        proposer=proposer,
        model=model,
        agent_command=agent_command,
        director_model=director_model,
        director_every=director_every,
        caps=Caps(max_cost, max_cost_per_day, max_tokens, max_tokens_per_day),
        remote=remote,
        branches=branches,
        fetch_quota_mb=fetch_quota_mb,
        train=not no_train,
        unsafe=unsafe,
        early_stop=early_stop,
        peer_code=peer_code,
        ticket_file=ticket_file,
        private=private,
        metrics=metrics,
        page=page,
    )
    screen = make_screen("json" if as_json else "plain" if plain else "auto")
    try:
        trio.run(run_node, chosen, screen)
    finally:
        screen.close()

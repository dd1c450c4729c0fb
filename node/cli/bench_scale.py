"""`swarm bench scale`: what a swarm of thousands would cost each node, by the rules, on an event heap."""

import json

import click

from node.cli.options import json_option

GOALS = {"kilobytes_per_second": ("<=", 20.0)}  # a node's, in and out together


@click.command("scale")
@click.option("--nodes", type=click.IntRange(10, 20_000), default=1000, show_default=True, help="Of the swarm.")
@click.option("--hours", type=click.FloatRange(0.5, 24.0), default=2.0, show_default=True, help="Virtual.")
@click.option(
    "--after",
    type=click.FloatRange(0.1, 24 * 365),
    default=8.0,
    show_default=True,
    help="Hours after which a newcomer joins.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another one, another swarm.")
@json_option
def scale(nodes: int, hours: float, after: float, seed: int, as_json: bool) -> None:
    """Bytes, messages and delays of a large swarm; what a newcomer fetches, and the memory of its ledger."""
    from node.simulation.goals import figure_lines, report
    from node.simulation.large import LargeRun, LargeSwarm, newcomer
    from node.simulation.sample_finding import ledger_bytes_per_finding

    swarm = LargeSwarm(nodes=nodes, hours=hours)
    found = LargeRun(swarm, seed).run() | newcomer(swarm, after)
    each = ledger_bytes_per_finding()
    found |= {"ledger_bytes_per_finding": each, "ledger_megabytes": each * found["newcomer_findings"] / 1e6}
    if not as_json:
        click.echo("\n".join(figure_lines(found, GOALS)))
    given = ["--nodes", str(nodes), "--hours", str(hours), "--after", str(after), "--seed", str(seed)]
    click.echo(json.dumps(report("scale", found, GOALS, given)))

"""`swarm metrics`: what a running node counts, in the text format of Prometheus."""

import click

from node.cli.options import home_option
from node.home import Home
from node.network_file import read_network


@click.command()
@home_option
def metrics(home: Home) -> None:
    """Counters of the node as Prometheus metrics; launch --metrics-port serves the same."""
    from node.metrics import exposition  # 60 ms to import

    home.require()
    text = exposition(home.read_state(), read_network(home), running=home.running())
    click.echo(text.decode(), nl=False)

"""`swarm bench`: what searching comes to, on what real trials taught. Nothing is trained."""

import click

from node.cli.bench_proposers import proposers
from node.cli.bench_scale import scale
from node.cli.bench_scaling import scaling
from node.cli.bench_sharing import sharing
from node.cli.bench_sim import sim


@click.group()
def bench() -> None:
    """Compare ways to search, on a model of recorded trials."""


bench.add_command(proposers)
bench.add_command(sharing)
bench.add_command(scaling)
bench.add_command(scale)
bench.add_command(sim)

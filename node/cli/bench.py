"""`swarm bench`: what searching comes to, on what real trials taught. Nothing is trained."""

import json
import shlex
import sys
import time
from pathlib import Path

import click

from node.cli.options import json_option
from node.simulation.campaign import Surface
from node.simulation.goals import figure_lines, report
from node.simulation.made_up import MadeUp
from node.simulation.proposer_bench import (
    GOALS,
    PORTFOLIO,
    Run,
    credit_lines,
    curves,
    figures,
    grouped,
    proposers,
    run_all,
    table,
)
from node.simulation.surrogate_surface import SurrogateSurface
from node.trials.hardware import usable_cores


@click.group()
def bench() -> None:
    """Compare ways to search, on a model of recorded trials."""


@bench.command("proposers")
@click.option("--seeds", type=click.IntRange(2, 1000), default=10, show_default=True, help="Campaigns of each.")
@click.option("--trials", type=click.IntRange(10, 5000), default=100, show_default=True, help="Of each campaign.")
@click.option("--table", "table_file", type=click.Path(path_type=Path), help="Recorded trials other than the shipped.")
@click.option("--made-up", type=click.IntRange(0), help="A made-up surface of this number, no recorded trials.")
@click.option("--processes", type=click.IntRange(1, 64), default=usable_cores, help="At once; as many as cores.")
@json_option
def bench_proposers(
    seeds: int, trials: int, table_file: Path | None, made_up: int | None, processes: int, as_json: bool
) -> None:
    """Each arm alone, the portfolio of all, and random search, with the same number of trials."""
    if table_file is not None and made_up is not None:
        raise click.UsageError("--table and --made-up are two surfaces; give one of them")
    surface: Surface = SurrogateSurface.of_table(table_file) if made_up is None else MadeUp(made_up)
    began, runs = time.monotonic(), list[Run]()
    names = list(proposers())
    for run in run_all(surface, names, seeds, trials, processes):
        runs.append(run)
        if sys.stderr.isatty():
            click.echo(f"\r{len(runs)} of {seeds * len(names)} campaigns", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r", nl=False, err=True)
    by_name = grouped(runs)
    found = figures(by_name)
    if not as_json:
        lines = [*table(by_name, trials), "", "the mean of the best so far:", *curves(by_name, trials), ""]
        lines += [f"what each arm earned in the {PORTFOLIO}, all seeds together:", *credit_lines(by_name), ""]
        lines += [*figure_lines(found, GOALS), f"{time.monotonic() - began:.0f} s"]
        click.echo("\n".join(lines))
    click.echo(json.dumps(report("proposers", found, GOALS, _given(seeds, trials, table_file, made_up))))


def _given(seeds: int, trials: int, table_file: Path | None, made_up: int | None) -> list[str]:
    """What has to be said to measure the same again."""
    given = ["--seeds", str(seeds), "--trials", str(trials)]
    given += ["--table", shlex.quote(str(table_file))] if table_file is not None else []
    return given + (["--made-up", str(made_up)] if made_up is not None else [])

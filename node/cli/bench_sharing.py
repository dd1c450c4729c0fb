"""`swarm bench sharing`: whether a swarm gets further than as many lonely nodes, at equal compute."""

import json
import sys

import click

from node.cli.bench_problem import landscape_option, problem_of, proposer_option
from node.cli.options import NamesType, json_option


def _arms() -> tuple[str, ...]:
    from node.simulation.sharing import ARMS

    return ARMS


@click.command("sharing")
@click.option("--nodes", type=click.IntRange(2, 256), default=8, show_default=True, help="Of the swarm.")
@click.option("--trials", type=click.IntRange(5, 10_000), default=40, show_default=True, help="Of each node.")
@click.option(
    "--arms",
    type=NamesType("arm", _arms),
    default="isolated,shared,pooled-random,central",
    show_default=True,
    help="Which.",
)
@click.option("--seeds", type=click.IntRange(2, 1000), default=10, show_default=True, help="Runs of each arm.")
@proposer_option
@landscape_option
@json_option
def sharing(
    nodes: int, trials: int, arms: tuple[str, ...], seeds: int, proposer: str, landscape: str, as_json: bool
) -> None:
    """Lonely nodes, a swarm, random search and a central optimiser, with the same number of trials in all."""
    from node.simulation.goals import figure_lines, report
    from node.simulation.sharing import ARMS, GOALS, Arm, Campaign, answer, campaign, figures, table

    problem = problem_of(nodes, trials, proposer, landscape)
    runs: dict[Arm, list[Campaign]] = {arm: [] for arm in ARMS if arm in arms}
    for seed in range(1, seeds + 1):
        for arm, made in runs.items():
            made.append(campaign(problem, arm, seed))
            if sys.stderr.isatty():
                click.echo(f"\rseed {seed} of {seeds}, {arm:<14}", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r", nl=False, err=True)
    found = figures(runs)
    if not as_json:
        click.echo("\n".join([*table(runs), "", answer(runs), "", *figure_lines(found, GOALS)]))
    given = ["--nodes", str(nodes), "--trials", str(trials), "--arms", ",".join(runs), "--seeds", str(seeds)]
    given += ["--proposer", proposer, "--landscape", landscape]
    click.echo(json.dumps(report("sharing", found, GOALS, given)))

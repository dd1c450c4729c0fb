"""`swarm bench sim`: whether the swarm holds, in figures."""

import json

import click

from node.cli.options import NamesType, json_option


def _parts() -> tuple[str, ...]:
    from node.simulation.summary import PARTS

    return PARTS


@click.command("sim")
@click.option(
    "--parts",
    type=NamesType("part", _parts),
    default="scenarios,news,night,traffic,sharing",
    show_default=True,
    help="Which.",
)
@click.option("--seeds", type=click.IntRange(1, 1000), default=2, show_default=True, help="Of each scenario.")
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.25,
    show_default=True,
    help="This share of the scenarios' nodes and hours.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Scenarios at a time.")
@click.option(
    "--news-hours", type=click.FloatRange(0.05, 24), default=0.5, show_default=True, help="Of 35 nodes over libp2p."
)
@click.option("--night-hours", type=click.FloatRange(0.25, 8), default=8.0, show_default=True, help="Of 100 nodes.")
@click.option("--sharing-seeds", type=click.IntRange(2, 1000), default=4, show_default=True, help="Of each arm.")
@json_option
def sim(
    parts: tuple[str, ...],
    seeds: int,
    scale: float,
    jobs: int,
    news_hours: float,
    night_hours: float,
    sharing_seeds: int,
    as_json: bool,
) -> None:
    """Every scenario; news among 35 nodes over libp2p; a night of 100; traffic of 1,000; what sharing brings."""
    from node.cli.simulate import progress_bar
    from node.simulation.goals import figure_lines, report
    from node.simulation.summary import PARTS, Effort, Part, goals_of, measure, runs_of

    effort = Effort(seeds, scale, jobs, news_hours, night_hours, sharing_seeds)
    chosen: list[Part] = [part for part in PARTS if part in parts]
    goals, found = goals_of(chosen), dict[str, float]()
    for part in chosen:
        with progress_bar(runs_of(part, effort), quiet=as_json) as tell:
            new = measure(part, effort, lambda _: None if as_json else click.echo(_), tell)
        found |= new
        if not as_json:
            click.echo("\n".join([*figure_lines(new, goals), ""]))
    given = ["--parts", ",".join(chosen), "--seeds", str(seeds), "--scale", f"{scale:g}", "--jobs", str(jobs)]
    given += ["--news-hours", f"{news_hours:g}", "--night-hours", f"{night_hours:g}"]
    given += ["--sharing-seeds", str(sharing_seeds)]
    click.echo(json.dumps(report("sim", found, goals, given)))

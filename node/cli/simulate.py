"""`swarm simulate`: a swarm in one process, in virtual time, on invented or learned trials."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from node import shipped
from node.cli.look import print_json
from node.cli.options import json_option
from node.cli.paper import row, table

if TYPE_CHECKING:
    from node.simulation.figures import Result

# Everything of a simulation is imported when one is run: other commands need not wait for it.


@click.command()
@click.argument("scenario", metavar="SCENARIO")
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Runs, each of another seed.")
@click.option("--first-seed", type=int, default=1, show_default=True, help="Seed of the first run.")
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="This share of the nodes and of the hours.",
)
@click.option("--hours", type=click.FloatRange(0, 168, min_open=True), help="So many hours instead of the scenario's.")
@click.option(
    "--over",
    type=click.Choice(["memory", "libp2p"]),
    default="memory",
    show_default=True,
    help="What nodes speak over: a bus in memory, or libp2p itself, of which only the sockets are in memory.",
)
@click.option(
    "--baseline", type=click.Path(path_type=Path, file_okay=False), help="Say what got worse since results stored here."
)
@click.option("--save", type=click.Path(path_type=Path, file_okay=False), help="Store the results in this folder.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the swarm's progress: FILE.png")
@json_option
def simulate(
    scenario: str,
    seeds: int,
    first_seed: int,
    scale: float,
    hours: float | None,
    over: Literal["memory", "libp2p"],
    baseline: Path | None,
    save: Path | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Run a scenario: a file, or the name of one that comes with research-swarm (configs/sim).

    Exit status 1 if a finding is missing or honest ledgers differ when it is quiet again.
    """
    from node.simulation import stored
    from node.simulation.figures import look, together
    from node.simulation.scenario import read_scenario
    from node.simulation.smaller import smaller
    from node.simulation.world import Run
    from node.simulation.world import simulate as run_one

    path = located(scenario)
    chosen = smaller(read_scenario(path), scale, hours)
    before = stored.load(baseline, chosen.name) if baseline is not None else None
    results: list[Result] = []

    def looked(run: Run) -> None:
        results.append(look(run))

    with _bar(seeds, quiet=as_json) as tell:
        for number in range(seeds):
            run_one(chosen, first_seed + number, lambda share, number=number: tell(number + share), looked, over=over)
    changed = [] if before is None else stored.changes(before, [result.figures for result in results])
    if save is not None:
        stored.save(save, chosen.name, results)
    if picture is not None:
        _draw(picture, results, chosen.hours)
    mean, holds = together(results), all(result.holds for result in results)
    if as_json:
        document = {"scenario": chosen.name, "over": over, "seeds": seeds, "holds": holds, "figures": mean}
        document |= {"runs": [asdict(result) for result in results]}
        if before is not None:
            document["changes"] = [asdict(change) for change in changed]
        print_json(document)
    else:
        made = table(("figure", ""), ("value", "right"))
        for name, value in mean.items():
            made.add_row(*row(name, f"{value:,.4g}"))
        Console().print(made)
        for change in changed:
            said = f"{change.figure}: {change.before:.4g} before, {change.now:.4g} now"
            Console().print(
                Text(f"{'worse' if change.worse else 'better'}  {said}", "bold red" if change.worse else "")
            )
        if before is not None and not changed:
            click.echo("nothing changed by more than the seeds vary")
        click.echo("honest ledgers are equal and complete" if holds else _broken(results))
    sys.exit(0 if holds else 1)


def located(reference: str) -> Path:
    """A path when it looks like one, else the name of a shipped scenario. Raises ScenarioError."""
    from node.simulation.scenario import ScenarioError
    from node.topics.topic_file import closest

    if reference.endswith(".toml") or "/" in reference:
        return Path(reference)
    folder = shipped.configs() / "sim"
    names = sorted(path.stem for path in folder.glob("*.toml"))
    if reference not in names:
        raise ScenarioError(f"there is no scenario {reference!r}; {closest(reference, names)}")
    return folder / f"{reference}.toml"


def _broken(results: "list[Result]") -> str:
    bad = [str(result.seed) for result in results if not result.holds]
    return f"BROKEN: findings are missing or honest ledgers differ with seed {', '.join(bad)}"


def _draw(path: Path, results: "list[Result]", hours: float) -> None:
    from node.simulation.picture import progress_png
    from node.simulation.stored import StoredResultsError

    try:
        path.write_bytes(progress_png(results, hours))
    except OSError as error:
        raise StoredResultsError(f"cannot write the picture {path}: {error.strerror}") from None


@contextmanager
def _bar(seeds: int, *, quiet: bool) -> Generator[Callable[[float], None]]:
    """On a terminal, a bar on standard error. Is told how many runs are done, with fractions."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("simulating", total=float(seeds))
        yield lambda done: progress.update(task, completed=done)

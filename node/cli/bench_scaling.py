"""`swarm bench scaling`: how much sooner a larger swarm is there."""

import json

import click

from node.cli.bench_problem import landscape_option, problem_of, proposer_option
from node.cli.options import json_option


class SizesType(click.ParamType[tuple[int, ...]]):
    name = "LIST"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType] - the default, converted already
        try:
            sizes = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 1,2,4", param, ctx)
        if not sizes or sizes[0] < 1 or sizes[-1] > 256:
            self.fail("numbers of nodes are between 1 and 256", param, ctx)
        return sizes


@click.command("scaling")
@click.option("--nodes", type=SizesType(), default="1,2,4,8,16,32,64", show_default=True, help="Sizes of swarms.")
@click.option(
    "--trials", type=click.IntRange(10, 1000), default=40, show_default=True, help="Of the one node that sets the goal."
)
@click.option("--seeds", type=click.IntRange(2, 1000), default=10, show_default=True, help="Runs of each size.")
@proposer_option
@landscape_option
@json_option
def scaling(nodes: tuple[int, ...], trials: int, seeds: int, proposer: str, landscape: str, as_json: bool) -> None:
    """Trials and time until swarms of each size, and one optimiser that sees every result at once, have come as far as
    one node alone."""
    from node.simulation.goals import report
    from node.simulation.scaling import Point, figures, points, table, target

    problem = problem_of(1, trials, proposer, landscape)
    numbers = range(1, seeds + 1)
    goal = target(problem, numbers)
    if not as_json:
        click.echo(f"until {goal:.4f} bits per byte, where one node alone is after {trials} trials")
    found: list[Point] = []
    for point in points(problem, nodes, numbers, goal):
        found.append(point)
        if not as_json:
            click.echo("\n".join(table(found)[0 if len(found) == 1 else -1 :]))
    given = ["--nodes", ",".join(map(str, nodes)), "--trials", str(trials), "--seeds", str(seeds)]
    given += ["--proposer", proposer, "--landscape", landscape]
    click.echo(json.dumps(report("scaling", {"target_bpb": goal, **figures(found)}, {}, given)))

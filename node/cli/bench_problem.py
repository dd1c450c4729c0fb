"""What the benchmarks of sharing ask alike: who has the ideas, and what trials come to."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from node.simulation.sharing import Problem

proposer_option = click.option(
    "--proposer",
    type=click.Choice(["light", "portfolio"]),
    default="portfolio",
    show_default=True,
    help="Who has the ideas: the classic proposer of a real node, or a quick stand-in.",
)
landscape_option = click.option(
    "--landscape",
    type=click.Choice(["recorded", "made-up"]),
    default="recorded",
    show_default=True,
    help="What trials come to: learned from real ones, or invented.",
)


def problem_of(nodes: int, trials: int, proposer: str, landscape: str) -> "Problem":
    from node.simulation.sharing import Problem

    ideas = "portfolio" if proposer == "portfolio" else "light"
    return Problem(nodes, trials, ideas, "recorded" if landscape == "recorded" else "made-up")

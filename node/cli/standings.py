"""`swarm leaderboard` and `swarm branches`: who stands where."""

import click
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from node import views
from node.cli.look import arm_words, bpb, count_words, print_json
from node.cli.options import home_option, json_option, topic_option
from node.cli.paper import NARROW, line_style, pager_option, paper, print_marks, row, table, verdict_and_standing
from node.home import Home
from node.sparkline import sparkline
from node.text import clean
from swarm.words import short

SHOWN = 25  # rows of a table on a terminal, unless asked for more
COURSE_COLUMNS = 16


@click.command()
@click.option("--all-classes", is_flag=True, help="Also other hardware classes and budgets, each ranked by itself.")
@click.option("--limit", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="Rows on the terminal.")
@home_option
@topic_option
@json_option
@pager_option
def leaderboard(home: Home, topic: str | None, as_json: bool, all_classes: bool, limit: int, no_pager: bool) -> None:
    """The best findings of the swarm, within this node's hardware class and budget."""
    with views.open_archive(home, topic) as archive:
        facts = views.leaderboard(archive, all_tracks=all_classes)
    if as_json:
        print_json(facts)
        return
    with paper(no_pager=no_pager) as console:
        _print_leaderboard(console, facts, limit)


def _print_leaderboard(console: Console, facts: views.Json, limit: int) -> None:
    if not facts["entries"]:
        console.print("no measured findings yet")
    tracks = dict.fromkeys((entry["hardware_class"], entry["budget_s"]) for entry in facts["entries"])
    for hardware_class, budget_s in tracks:
        chosen = [e for e in facts["entries"] if (e["hardware_class"], e["budget_s"]) == (hardware_class, budget_s)]
        console.print(Text(f"{hardware_class}, {budget_s:g} s a trial", style="bold"))
        console.print(ranking(chosen[:limit], narrow=console.width < NARROW))
        print_marks(console, (entry["standing"] for entry in chosen[:limit]))
        if len(chosen) > limit:
            console.print(f"... and {len(chosen) - limit} more; see --limit", style="dim")
        arms = [a for a in facts["arms"] if (a["hardware_class"], a["budget_s"]) == (hardware_class, budget_s)]
        if arms:
            console.print(Text(f"who had the ideas: {clean(arm_words(arms), 1000)}", style="dim"), soft_wrap=True)
    if facts["other_tracks"]:
        console.print(
            f"{facts['other_tracks']} other hardware classes or budgets are not shown: their numbers do not compare "
            "with these (--all-classes lists them)",
            style="dim",
        )


def ranking(entries: list[views.Json], *, narrow: bool) -> Table:
    made = table(("rank", "right"), ("val_bpb", "right"), ("by", ""), ("run", "right"), ("verdict", ""))
    if not narrow:
        made.add_column("standing", no_wrap=True)
    made.add_column("what", ratio=1, overflow="fold")
    for entry in entries:
        name = entry["node_name"] or short(entry["peer"])
        cells = (
            entry["rank"],
            f"{bpb(entry['val_bpb'])} ±{entry['interval']:.4f}",
            name,
            f"#{entry['number']}",
            *verdict_and_standing(entry["verdict"], entry["standing"], narrow=narrow),
        )
        first = "bold" if entry["rank"] == 1 else line_style(entry["verdict"])
        made.add_row(*row(*cells, entry["description"]), style=first)
    return made


@click.command()
@home_option
@topic_option
@json_option
@pager_option
def branches(home: Home, topic: str | None, as_json: bool, no_pager: bool) -> None:
    """The branch of each node."""
    with views.open_archive(home, topic) as archive:
        facts = trio.run(views.branches, archive)
    if as_json:
        print_json(facts)
        return
    with paper(no_pager=no_pager) as console:
        widths = [max(map(len, words), default=0) for words in zip(*map(_branch_words, facts["branches"]), strict=True)]
        for branch in facts["branches"]:
            _print_branch(console, branch, widths)
        console.print(Text(f"browse them with git in {home.results}", style="dim"), soft_wrap=True)


def _branch_words(branch: views.Json) -> tuple[str, str, str]:
    """Whose it is, how many findings, and how good the best of them is."""
    name = clean(branch["node_name"], 40) or short(branch["peer"])
    best = "" if branch["best"] is None else f"best {bpb(branch['best'])}"
    return name, count_words(branch["findings"], "finding"), best


def _print_branch(console: Console, branch: views.Json, widths: list[int]) -> None:
    """Its name, whole, so that it can be copied; below it the rest, in columns."""
    name, findings, best = (words.ljust(width) for words, width in zip(_branch_words(branch), widths, strict=True))
    line = Text(f"  {name}  {findings}  {best}  ").append(
        sparkline(branch["course"], COURSE_COLUMNS).ljust(COURSE_COLUMNS), "green"
    )
    if branch["head"]:
        behind = f", {branch['behind']} behind" if branch["behind"] else ""
        size = f", {branch['fetched']['bytes'] / 1024:.0f} kB" if branch["fetched"] else ""
        line.append(f"  at {branch['head'][:10]}{behind}{size}")
    else:
        line.append("  not here", style="dim")
    console.print(Text(branch["name"], style="bold"), soft_wrap=True)
    console.print(line, soft_wrap=True)

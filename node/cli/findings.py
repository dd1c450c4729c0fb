"""`swarm log`, `swarm show` and `swarm diff`: what was tried, one by one."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import click
import trio
from rich.console import Console
from rich.text import Text

from node import views
from node.cli.look import bpb, count_words, print_json, replay_words, sealed_words, verdict_rows
from node.cli.options import home_option, json_option, topic_option
from node.cli.paper import (
    NARROW,
    line_style,
    pager_option,
    paper,
    patch_text,
    print_fact,
    print_marks,
    row,
    table,
    verdict_and_standing,
)
from node.home import Home
from node.results.finding_commits import FindingCommits
from node.screen import change_words, verdict_style
from node.sparkline import best_so_far, sparkline
from swarm.words import PeerId, short

CURVE_COLUMNS = 40


@click.command()
@click.option("--all", "everyone", is_flag=True, help="Findings of the whole swarm, not only this node's.")
@home_option
@topic_option
@json_option
@pager_option
def log(home: Home, topic: str | None, as_json: bool, everyone: bool, no_pager: bool) -> None:
    """Every finding, with what it tried and how it ended."""
    with views.open_archive(home, topic) as archive:
        if everyone:
            archive = trio.run(_with_commits_of, archive, archive.ledger.authors())
        facts = views.log(archive, everyone=everyone)
    if as_json:
        print_json(facts)
        return
    findings = facts["findings"]
    with paper(no_pager=no_pager) as console:
        if not findings:
            console.print("no findings yet")
            return
        _print_course(console, findings)
        _print_log(console, findings, everyone)


async def _with_commits_of(archive: views.Archive, peers: Iterable[PeerId]) -> views.Archive:
    """Knowing the commits of peers' findings, too, as far as their branches are here."""
    index, found = FindingCommits(archive.home.results), dict[str, str]()
    for peer in peers:
        if peer != archive.me:
            found |= {str(id): commit for id, commit in (await index.of(peer, archive.brief.name)).items()}
    return replace(archive, commits=found | archive.commits)


def _print_course(console: Console, findings: Sequence[views.Json]) -> None:
    """How the best came down, on the hardware class and budget of the latest: other numbers do not compare."""
    last = findings[-1]
    numbers = [one["val_bpb"] for one in findings if one["val_bpb"] is not None and _track(one) == _track(last)]
    if len(numbers) > 1:
        best = best_so_far(numbers)
        line = Text().append("best so far ", style="dim").append(sparkline(best, CURVE_COLUMNS), style="green")
        console.print(line.append(f"  {best[0]:.4f} → {best[-1]:.4f} val_bpb", style="default"), soft_wrap=True)


def _track(finding: views.Json) -> tuple[str, float]:
    return finding["hardware_class"], finding["budget_seconds"]


def _print_log(console: Console, findings: Sequence[views.Json], everyone: bool) -> None:
    made, narrow = (
        table(("run", "right"), ("id", ""), ("val_bpb", "right"), ("change", "right")),
        console.width < NARROW,
    )
    for name in ("verdict", *(() if narrow else ("standing",)), *(("by",) if everyone else ())):
        made.add_column(name, no_wrap=True)
    made.add_column("what", ratio=1, overflow="fold")
    for finding in findings:
        verdict = finding["verdict"] if finding["val_bpb"] is not None else finding["outcome"]
        change = "" if finding["effect"] is None else change_words(finding["effect"])
        other = "*" if _track(finding) != _track(findings[-1]) else ""
        number = f"{bpb(finding['val_bpb'])}{other}" if finding["val_bpb"] is not None else ""
        cells: list[object] = [f"#{finding['number']}", short(finding["id"]), number, change]
        cells += verdict_and_standing(verdict, finding["standing"], narrow=narrow)
        if everyone:
            cells.append(finding["node_name"] or short(finding["peer"]))
        made.add_row(*row(*cells, finding["title"]), style=line_style(verdict))
    console.print(made)
    print_marks(console, (finding["standing"] for finding in findings))
    if any(_track(finding) != _track(findings[-1]) for finding in findings):
        console.print(
            "* of another hardware class or budget than the last one: the numbers do not compare", style="dim"
        )


@click.command()
@click.argument("finding")
@home_option
@topic_option
@json_option
@pager_option
def show(home: Home, topic: str | None, as_json: bool, finding: str, no_pager: bool) -> None:
    """One FINDING: own run number, or the beginning of an id."""
    with views.open_archive(home, topic) as archive:
        author = views.find(archive, finding).author
        facts = views.show(trio.run(_with_commits_of, archive, [author]), finding)
    if as_json:
        print_json(facts)
        return
    with paper(no_pager=no_pager) as console:
        _print_finding(console, facts)


def _print_finding(console: Console, facts: views.Json) -> None:
    verdict = verdict_style(facts["verdict"] if facts["val_bpb"] is not None else facts["outcome"])
    styles = {"title": "bold", "outcome": "default" if facts["outcome"] == "measured" else verdict, "verdict": verdict}
    rows: list[tuple[str, object]] = [(k, facts.get(k)) for k in ("id", "peer", "number", "title", "outcome", "reason")]
    rows += verdict_rows(facts)
    rows += [(key, facts.get(key)) for key in ("operator", "proposer", "rationale", "parent")]
    rows.append(("inspirations", ", ".join(short(id) for id in facts["inspirations"])))
    rows += [(key, facts.get(key)) for key in ("hardware_class", "budget_seconds", "seed")]
    rows += [(key, f"{facts[key]:,}" if facts.get(key) else None) for key in ("steps", "tokens", "parameters")]
    memory, trials = facts["peak_memory_bytes"], len(facts["trials"]) + len(facts["parent_trials"])
    rows.append(("peak memory", f"{memory / 2**30:.2f} GB" if memory else None))
    rows.append(("seconds", f"{facts['seconds']:,.1f} in {count_words(trials, 'trial')}"))
    rows.append(("model", usage_words(facts["model_usage"])))
    rows += [(key, facts.get(key)) for key in ("started_at", "commit")]
    rows.append(("curve", curve_words(facts["curve"])))
    rows.append(("sealed", sealed_words(facts["sealed"]) if facts["sealed"] else None))
    changed = ", ".join(f"{key} = {value}" for key, value in facts["changes"].items())
    rows.append(("changed", changed or "nothing"))
    rows += [("replay", replay_words(replay)) for replay in facts["replays"]]
    for label, value in rows:
        if value not in (None, ""):
            print_fact(label, value, style=styles.get(label, "default"), console=console)


def usage_words(usage: views.Json | None) -> str:
    """'2 questions, 3,450 tokens, $0.0123': what a language model took for the idea."""
    if usage is None:
        return ""
    cost = "its price is not known" if usage["cost_usd"] is None else f"${usage['cost_usd']:.4f}"
    return f"{count_words(usage['calls'], 'question')}, {usage['tokens_in'] + usage['tokens_out']:,} tokens, {cost}"


def curve_words(curve: Sequence[Sequence[float]]) -> str:
    """'▇▅▃▁ loss 5.500 → 2.500 in 9 s': the training loss, in nats a token."""
    if not curve:
        return ""
    losses = [loss for _, loss in curve]
    return f"{sparkline(losses, CURVE_COLUMNS)} loss {losses[0]:.3f} → {losses[-1]:.3f} in {curve[-1][0]:.0f} s"


@click.command()
@click.argument("first")
@click.argument("second")
@home_option
@topic_option
@json_option
@pager_option
def diff(home: Home, topic: str | None, as_json: bool, first: str, second: str, no_pager: bool) -> None:
    """What finding SECOND runs differently from FIRST."""
    with views.open_archive(home, topic) as archive:
        facts = views.diff(archive, first, second)
    if as_json:
        print_json(facts)
        return
    made = table(("setting", ""), (f"{first}", ""), (f"{second}", ""))
    made.add_row(*row("val_bpb", bpb(facts["val_bpb"][0]), bpb(facts["val_bpb"][1])))
    for key, (before, after) in facts["config"].items():
        name, was, now = row(key, "" if before is None else before, "" if after is None else after)
        made.add_row(name, Text(was.plain, style="red"), Text(now.plain, style="green"))
    with paper(no_pager=no_pager) as console:
        console.print(made)
        if not facts["comparable"]:
            console.print(
                "the two were measured on different hardware classes or budgets: their numbers do not compare"
            )
        if facts["source"]:
            console.print(patch_text(facts["source"]), soft_wrap=True)

"""Commands that look at a home and change nothing: status, log, leaderboard, branches, ticket, show, diff."""

import json
from typing import Any

import click
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from node import views
from node.cli.options import home_option, json_option, topic_option
from node.home import Home
from node.proposers.steering import Steering
from node.text import clean
from swarm.words import short

SHOWN = 25  # rows of a table on a terminal, unless asked for more


def print_json(document: views.Json) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def table(*columns: tuple[str, str]) -> Table:
    """Columns by name and justification; only "wide" ones break their lines."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, kind in columns:
        wide = kind == "wide"
        made.add_column(
            name,
            justify="right" if kind == "right" else "left",
            overflow="fold" if wide else "ellipsis",
            no_wrap=not wide,
            ratio=1 if wide else None,
        )
    return made


def bpb(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def sealed_words(sealed: views.Json, first_gap: float | None = None) -> str:
    """Both numbers of a milestone and their distance. The same digits for all, so that a reader can subtract."""
    first = "" if first_gap is None else f", first milestone {first_gap:+.4f}"
    return f"{bpb(sealed['sealed_bpb'])} (validation {bpb(sealed['val_bpb'])}; gap {sealed['gap']:+.4f}{first})"


def score_words(score: views.Json | None) -> str:
    """'1.4321 ±0.0090 val_bpb, 3 trials': where the mean of five fresh runs should lie, 19 times in 20."""
    if score is None:
        return ""
    many = f", {score['trials']} trials" if score["trials"] > 1 else ", one trial"
    return f"{score['mean']:.4f} ±{score['interval']:.4f} val_bpb{many}"


def verdict_rows(finding: views.Json) -> list[tuple[str, str]]:
    """The score, what it was compared with, and what both say."""
    rows = [("score", score_words(finding["score"]))] if finding["score"] else []
    for label, trials in (("trials", finding["trials"]), ("parent again", finding["parent_trials"])):
        rows += [(label, ", ".join(map(trial_words, trials)))] if trials else []
    if finding["effect"] is not None:
        apart, chance = abs(finding["effect"]), 100 * finding["p_better"]
        word = "better" if finding["effect"] > 0 else "worse"
        rows.append(
            (
                "effect",
                f"{apart:.4f} ±{finding['interval']:.4f} {word} than its parent; chance of better {chance:.1f} %",
            )
        )
    follows = "" if finding["verdict_follows"] else "  (does not follow from the numbers it carries)"
    simpler = ", simpler than its parent" if finding["simpler"] else ""
    return [*rows, ("verdict", f"{finding['verdict']}{simpler}{follows}"), ("standing", finding["standing"])]


def trial_words(trial: views.Json) -> str:
    words = bpb(trial["val_bpb"]) or trial["outcome"]
    return words if trial["condition"] == "steady" else f"{words} ({trial['condition']}, does not count)"


def noise_words(noise: views.Json) -> str:
    return f"{noise['sd']:.4f} from one trial to the next (standard deviation, worth {noise['dof']:.0f} repeats)"


def arm_words(arms: list[views.Json]) -> str:
    """'tpe 3 kept in 24 trials (+1.40 sd a trial), random 0 kept in 4 trials (+0.00 sd a trial)'."""
    return ", ".join(
        f"{arm['arm']} {arm['kept']} kept in {arm['trials']} trials ({arm['improvement_per_trial']:+.2f} sd a trial)"
        for arm in arms
    )


def saved_words(saved: views.Json) -> str:
    """'12 trials, 640 s saved: 18.2 % of the budget of all'."""
    trials = "one trial" if saved["stopped"] == 1 else f"{saved['stopped']} trials"
    return f"{trials}, {saved['saved_seconds']:,.0f} s saved: {saved['saved_share']:.1%} of the budget of all"


def is_steered(steering: views.Json) -> bool:
    return any(steering[key] for key in ("pin", "ban", "ban_values", "program_edited", "problem"))


def steering_words(steering: views.Json) -> str:
    values = {name: tuple(many) for name, many in steering["ban_values"].items()}
    words = Steering(steering["pin"], tuple(steering["ban"]), values).words()
    program = "program.md edited" if steering["program_edited"] else ""
    return "; ".join(filter(None, (words, program, steering["problem"])))


def model_words(model: views.Json) -> str:
    """'12 answered, 1 timed_out since the start; 18 questions, 120,000 tokens, $0.0230; today ...'."""
    counts = ", ".join(f"{n} {outcome}" for outcome, n in model["questions"].items())
    words = [f"{counts} since the start"] if counts else []
    for label, spent in (("in all", model["total"]), ("today", model["today"])):
        cost = "cost not known" if spent["cost_usd"] is None else f"${spent['cost_usd']:.4f}"
        tokens = spent["tokens_in"] + spent["tokens_out"]
        words.append(f"{label} {spent['calls']} questions, {tokens:,} tokens, {cost}")
    return "; ".join(words)


def replay_words(replay: views.Json) -> str:
    """Somebody's own trial of a finding, in a few words."""
    who, steps = replay["node_name"] or short(replay["peer"]), replay["steps"]
    if steps is not None:
        agrees, apart = replay["curve_agrees"], replay["curve_deviation"]
        came_to = f"first {steps} steps" + ("" if apart is None else f", curve at most {apart:.2g} nats apart")
    else:
        agrees = replay["agrees"] if replay["agrees"] is not None else replay["outcome_agrees"]
        came_to = bpb(replay["val_bpb"]) or replay["outcome"]
    word = "" if agrees is None else ": agrees" if agrees else ": does not agree"
    counts = ", does not count" if word and steps is None and replay["condition"] != "steady" else ""
    return f"{came_to} by {who}{word}{counts}"


def print_fact(label: str, value: object) -> None:
    """One line, however long: what is copied from a terminal should be whole."""
    Console().print(Text(f"{label:<15} ", style="dim").append(clean(str(value), 1000), style="default"), soft_wrap=True)


def row(*cells: object) -> list[Text]:
    """Cells as plain text: whatever peers wrote is never markup."""
    return [Text(clean(str(cell), 200)) for cell in cells]


@click.command()
@home_option
@topic_option
@json_option
def status(home: Home, topic: str | None, as_json: bool) -> None:
    """Where this node stands."""
    with views.open_archive(home, topic) as archive:
        facts = views.status(archive)
    if as_json:
        print_json(facts)
        return
    best, drift, saved = facts["best"], facts["drift"], facts["early_stop"]
    share = facts["training_share"]
    rows: list[tuple[str, str]] = [
        ("node", f"{facts['name']}  {facts['peer_id']}"),
        ("running", "yes" if facts["running"] else "no"),
        ("topic", f"{facts['topic']}  (brief {short(facts['brief_id'])})"),
        ("swarm", "private: only who has its ticket can connect" if facts["private"] else "public"),
        ("hardware", f"{facts['hardware_class']}, {facts['budget_s']:g} s a trial" if facts["hardware_class"] else ""),
        ("sandbox", facts["sandbox"] or ""),
        ("proposer", facts["proposer"] or ""),
        ("experiments", f"{facts['experiments']} own, {facts['findings_known']} known in the swarm"),
        ("best", f"{score_words(best['score'])}  (finding {short(best['id'])})" if best else "none yet"),
        ("noise", noise_words(facts["noise"]) if facts["noise"] else ""),
        *([("arms", arm_words(facts["arms"]))] if facts["arms"] else []),
        *([("model", model_words(facts["model"]))] if facts["model"] else []),
        *([("sealed", sealed_words(drift, drift["first_gap"]))] if drift else []),
        *([("stopped early", saved_words(saved))] if saved and saved["stopped"] else []),
        *([("steering", steering_words(facts["steering"]))] if is_steered(facts["steering"]) else []),
        ("training", f"{share:.1%} of the time" if share is not None else ""),
        ("peers", ", ".join(short(peer) for peer in facts["peers"]) or "none"),
        ("results", f"{facts['results_repository']}  branch {facts['branch']}"),
    ]
    for label, value in rows:
        print_fact(label, value)


@click.command()
@click.option("--all", "everyone", is_flag=True, help="Findings of the whole swarm, not only this node's.")
@home_option
@topic_option
@json_option
def log(home: Home, topic: str | None, as_json: bool, everyone: bool) -> None:
    """Every finding, with what it tried and how it ended."""
    with views.open_archive(home, topic) as archive:
        facts = views.log(archive, everyone=everyone)
    if as_json:
        print_json(facts)
        return
    made = table(("run", "right"), ("id", ""), ("val_bpb", "right"), ("verdict", ""), ("standing", ""))
    if everyone:
        made.add_column("by", no_wrap=True)
    made.add_column("what", ratio=1)
    for finding in facts["findings"]:
        verdict = finding["verdict"] if finding["val_bpb"] is not None else finding["outcome"]
        cells: list[Any] = [f"#{finding['number']}", short(finding["id"]), bpb(finding["val_bpb"]), verdict]
        cells.append(finding["standing"])
        if everyone:
            cells.append(finding["node_name"] or short(finding["peer"]))
        made.add_row(*row(*cells, finding["title"]))
    Console().print(made if facts["findings"] else "no findings yet")


@click.command()
@click.option("--all-classes", is_flag=True, help="Also other hardware classes and budgets, each ranked by itself.")
@click.option("--limit", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="Rows on the terminal.")
@home_option
@topic_option
@json_option
def leaderboard(home: Home, topic: str | None, as_json: bool, all_classes: bool, limit: int) -> None:
    """The best findings of the swarm, within this node's hardware class and budget."""
    with views.open_archive(home, topic) as archive:
        facts = views.leaderboard(archive, all_tracks=all_classes)
    if as_json:
        print_json(facts)
        return
    console = Console()
    if not facts["entries"]:
        console.print("no measured findings yet")
    tracks = dict.fromkeys((entry["hardware_class"], entry["budget_s"]) for entry in facts["entries"])
    for hardware_class, budget_s in tracks:
        chosen = [e for e in facts["entries"] if (e["hardware_class"], e["budget_s"]) == (hardware_class, budget_s)]
        console.print(Text(f"{hardware_class}, {budget_s:g} s a trial", style="bold"))
        console.print(ranking(chosen[:limit]))
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


def ranking(entries: list[views.Json]) -> Table:
    made = table(("rank", "right"), ("val_bpb", "right"), ("by", ""), ("run", "right"), ("verdict", ""))
    made.add_column("standing", no_wrap=True)
    made.add_column("what", ratio=1)
    for entry in entries:
        name = entry["node_name"] or short(entry["peer"])
        cells = (
            entry["rank"],
            f"{bpb(entry['val_bpb'])} ±{entry['interval']:.4f}",
            name,
            f"#{entry['number']}",
            entry["verdict"],
            entry["standing"],
        )
        made.add_row(*row(*cells, entry["description"]))
    return made


@click.command()
@home_option
@topic_option
@json_option
def branches(home: Home, topic: str | None, as_json: bool) -> None:
    """The branch of each node."""
    with views.open_archive(home, topic) as archive:
        facts = trio.run(views.branches, archive)
    if as_json:
        print_json(facts)
        return
    made = table(("branch", "wide"), ("findings", "right"), ("best", "right"), ("head", ""), ("size", "right"))
    for branch in facts["branches"]:
        behind = f", {branch['behind']} behind" if branch["head"] and branch["behind"] else ""
        head = f"{branch['head'][:10]}{behind}" if branch["head"] else "not in this repository"
        size = f"{branch['fetched']['bytes'] / 1024:.0f} kB" if branch["fetched"] else ""
        made.add_row(*row(branch["name"], branch["findings"], bpb(branch["best"]), head, size))
    console = Console()
    console.print(made)
    console.print(Text(f"browse them with git in {home.results}", style="dim"), soft_wrap=True)


@click.command()
@home_option
@topic_option
@json_option
def ticket(home: Home, topic: str | None, as_json: bool) -> None:
    """What another machine needs to join: swarm join TICKET."""
    with views.open_archive(home, topic) as archive:
        facts = views.ticket(archive)
    if as_json:
        print_json(facts)
        return
    click.echo(facts["ticket"])
    if facts["private"]:
        click.echo("private: this ticket holds the key of the swarm; give it only to those you want in it", err=True)
    if not facts["running"]:
        click.echo("this node is not running; the ticket works again once it is", err=True)


@click.command()
@click.argument("finding")
@home_option
@topic_option
@json_option
def show(home: Home, topic: str | None, as_json: bool, finding: str) -> None:
    """One FINDING: own run number, or the beginning of an id."""
    with views.open_archive(home, topic) as archive:
        facts = views.show(archive, finding)
    if as_json:
        print_json(facts)
        return
    for key in ("id", "peer", "number", "title", "outcome", "reason"):
        if facts.get(key) not in (None, ""):
            print_fact(key, facts[key])
    for label, words in verdict_rows(facts):
        print_fact(label, words)
    for key in ("operator", "proposer", "rationale", "parent", "inspirations", "hardware_class", "budget_seconds"):
        value = facts.get(key)
        if value not in (None, "", []):
            text = ", ".join(short(v) for v in value) if key == "inspirations" else value
            print_fact(key, text)
    for key in ("seed", "steps", "tokens", "parameters", "seconds", "started_at", "commit"):
        if facts.get(key) is not None:
            print_fact(key, facts[key])
    if facts["sealed"]:
        print_fact("sealed", sealed_words(facts["sealed"]))
    changed = ", ".join(f"{key} = {value}" for key, value in facts["changes"].items()) or "nothing"
    print_fact("changed", changed)
    for replay in facts["replays"]:
        print_fact("replay", replay_words(replay))


@click.command()
@click.argument("first")
@click.argument("second")
@home_option
@topic_option
@json_option
def diff(home: Home, topic: str | None, as_json: bool, first: str, second: str) -> None:
    """What finding SECOND runs differently from FIRST."""
    with views.open_archive(home, topic) as archive:
        facts = views.diff(archive, first, second)
    if as_json:
        print_json(facts)
        return
    made = table(("setting", ""), (f"{first}", ""), (f"{second}", ""))
    made.add_row(*row("val_bpb", bpb(facts["val_bpb"][0]), bpb(facts["val_bpb"][1])))
    for key, (before, after) in facts["config"].items():
        made.add_row(*row(key, "" if before is None else before, "" if after is None else after))
    Console().print(made)
    if not facts["comparable"]:
        click.echo("the two were measured on different hardware classes or budgets: their numbers do not compare")
    if facts["source"]:
        click.echo(facts["source"])

"""Commands that look at a home and change nothing: status and ticket; and the words that all of them share."""

import json

import click

from node import views
from node.cli.options import home_option, json_option, topic_option
from node.cli.paper import print_fact
from node.home import Home
from node.proposers.steering import Steering
from swarm.words import short


def print_json(document: views.Json) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def bpb(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def sealed_words(sealed: views.Json, first_gap: float | None = None) -> str:
    """Both numbers of a milestone and their distance. The same digits for all, so that a reader can subtract."""
    first = "" if first_gap is None else f", first milestone {first_gap:+.4f}"
    return f"{bpb(sealed['sealed_bpb'])} (validation {bpb(sealed['val_bpb'])}; gap {sealed['gap']:+.4f}{first})"


def count_words(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


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

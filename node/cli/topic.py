"""`swarm topic list|show`: what can be researched."""

import dataclasses

import click
from rich.console import Console
from rich.text import Text

from node.cli.look import print_json
from node.cli.options import json_option
from node.cli.paper import row, table
from node.topics.loading import TopicSummary, describe_topic, shipped_topics
from node.views import Json


@click.group()
def topic() -> None:
    """Research topics: what is trained, on which text."""


@topic.command("list")
@json_option
def list_topics(as_json: bool) -> None:
    """Topics that come with research-swarm; a topic file of your own goes to: swarm launch --topic FILE.toml"""
    summaries = [describe_topic(name) for name in shipped_topics()]
    if as_json:
        print_json({"topics": [summary_json(summary) for summary in summaries]})
        return
    made = table(("topic", ""), ("text", "wide"), ("size", "right"), ("needs", ""))
    for summary in summaries:
        size = f"{summary.size_bytes / 1e6:,.1f} MB" if summary.size_bytes else ""
        needs = summary.problem or ("a download" if summary.needs_download else "nothing")
        made.add_row(*row(summary.name, summary.description or summary.origin, size, needs))
    Console().print(made)


@topic.command("show")
@click.argument("reference", metavar="TOPIC")
@json_option
def show_topic(reference: str, as_json: bool) -> None:
    """One topic: a name, or a topic file."""
    summary = describe_topic(reference)
    if as_json:
        print_json(summary_json(summary))
        return
    for key, value in summary_json(summary).items():
        if value not in (None, "", False):
            Console().print(Text(f"{key:<15} {value}"))


def summary_json(summary: TopicSummary) -> Json:
    return dataclasses.asdict(summary) | {"file": str(summary.file)}

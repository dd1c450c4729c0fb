"""`swarm explain`: the story of one record."""

import click

from node import views
from node.cli.look import print_json, replay_words
from node.cli.options import home_option, json_option, topic_option
from node.cli.paper import print_fact
from node.home import Home
from node.story import explain as story
from node.story import in_sentences


@click.command()
@click.argument("record")
@home_option
@topic_option
@json_option
def explain(home: Home, topic: str | None, as_json: bool, record: str) -> None:
    """One RECORD's story: own run number, or the beginning of an id."""
    with views.open_archive(home, topic) as archive:
        facts = story(archive, record)
    if as_json:
        print_json(facts)
        return
    for label, words in in_sentences(facts):
        print_fact(label, words)
    says: views.Json = facts["says"] or {}
    for replay in says.get("replays", []):
        print_fact("replay", replay_words(replay))

"""`swarm report` and `swarm finalize`: what a topic came to, for people who were not there."""

from pathlib import Path

import click
import trio

from node import views
from node.cli.look import bpb, print_json
from node.cli.options import home_option, json_option, topic_option
from node.cli.paper import print_fact
from node.clock import rfc3339, wall_clock
from node.home import Home
from node.report.topic_report import Told, report_files
from node.results.finalize import DEFAULT_BRANCH, Step, finalize_branch, steps_to
from node.text import clean
from swarm.ledger import lineage
from swarm.words import SwarmError, short


class ReportError(SwarmError):
    """A report could not be written."""


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Folder to write to; default: report-TOPIC here."
)
@home_option
@topic_option
@json_option
def report(home: Home, topic: str | None, as_json: bool, out: Path | None) -> None:
    """Write report.html, progress.png and results.tsv of a topic: what to post in the morning."""
    with views.open_archive(home, topic) as archive:
        written_at = rfc3339(wall_clock())
        told = Told(archive.brief, archive.brief_id, archive.ledger, archive.me, archive.commits, written_at)
        files, facts = report_files(told)
    folder = out or Path(f"report-{facts['topic']}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, octets in files.items():
            (folder / name).write_bytes(octets)
    except OSError as error:
        raise ReportError(f"the report cannot be written to {folder}: {error.strerror}; choose another --out") from None
    if as_json:
        print_json(facts | {"files": [str(folder / name) for name in files]})
        return
    for track in facts["tracks"]:
        best = track["best"]
        if best is not None:
            shown = f"{bpb(best['val_bpb'])} ±{best['interval']:.4f}, {best['title']} by {best['node_name']}"
            print_fact(f"{track['hardware_class']}, {track['budget_s']:g} s", shown)
    for name in files:
        click.echo(folder / name)


@click.command()
@click.argument("finding", required=False)
@click.option("--branch", default=None, help=f"Name of the new branch; default: {DEFAULT_BRANCH}.")
@home_option
@topic_option
@json_option
def finalize(home: Home, topic: str | None, as_json: bool, finding: str | None, branch: str | None) -> None:
    """Turn the way to FINDING (default: the best) into a clean branch: one commit for each kept change."""
    with views.open_archive(home, topic) as archive:
        if finding is not None:
            last = views.find(archive, finding)
        else:
            ranked = archive.ledger.ranked(archive.track) if archive.track else []
            if not ranked:
                raise views.NothingFound(f"nothing has been measured in topic {archive.brief.name} yet")
            last = ranked[0][0]
        steps: list[Step] = steps_to(list(lineage(archive.ledger, last))[::-1], archive.brief)
        name = branch or DEFAULT_BRANCH.format(topic=archive.brief.name, finding=short(last.id))
        made = trio.run(finalize_branch, home.results, name, steps, archive.me)
    if as_json:
        print_json({"branch": name, "repository": str(home.results), "finding": last.id, "commits": made})
        return
    for commit in made:
        click.echo(f"{commit['hash'][:10]}  {clean(commit['subject'], 200)}")
    print_fact("branch", name)
    print_fact("repository", home.results)

"""`swarm export` and `swarm import`: runs to and from other tools."""

import re
from pathlib import Path

import click
import trio

from node import views
from node.cli.look import bpb, print_json
from node.cli.options import home_option, json_option, topic_option
from node.clock import wall_clock
from node.exchange.code_history import Code, CodeHistory
from node.exchange.importing import Import, check_code, make_import, write_import
from node.exchange.mlflow_database import write_database
from node.exchange.results_tsv import Row, TableError, read_table
from node.exchange.runs import as_run
from node.exchange.tensorboard_files import write_event_files
from node.home import Home
from node.topics.loading import shipped_topics
from swarm.finding import Track
from swarm.words import Decision, SwarmError


class ExportError(SwarmError):
    """Runs could not be written."""


@click.command()
@click.argument("tool", type=click.Choice(["tensorboard", "mlflow"]))
@click.option("--all", "everyone", is_flag=True, help="Runs of the whole swarm, not only this node's.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Folder to write to; default: TOOL-TOPIC here."
)
@home_option
@topic_option
@json_option
def export(home: Home, topic: str | None, as_json: bool, tool: str, everyone: bool, out: Path | None) -> None:
    """Write runs for TensorBoard (event files) or MLflow (a tracking database)."""
    with views.open_archive(home, topic) as archive:
        name, ledger = archive.brief.name, archive.ledger
        entries = ledger.entries(author=None if everyone else archive.me)
    runs = [as_run(entry, ledger, name) for entry in entries]
    folder = out or Path(f"{tool}-{name}")
    try:
        if tool == "tensorboard":
            count, look = write_event_files(runs, folder), f"tensorboard --logdir {folder}"
        else:
            count, where = write_database(runs, folder, name)
            look = f"mlflow ui --backend-store-uri {where}"
    except OSError as error:
        why = f"runs cannot be written to {folder}: {error.strerror}; choose another --out"
        raise ExportError(why) from None
    if as_json:
        print_json({"tool": tool, "folder": str(folder), "runs": count, "look": look})
        return
    click.echo(f"{count} runs in {folder}; look at them: {look}")


class NameType(click.ParamType[str]):
    name = "NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", str(value)) is None:
            self.fail(f"{value!r} is not up to 40 lower-case letters, digits, - and _", param, ctx)
        return str(value)


class HardwareClassType(click.ParamType[str]):
    name = "CLASS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", str(value)) is None:
            self.fail(f"{value!r} is not a hardware class such as cuda-nvidia-h100-80gb", param, ctx)
        return str(value)


@click.command("import")
@click.argument("table", metavar="RESULTS_TSV", type=click.Path(path_type=Path))
@click.option("--git", "repository", type=click.Path(path_type=Path), metavar="REPOSITORY", default=None,
              help="The git repository with the commits: then each run has its train.py.")  # fmt: skip
@click.option("--branch", metavar="NAME", default=None, help="Its branch; what was kept must be on it.")
@click.option("--name", type=NameType(), default=None, help="What to call the topic; default: from branch or file.")
@click.option("--hardware-class", type=HardwareClassType(), default="unknown", show_default=True,
              help="What it was measured on.")  # fmt: skip
@click.option("--budget", type=click.FloatRange(min=1, max=7 * 24 * 3600), default=300.0, show_default=True,
              metavar="SECONDS", help="Seconds of one run.")  # fmt: skip
@home_option
@json_option
def import_table(
    home: Home, as_json: bool, table: Path, repository: Path | None, branch: str | None, name: str | None,
    hardware_class: str, budget: float,
) -> None:  # fmt: skip
    """Open autoresearch's results.tsv as a topic to look at."""
    if branch is not None and repository is None:
        raise click.UsageError("--branch names a branch of a repository: say which one with --git")
    rows = read_table(table)
    name = name or _name_from(branch or (table.stem if table.stem != "results" else table.absolute().parent.name))
    home.create()
    _check_free(home, name)
    found: dict[str, Code] = {}
    if repository is not None:
        found = trio.run(CodeHistory(repository, branch).read, [row.commit for row in rows])
        check_code(rows, found, repository)
    track = Track(hardware_class=hardware_class, budget_seconds=budget)
    made = make_import(rows, name, track, _written_at(table), found)
    write_import(home, made, wall_clock())
    facts = _import_facts(made, rows)
    if as_json:
        print_json(facts)
        return
    best = f", best {bpb(facts['best'])}" if facts["best"] is not None else ""
    code = f"; {facts['with_code']} with their train.py" if repository is not None else ""
    click.echo(f"topic {name}: {facts['findings']} runs, {facts['kept']} kept{best}{code}")
    click.echo(f"look at it: {facts['look']}")


def _name_from(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-_")[:40] or "imported"


def _check_free(home: Home, name: str) -> None:
    taken = {home.load_brief(views.BriefId(path.stem)).name for path in home.briefs.glob("*.json")}
    if name in taken:
        raise TableError(f"{home.path} has a topic {name} already; choose another name with --name")
    if name in shipped_topics():
        raise TableError(f"{name} is the name of a topic of research-swarm; choose another one with --name")


def _written_at(table: Path) -> float:
    """Rows have no time of their own."""
    try:
        return max(0.0, table.stat().st_mtime)
    except OSError:  # gone meanwhile
        return wall_clock()


def _import_facts(made: Import, rows: list[Row]) -> views.Json:
    kept = sum(finding.verdict.decision is Decision.KEEP for finding in made.findings)
    return {
        "topic": made.brief.name,
        "brief_id": made.brief_id,
        "author": made.records[0].author,
        "findings": len(made.findings),
        "kept": kept,
        "best": min((row.val_bpb for row in rows if row.val_bpb is not None), default=None),
        "with_code": made.with_code,
        "look": f"swarm log --topic {made.brief.name}",
    }

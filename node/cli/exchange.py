"""`swarm export` and `swarm import`: runs to and from other tools."""

from pathlib import Path

import click

from node import views
from node.cli.look import print_json
from node.cli.options import home_option, json_option, topic_option
from node.exchange.mlflow_database import write_database
from node.exchange.runs import as_run
from node.exchange.tensorboard_files import write_event_files
from node.home import Home
from swarm.words import SwarmError


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

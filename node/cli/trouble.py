"""`swarm doctor`: what works on this machine and what to do about the rest."""

import json
import os
import sys

import click
from rich.console import Console
from rich.text import Text

from node.cli.options import home_option, json_option
from node.doctor import Check, examine, report
from node.home import Home

MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "problem": ("problem", "bold red")}


@click.command()
@home_option
@json_option
def doctor(home: Home, as_json: bool) -> None:
    """Check everything a node needs; exit 1 if something is wrong."""
    checks: list[Check] = []
    console = Console()
    for check in examine(home, os.environ):
        checks.append(check)
        if not as_json:
            word, style = MARKS[check.state]
            line = Text(f"{word:<8} ", style=style).append(f"{check.name:<12} {check.found}", style="default")
            console.print(
                line.append(f"\n{'':22}{check.advice}", style="dim") if check.advice else line, soft_wrap=True
            )
    facts = report(checks)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    sys.exit(0 if facts["ok"] else 1)

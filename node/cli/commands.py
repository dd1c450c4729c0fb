"""The group of all commands, and how their failures become sentences and exit codes."""

import errno
import os
import select
import sys

import click

from gossip.refusal import GossipError
from node.cli.bench import bench
from node.cli.browse import browse
from node.cli.exchange import export, import_table
from node.cli.explain import explain
from node.cli.fetch import fetch
from node.cli.findings import diff, log, show
from node.cli.launch import join, launch
from node.cli.look import status, ticket
from node.cli.metrics import metrics
from node.cli.peers import peers
from node.cli.replay import replay
from node.cli.report import finalize, report
from node.cli.simulate import simulate
from node.cli.standings import branches, leaderboard
from node.cli.steer import steer
from node.cli.topic import topic
from node.cli.trouble import doctor
from node.cli.watch import watch
from node.home import NoHome
from node.imported import OnlyToLookAt
from node.launching import UsageError
from node.simulation.scenario import ScenarioError
from node.topics.topic_file import TopicError
from swarm.words import SwarmError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="research-swarm", prog_name="swarm")
def swarm() -> None:
    """A peer-to-peer swarm of research agents. Start with: swarm launch"""


_COMMANDS: tuple[click.Command, ...] = (
    *(launch, join, ticket, status, watch, peers, leaderboard, branches, log, show, diff, explain, replay),
    *(browse, fetch, steer, report, finalize, export, import_table, topic, metrics, doctor, simulate, bench),
)
for command in _COMMANDS:
    swarm.add_command(command)


def run_command_line() -> None:
    """Expected failures become one sentence on standard error."""
    stdout = _standard_output()
    try:
        _run(stdout)
    finally:
        if stdout is not None:
            os.close(stdout)


def _run(stdout: int | None) -> None:
    try:
        swarm.main(prog_name="swarm", standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that has gone is no error, and not at the interpreter's end
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.UsageError as error:
        where = f"{error.ctx.command_path}: " if error.ctx else "swarm: "
        click.echo(f"{where}{error.format_message()}", err=True)
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        click.echo(f"swarm: {error.format_message()}", err=True)
        sys.exit(1)
    except (UsageError, TopicError, ScenarioError, NoHome, OnlyToLookAt) as error:
        click.echo(f"swarm: {error}", err=True)
        sys.exit(2)
    except (SwarmError, GossipError) as error:
        click.echo(f"swarm: {error}", err=True)
        sys.exit(1)
    except SystemExit as end:
        # click and rich end with 1 when nobody reads any more, which is no failure.
        sys.exit(0 if end.code == 1 and _reader_has_gone(stdout) else end.code)
    except BrokenPipeError:
        # The reader has gone (`swarm log | head`); keep Python from complaining about it at exit.
        _discard_output()
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _discard_output()
        click.echo(f"swarm: cannot write the output: {error.strerror}", err=True)
        sys.exit(1)


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _standard_output() -> int | None:
    """A descriptor of our own for it: rich puts /dev/null in its place when the reader goes."""
    try:
        return os.dup(1)
    except OSError:  # closed by whoever started us
        return None


def _reader_has_gone(stdout: int | None) -> bool:
    if stdout is None:
        return False
    pipe = select.poll()
    pipe.register(stdout, 0)
    return any(state & select.POLLERR for _, state in pipe.poll(0))

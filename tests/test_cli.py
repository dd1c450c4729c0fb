"""The command line: wrong usage is exit 2 and one sentence, a failure is exit 1, a reader that leaves is none."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from node_process import NodeProcess, until, write_topic
from small_home import furnish
from small_lab import BRIEF_ID

from gossip.ticket import Ticket, encode_ticket
from node.cli.commands import swarm
from node.cli.launch import parse_until
from node.cli.look import replay_words
from node.home import Home

PEER = "12D3KooWNeyMAf8HrkBFLEhpYqFZWNWBkuhGabcYoXBH87kooJ79"
TICKET = encode_ticket(Ticket("small", BRIEF_ID, (f"/ip4/127.0.0.1/tcp/9/p2p/{PEER}",)))
MISTYPED = TICKET[:60] + ("a" if TICKET[60] != "a" else "b") + TICKET[61:]
TOPIC = 'name = "x"\n[corpus]\nsource = "files"\npaths = ["*.txt"]\n'
LOOKING = ["status", "peers", "log", "leaderboard", "branches", "ticket", "show 1", "diff 1 2"]
PROGRAM = [sys.executable, "-c", "from node.cli import main; main()"]


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch):
    for name in ("SWARM_HOME", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory) -> Path:
    return furnish(tmp_path_factory.mktemp("furnished") / "[lab]").path  # brackets are markup to some


WRONG = {
    "unknown command": (["lunch"], "No such command 'lunch'"),
    "unknown option": (["launch", "--bogus"], "No such option '--bogus'"),
    "unknown subcommand": (["topic", "bogus"], "No such command 'bogus'"),
    "join without ticket": (["join"], "Missing argument 'TICKET'"),
    "join two tickets": (["join", TICKET, TICKET], "unexpected extra argument"),
    "not a ticket": (["join", "hello"], "begins with 'swarm1'"),
    "an empty ticket": (["join", ""], "not a ticket"),
    "a truncated ticket": (["join", TICKET[:-5]], "cut short"),
    "a mistyped ticket": (["join", MISTYPED], "mistyped"),
    "a ticket of another version": (["join", "swarm2" + TICKET[6:]], "version"),
    "a ticket for another topic than the named one": (
        ["join", TICKET, "--topic", "pysource"],
        "leave out --topic, then what the ticket is for comes from its peers",
    ),
    "an agent without its command": (["launch", "--proposer", "command"], "needs --agent-command"),
    "an empty agent command": (["launch", "--agent-command", " "], "it is empty"),
    "an agent beside one arm": (["launch", "--proposer", "tpe", "--agent-command", "x"], "not with tpe"),
    "an unknown topic": (["launch", "--topic", "nope"], "unknown topic 'nope'"),
    "a topic file that is not there": (["launch", "--topic", "none/t.toml"], "there is no topic file none/t.toml"),
    "topic show of an unknown one": (["topic", "show", "pysorce"], "did you mean 'pysource'?"),
    "no budget": (["launch", "--budget", "0"], "'--budget'"),
    "a negative budget": (["launch", "--budget", "-5"], "'--budget'"),
    "a budget in words": (["launch", "--budget", "long"], "'--budget'"),
    "a budget that is no number": (["launch", "--budget", "nan"], "'--budget'"),
    "a budget without end": (["launch", "--budget", "inf"], "'--budget'"),
    "no experiments": (["launch", "--max-experiments", "0"], "'--max-experiments'"),
    "half an experiment": (["launch", "--max-experiments", "0.5"], "'--max-experiments'"),
    "a past end": (["launch", "--until", "2020-01-01T00:00:00Z"], "is in the past"),
    "an end in words": (["launch", "--until", "tomorrow"], "is not a time; write 07:30"),
    "an end out of the calendar": (["launch", "--until", "99999-01-01T00:00:00Z"], "is not a time"),
    "listen nowhere": (["launch", "--listen", "localhost:4001"], "--listen: 'localhost:4001' is not an address"),
    "listen on a port there is not": (["launch", "--listen", "/ip4/0.0.0.0/tcp/99999"], "--listen: "),
    "bootstrap nobody": (["launch", "--bootstrap", "/ip4/127.0.0.1/tcp/4001"], "--bootstrap: "),
    "bootstrap nonsense": (["launch", "--bootstrap", "\x1b[2J"], "--bootstrap: "),
    "allow nobody": (["launch", "--allow", "bob"], "'bob' is not a peer id"),
    "deny nonsense": (["launch", "--deny", "\x1b[2J"], "is not a peer id"),
    "an unknown proposer": (["launch", "--proposer", "oracle"], "'--proposer'"),
    "llm without configuration": (["launch", "--proposer", "llm"], "set OPENAI_API_KEY"),
    "ticket file is a folder": (["launch", "--ticket-file", "/"], "'--ticket-file'"),
    "leaderboard of nobody": (["leaderboard", "--limit", "0"], "'--limit'"),
    "show nothing": (["show"], "Missing argument 'FINDING'"),
    "replay nothing": (["replay"], "Missing argument 'FINDING'"),
    "replay of no steps": (["replay", "1", "--steps", "0"], "'--steps'"),
    "replay of half a step": (["replay", "1", "--steps", "1.5"], "'--steps'"),
    "diff of one": (["diff", "1"], "Missing argument 'SECOND'"),
    "home without a name": (["status", "--home", ""], "the home directory has an empty name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_exit_2_and_one_sentence(run, tmp_path, case):
    arguments, words = WRONG[case]
    home = ["--home", str(tmp_path / "home")] if arguments[0] in ("launch", "join") else []
    check_one_sentence(run(*arguments, *home), 2, words)


def check_one_sentence(ended: tuple[int, str, str], status: int, words: str) -> None:
    found, out, err = ended
    assert (found, out) == (status, ""), err
    assert words in err
    assert err.startswith("swarm")
    assert err.endswith("\n")
    assert err[:-1].isprintable(), "one line without control characters"
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (TOPIC + "[base]\nwidht = 3\n", "'widht'"),
        (TOPIC + "[base]\ndepth = 300\n", "depth = 300 is outside 1..8"),
        (TOPIC + "[base]\nnorm = 'batchnorm'\n", "norm = 'batchnorm' is not one of"),
        (TOPIC + "[base]\ndepth = 'deep'\n", "depth"),
        (TOPIC + "[budgets]\ncpu = -1\n", "budgets.cpu"),
        (TOPIC + "[budget]\ncpu = 10\n", "unknown key 'budget'; did you mean 'budgets'?"),
        ('name = "x\n', "is not valid TOML"),
        ("", "name"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_wrong_topic_file_is_exit_2_and_one_sentence(run, tmp_path, content, words):
    file = tmp_path / "topic.toml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    check_one_sentence(run("launch", "--topic", str(file), "--home", str(tmp_path / "home")), 2, words)


@pytest.mark.parametrize("command", ["launch", *LOOKING])
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_home_that_is_or_lies_below_a_file_is_exit_2_and_one_sentence(run, tmp_path, command, place):
    (tmp_path / "file").write_text("")
    ended = run(*command.split(), "--home", str(tmp_path / place))
    check_one_sentence(ended, 2, str(tmp_path / place))


@pytest.mark.parametrize("command", [*LOOKING, "replay 1"])
def test_looking_where_no_node_has_been_is_exit_2_and_one_sentence(run, tmp_path, command):
    ended = run(*command.split(), "--home", str(tmp_path / "none"))
    check_one_sentence(ended, 2, f"no node has run in {tmp_path / 'none'} yet; start one with: swarm launch --home")
    assert not (tmp_path / "none").exists()


def test_wrong_usage_of_a_start_touches_no_home_and_reads_no_text(run, tmp_path):
    for arguments in (["--listen", "x"], ["--bootstrap", "x"], ["--proposer", "llm"]):
        assert run("launch", *arguments, "--home", str(tmp_path / "home"))[0] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "99"], "no finding '99'"),
        (["diff", "1", "²"], "no finding '²'"),
        (["status", "--topic", "nope"], "no topic 'nope' in"),
        (["ticket", "--topic", "other"], "last worked on another topic"),
        (["replay", "99"], "no finding '99'"),
        (["replay", "1", "--topic", "nope"], "no topic 'nope' in"),
    ],
)
def test_what_is_not_there_is_exit_1_and_one_sentence(run, furnished, arguments, words):
    check_one_sentence(run(*arguments, "--home", str(furnished)), 1, words)


def commands(group: click.Group = swarm, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in group.commands.items():
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("path", commands(), ids=lambda path: " ".join(path) or "swarm")
def test_every_command_explains_itself(run, path, flag):
    status, out, err = run(*path, flag)
    assert (status, err) == (0, "")
    assert out.startswith(" ".join(("Usage: swarm", *path)))
    assert all(len(line) <= 100 for line in out.splitlines())


def test_every_option_has_a_help_text():
    for path in commands():
        command: click.Command = swarm
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        assert command.help, path
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, f"{path} {option.name}"


def test_the_version_is_the_packages(run):
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("swarm, version ")


def test_no_command_shows_the_commands_and_is_wrong_usage(run):
    status, out, err = run()
    assert (status, out) == (2, "")
    assert "launch" in err


@pytest.mark.parametrize("command", [*LOOKING, "log --all", "leaderboard --all-classes", "status --topic other"])
def test_looking_prints_tables_or_one_json_document(run, furnished, command):
    status, out, err = run(*command.split(), "--home", str(furnished))
    assert (status, "\x1b" in out, bool(out.strip())) == (0, False, True)
    assert err in ("", "this node is not running; the ticket works again once it is\n")
    status, out, err = run(*command.split(), "--home", str(furnished), "--json")
    assert (status, err) == (0, "")
    assert isinstance(json.loads(out), dict)


def test_a_row_limit_is_for_people_and_says_what_it_hides(run, furnished):
    _, out, _ = run("leaderboard", "--home", str(furnished), "--limit", "1")
    assert "... and 3 more; see --limit" in out
    _, out, _ = run("leaderboard", "--home", str(furnished), "--limit", "1", "--json")
    assert len(json.loads(out)["entries"]) == 4


def test_a_path_with_brackets_is_printed_as_it_is(run, furnished):
    for command in ("branches", "status"):
        assert str(furnished / "results") in run(command, "--home", str(furnished))[1]


def test_the_home_may_come_from_the_environment(run, furnished, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(furnished))
    assert json.loads(run("status", "--json")[1])["home"] == str(furnished)


NOW = datetime(2026, 11, 21, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("22:31", NOW + timedelta(minutes=1)),
        ("22:30", NOW + timedelta(days=1)),
        ("07:30", datetime(2026, 11, 22, 7, 30, tzinfo=UTC)),
        ("2026-11-22T07:30:00Z", datetime(2026, 11, 22, 7, 30, tzinfo=UTC)),
        ("2026-11-22T07:30:00+01:00", datetime(2026, 11, 22, 6, 30, tzinfo=UTC)),
        ("2026-11-22T07:30", datetime(2026, 11, 22, 7, 30, tzinfo=UTC)),
    ],
)
def test_until_is_the_next_such_time_of_day_or_a_moment(text, moment):
    assert parse_until(text, NOW) == moment


def left_alone(*arguments: str, stop_when: Callable[[], object] | None = None) -> tuple[int, str]:
    """Run a command whose reader is gone before it writes: exit status and standard error."""
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        if stop_when is not None:
            until(lambda: bool(stop_when()) or process.poll() is not None, "what the node should come to")
            process.terminate()
        err = process.stderr.read().decode()
        return process.wait(60), err


@pytest.mark.parametrize("command", ["log --json", "leaderboard", "--help"])
def test_a_reader_that_has_gone_is_no_failure(furnished, command):
    home = [] if command == "--help" else ["--home", str(furnished)]
    assert left_alone(*command.split(), *home) == (0, "")


def test_a_node_whose_reader_has_gone_works_on_and_ends_well(tmp_path):
    topic = write_topic(tmp_path / "topic")
    home = Home(tmp_path / "home")
    arguments = ["--topic", str(topic), "--home", str(home.path), "--no-train", "--no-mdns", "--listen"]
    ended = left_alone("launch", *arguments, "/ip4/127.0.0.1/tcp/0", stop_when=lambda: "ticket" in home.read_state())
    assert ended == (0, "")
    assert "ticket" in home.read_state()


def test_a_failure_while_events_are_json_is_still_a_sentence_on_standard_error(tmp_path):
    topic = write_topic(tmp_path / "topic")
    for text in (tmp_path / "topic" / "text").iterdir():
        text.unlink()
    with NodeProcess("launch", "--topic", str(topic), home=tmp_path / "home") as node:
        assert node.wait() == 1
    assert node.stderr.startswith("swarm: ")
    assert node.stderr.count("\n") == 1


def test_a_replay_on_a_busy_machine_is_said_not_to_count():
    replay = {"node_name": "eve", "peer": "p", "steps": None, "agrees": False, "outcome_agrees": True, "val_bpb": 2.5,
              "outcome": "measured", "condition": "contended"}  # fmt: skip
    assert replay_words(replay) == "2.5000 by eve: does not agree, does not count"
    assert replay_words(replay | {"condition": "steady"}) == "2.5000 by eve: does not agree"

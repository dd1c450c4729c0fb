"""The documents name what there is: commands, options, keys of answers, words, files."""

import re
from pathlib import Path

import click
import pytest
import trio
from small_home import furnish

from gossip.identity import load_or_create
from node import events, views
from node.cli.commands import swarm
from node.cli.steer import steer_json
from node.cli.topic import summary_json
from node.doctor import Check, report
from node.journal import Journal
from node.notebook import Notebook
from node.peer_facts import peers as peer_facts
from node.proposers.steering import Steering
from node.steering import files_of
from node.story import explain
from node.topics.loading import describe_topic
from swarm import words
from swarm.ledger import Entry, ReplayEntry
from swarm.replay import Replay

ROOT = Path(__file__).parent.parent
CLI = (ROOT / "docs" / "cli.md").read_text()
DESIGN = (ROOT / "docs" / "design.md").read_text()
CODE = "\n".join(re.findall(r"`([^`]+)`", CLI))  # what docs/cli.md prints as code
WORDS = set(re.findall(r"[A-Za-z_]+", CODE))


def leaves(group: click.Group = swarm, path: str = "swarm") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        inside = leaves(command, f"{path} {name}") if isinstance(command, click.Group) else []
        found += inside or [(f"{path} {name}", command)]
    return found


@pytest.mark.parametrize(("path", "command"), leaves(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_every_option_is_in_the_manual(path, command):
    assert f"`{path}" in CLI
    for option in command.params:
        if isinstance(option, click.Option):
            for name in (*option.opts, *option.secondary_opts):
                assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", CODE), f"{name} of {path}"


def test_every_option_in_the_manual_exists():
    known = {name for _, c in leaves() for o in c.params for name in (*o.opts, *o.secondary_opts)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", CODE)) <= known


OPEN = ("config", "changes", "current")  # their keys are the search space's, or an event's


def keys_of(facts: object) -> set[str]:
    """All keys of an answer, apart from those of a config."""
    if isinstance(facts, dict):
        inside = [value for key, value in facts.items() if key not in OPEN]
        return set(facts) | {key for value in inside for key in keys_of(value)}
    return {key for value in facts for key in keys_of(value)} if isinstance(facts, list) else set()


def replayed(home, archive: views.Archive) -> tuple[Entry, ReplayEntry]:
    """Run 2 of the home, run again by its own node."""
    entry, journal = views.find(archive, "2"), Journal(home.journal)
    notebook = Notebook(archive.brief, journal.of(archive.brief_id), load_or_create(home.key), events.Events())
    proposal, trial = entry.finding.proposal, entry.finding.trials[0]
    made = Replay(of=entry.id, key=proposal.key, started_at="2026-01-01T00:00:00Z", trial=trial)
    journal_entry = notebook.append_replay(made)
    journal.close()
    return entry, journal_entry


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, object]:
    home = furnish(tmp_path_factory.mktemp("documented") / "home")
    with home.lock(), views.open_archive(home) as archive:
        return {
            "swarm status": views.status(archive),
            "swarm log": views.log(archive, everyone=True),
            "swarm leaderboard": views.leaderboard(archive),
            "swarm branches": trio.run(views.branches, archive),
            "swarm ticket": views.ticket(archive),
            "swarm peers": peer_facts(archive, 0.0),
            "swarm explain": explain(archive, "2"),
            "swarm show": views.show(archive, "2"),
            "swarm replay": views.replay(archive, *replayed(home, archive)) | {"standing_before": "claimed"},
            "swarm steer": steer_json(files_of(home, archive.brief_id, None), archive.brief, Steering()),
            "swarm diff": views.diff(archive, "1", "2"),
            "swarm doctor": report([Check("python", "ok", "3.11", "")]),
            "swarm topic list": {"topics": [summary_json(describe_topic("pysource"))]},
        }


BESIDE = {  # where the manual says the rest of an answer's keys
    "swarm log": ("swarm status",),
    "swarm show": ("swarm log", "swarm replay", "swarm status"),
    "swarm explain": ("swarm replay",),
    "swarm replay": ("swarm status",),
}


def section(command: str) -> str:
    (found,) = [part for part in re.split(r"^#+ ", CLI, flags=re.MULTILINE) if part.startswith(f"`{command}")]
    return found


def test_every_key_of_every_answer_is_in_its_section_of_the_manual(answers):
    missing = {}
    for command, facts in answers.items():
        text = section(command) + "".join(section(other) for other in BESIDE.get(command, ()))
        named = set(re.findall(r"[A-Za-z_]\w*", " ".join(re.findall(r"`([^`]+)`", text))))
        if lacking := keys_of(facts) - named:
            missing[command] = lacking
    assert not missing


def test_every_event_is_in_the_manual():
    for kind in vars(events).values():
        if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event:
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
            assert f"`{name}`" in CLI


@pytest.mark.parametrize("kind", [words.Outcome, words.Decision, words.Standing, words.Operator])
def test_every_word_of_the_design_is_in_its_table(kind):
    for member in kind:
        assert re.search(rf"\b{member.value}\b", DESIGN), f"{kind.__name__} {member.value}"


def test_these_are_all_lists_of_words():
    lists = {name for name, kind in vars(words).items() if isinstance(kind, type) and issubclass(kind, words.StrEnum)}
    assert lists - {"StrEnum"} == {"Outcome", "Condition", "Decision", "Standing", "Operator"}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/design.md", "docs/cli.md", "docs/protocol.md"])
def test_every_file_a_document_names_exists(name):
    document = ROOT / name
    text = document.read_text()
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (document.parent / link).exists()]
    tops = {path.name for path in ROOT.iterdir()}
    named = [word for word in re.findall(r"`([A-Za-z0-9_./-]+/[A-Za-z0-9_./-]*)`", text) if word.split("/")[0] in tops]
    missing += [word for word in named if not (ROOT / word).exists()]
    assert not missing


def test_the_readmes_tree_names_files_that_exist():
    text = (ROOT / "README.md").read_text()
    for line in re.findall(r"^((?:swarm|gossip|node|experiments|configs|docs|tests)/)\s", text, re.MULTILINE):
        assert (ROOT / line).is_dir()


def test_the_readmes_commands_exist():
    known = {path for path, _ in leaves()}
    for command in re.findall(
        r"^\.venv/bin/(swarm [a-z]+(?: list| show)?)", (ROOT / "README.md").read_text(), re.MULTILINE
    ):
        assert command in known or command.rsplit(" ", 1)[0] in known, command
    rules = re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    for name in ("README.md", "CONTRIBUTING.md"):
        assert set(re.findall(r"^make ([a-z-]+)", (ROOT / name).read_text(), re.MULTILINE)) <= targets

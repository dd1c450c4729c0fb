"""`swarm report` and `swarm finalize` on a home with real findings and a real repository."""

import json
import re
import subprocess

import pytest
from click.testing import CliRunner
from small_home import furnish

from node.cli.commands import swarm


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return furnish(tmp_path_factory.mktemp("home")).path


def run(*arguments):
    return CliRunner().invoke(swarm, [str(argument) for argument in arguments], catch_exceptions=True)


def git(home, *arguments):
    command = ["git", "-C", str(home / "results"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_report_is_three_files_and_says_which(home, tmp_path):
    done = run("report", "--home", home, "--out", tmp_path / "r", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.output)
    assert facts["topic"] == "small"
    assert [path.rsplit("/", 1)[1] for path in facts["files"]] == ["report.html", "progress.png", "results.tsv"]
    assert (tmp_path / "r" / "progress.png").read_bytes().startswith(b"\x89PNG")
    track = next(t for t in facts["tracks"] if t["hardware_class"].startswith("cpu"))
    assert track["start"] == 2.005, "the earliest that has no parent"
    assert track["best"]["val_bpb"] == min(n["best"] for n in track["nodes"] if n["best"] is not None)
    assert [step["id"] for step in track["path"]][-1] == track["best"]["id"]


def test_the_page_holds_all_it_shows_and_what_peers_wrote_is_text(home, tmp_path):
    run("report", "--home", home, "--out", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "[bold]wide" in page, "inert, and still there"


def test_the_table_has_autoresearchs_columns_first_and_everybodys_runs(home, tmp_path):
    facts = json.loads(run("report", "--home", home, "--out", tmp_path, "--json").output)
    head, *rows = (tmp_path / "results.tsv").read_text().splitlines()
    assert head.split("\t")[:5] == ["commit", "val_bpb", "memory_gb", "status", "description"]
    assert len(rows) == facts["findings"]
    assert all(len(row.split("\t")) == len(head.split("\t")) for row in rows)


def test_a_folder_that_cannot_be_written_is_one_sentence(home, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("report", "--home", home, "--out", tmp_path / "file" / "r")
    assert done.exit_code == 1
    assert "the report cannot be written to" in str(done.exception)


def test_the_way_to_a_finding_becomes_a_branch_with_a_commit_for_each_kept_change(home):
    own = json.loads(run("log", "--home", home, "--json").output)["findings"]
    kept = next(finding for finding in own if finding["number"] == 2)
    done = run("finalize", "#2", "--home", home, "--branch", "final/mine", "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.output)
    assert made["finding"] == kept["id"]
    log = git(home, "log", "--reverse", "--format=%H %(trailers:key=Finding-Id,valueonly,separator=)", "final/mine")
    hashes = [line.split()[0] for line in log.splitlines()]
    assert hashes == [commit["hash"] for commit in made["commits"]]
    assert log.split()[-1] == kept["id"]
    assert json.loads(git(home, "show", "final/mine:config.json")) == kept["config"]
    assert git(home, "ls-tree", "--name-only", "final/mine").split() == ["config.json", "program.md", "train.py"]
    assert git(home, "fsck", "--strict") == ""


@pytest.mark.parametrize("name", ["-x", "nodes/me/small", "a..b", "with space", "x.lock"])
def test_a_name_that_cannot_be_is_refused(home, name):
    done = run("finalize", "#2", "--home", home, f"--branch={name}")
    assert done.exit_code == 1
    assert "cannot name the branch" in str(done.exception)


def test_a_branch_that_is_there_stays_as_it_is(home):
    run("finalize", "#2", "--home", home, "--branch", "final/once")
    before = git(home, "rev-parse", "final/once")
    done = run("finalize", "#2", "--home", home, "--branch", "final/once")
    assert done.exit_code == 1
    assert "is there already" in str(done.exception)
    assert git(home, "rev-parse", "final/once") == before


def test_where_no_node_has_been_there_is_nothing_to_report(tmp_path):
    for command in ("report", "finalize"):
        assert run(command, "--home", tmp_path / "none").exit_code != 0

"""`swarm import`: a results.tsv, with or without its repository, becomes a topic to look at, or one sentence."""

import json
import subprocess

import pytest
from small_home import furnish

from node.browse.asked import Asked
from node.browse.draw import html_of
from node.browse.reading import Reading
from node.home import Home
from node.journal import Journal

HEAD = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
ROWS = (
    ("a1b2c3d", "0.997900", "44.0", "keep", "baseline"),
    ("b2c3d4e", "0.993200", "44.2", "keep", "increase LR to 0.04 [bold]\x1b[2J"),
    ("c3d4e5f", "1.005000", "44.0", "discard", "switch to GeLU activation"),
    ("d4e5f6a", "0.000000", "0.0", "crash", "double model width (OOM)"),
    ("e5f6a7b", "0.991000", "43.0", "keep", "less weight decay"),
)


@pytest.fixture
def answer(run):
    def answer(*arguments: object) -> dict:
        status, out, err = run(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    return answer


def write(path, rows=ROWS):
    path.write_text(HEAD + "".join("\t".join(row) + "\n" for row in rows))
    return path


def git(repository, *arguments):
    done = subprocess.run(
        ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """As autoresearch leaves it: what was thrown away is not on the branch, and may be nowhere."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "autoresearch/mar5")
    commits = []
    for text in ("lr = 1\n", "lr = 2\n", "lr = 2\nwd = 0\n"):
        (path / "train.py").write_text(text)
        git(path, "add", ".")
        git(path, "commit", "-q", "-m", "x")
        commits.append(git(path, "rev-parse", "HEAD"))
    return path, commits


def test_the_rows_are_a_topic_that_the_looking_commands_show(run, answer, tmp_path):
    home = tmp_path / "home"
    told = answer("import", write(tmp_path / "results.tsv"), "--name", "night", "--home", home)
    assert (told["findings"], told["kept"], told["best"]) == (5, 3, 0.991)
    findings = answer("log", "--topic", "night", "--home", home)["findings"]
    assert [f["verdict"] for f in findings] == ["keep", "keep", "discard", "discard", "keep"]
    assert [f["outcome"] for f in findings] == ["measured"] * 3 + ["crashed", "measured"]
    assert [f["val_bpb"] for f in findings] == [0.9979, 0.9932, 1.005, None, 0.991]
    assert [f["commit"] for f in findings] == [row[0] for row in ROWS]
    ids = [f["id"] for f in findings]
    assert [f["parent"] for f in findings] == [None, ids[0], ids[1], ids[1], ids[1]], "the last one kept before it"
    assert findings[4]["effect"] == pytest.approx(0.0022)
    assert findings[4]["interval"] > 0.0022, "one trial each: nobody knows"
    assert findings[1]["title"] == "increase LR to 0.04 [bold]"
    board = answer("leaderboard", "--topic", "night", "--home", home)["entries"]
    assert [e["number"] for e in board] == [5, 2, 1, 3]
    assert answer("show", 5, "--topic", "night", "--home", home)["hardware_class"] == "unknown"
    assert answer("report", "--topic", "night", "--home", home, "--out", tmp_path / "out")["findings"] == 5
    again = answer("import", tmp_path / "out" / "results.tsv", "--name", "again", "--home", home)
    assert (again["findings"], again["best"]) == (5, 0.991), "what is reported can be imported"
    reading = Reading(Home(home))
    page = reading.look("night", lambda sight: html_of(sight, Asked("run", name=ids[1])))
    assert "Imported from a table" in page
    assert "swarm replay" not in page
    status, out, _ = run("show", 2, "--topic", "night", "--home", home)
    assert status == 0
    assert "\x1b" not in out


def test_with_the_repository_each_run_has_its_code(answer, tmp_path, repository):
    path, (first, second, third) = repository
    rows = [
        (first[:7], "0.9979", "44.0", "keep", "baseline"),
        ("0123456", "1.1", "44.0", "discard", "reset away"),
        (second[:7], "0.99", "44.0", "keep", "lr"),
        (third[:7], "0.98", "44.0", "keep", "wd"),
        (third[:7], "0.982", "44.0", "discard", "another seed"),
    ]
    home = tmp_path / "home"
    options = ("--git", path, "--branch", "autoresearch/mar5", "--home", home)
    told = answer("import", write(tmp_path / "results.tsv", rows), *options)
    assert (told["topic"], told["with_code"]) == ("autoresearch-mar5", 4)
    assert "+lr = 2" in answer("diff", 1, 3, "--home", home)["source"]
    assert answer("diff", 1, 2, "--home", home)["source"] == "", "unknown code is shown as that of its parent"
    shown = answer("show", 4, "--home", home)
    assert shown["commit"] == third
    assert shown["score"]["trials"] == 2, "a commit that was run twice is one thing measured twice"


def test_nobody_works_on_it_and_the_own_topics_stay(run, answer, tmp_path):
    home = furnish(tmp_path / "home")
    before = answer("log", "--home", home.path)
    answer("import", write(tmp_path / "results.tsv"), "--name", "night", "--home", home.path)
    assert answer("log", "--home", home.path) == before
    status, _, err = run("launch", "--topic", "night", "--home", home.path, "--max-experiments", 1)
    assert (status, err.count("\n")) == (2, 1)
    assert "only to look at" in err
    status, _, err = run("ticket", "--topic", "night", "--home", home.path)
    assert (status, err.count("\n")) == (2, 1)
    status, _, err = run("replay", 1, "--topic", "night", "--home", home.path)
    assert (status, err.count("\n")) == (2, 1)
    assert "topic night was imported and has no text" in err
    for wish in (("--pin", "row=1"), ("--say", "try it again"), ("--show",)):
        status, out, err = run("steer", *wish, "--topic", "night", "--home", home.path)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "only to look at" in err
    assert not list(home.path.glob("steering*")) + list(home.path.glob("program*"))
    with home.lock():
        status, _, err = run("import", tmp_path / "results.tsv", "--name", "other2", "--home", home.path)
    assert (status, err.count("\n")) == (1, 1)
    assert "is running in" in err


GOOD = "\t".join(ROWS[0]) + "\n"
BAD = {
    "not a table": ("hello\nworld\n", "no tab-separated column commit"),
    "binary": (b"\x00\xff\xfe", "not UTF-8"),
    "zeros": ("commit\0", "binary zeros"),
    "empty": ("\n\n", "is empty"),
    "no rows": (HEAD, "no rows"),
    "a missing column": ("commit\tval_bpb\tstatus\tdescription\n" + "a\tb\tc\td\n", "column memory_gb"),
    "a short row": (HEAD + "abcd\t1.0\n", "line 2: 2 tab-separated cells"),
    "no commit": (HEAD + "x y\t1.0\t1\tkeep\tx\n", "line 2: 'x y' is not the beginning of a commit's hash"),
    "a status": (HEAD + "abcd\t1.0\t1\t\x1b[31mwon\tx\n", "status 'won' is none of keep"),
    "not finite": (HEAD + GOOD + "abcd\tnan\t1\tkeep\tx\n", "line 3: val_bpb 'nan'"),
    "too large": (HEAD + "abcd\t64\t1\tkeep\tx\n", "val_bpb '64' is not a number from 0 to 64"),
    "negative": (HEAD + "abcd\t-1\t1\tkeep\tx\n", "val_bpb '-1'"),
    "memory": (HEAD + "abcd\t1\t1e300\tkeep\tx\n", "memory_gb '1e300'"),
    "kept without a number": (HEAD + "abcd\t0.0\t1\tkeep\tx\n", "status keep with no val_bpb"),
    "too many rows": (HEAD + GOOD * 100_000, "100,000 rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_one_sentence_and_nothing_is_written(run, tmp_path, name):
    text, sentence = BAD[name]
    table = tmp_path / "results.tsv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    status, out, err = run("import", table, "--name", "night", "--home", tmp_path / "home")
    assert (status, out, err.count("\n")) == (1, "", 1), err
    assert sentence in err
    assert "\x1b" not in err
    assert not (tmp_path / "home").exists()


def test_what_does_not_fit_together_is_one_sentence_and_nothing_is_written(run, tmp_path, repository):
    home, (path, (first, *_)) = furnish(tmp_path / "home"), repository
    table = write(tmp_path / "results.tsv")
    kept = write(tmp_path / "kept.tsv", [(first, "1.0", "1.0", "keep", "x")])
    git(path, "checkout", "-q", "--orphan", "elsewhere")
    git(path, "commit", "-q", "-m", "y")
    cases = (
        (("import", tmp_path / "none.tsv"), "cannot read"),
        (("import", table, "--name", "small"), "has a topic small already"),
        (("import", table, "--name", "pysource"), "choose another one with --name"),
        (("import", table, "--name", "x", "--git", tmp_path / "none"), "no git repository"),
        (("import", table, "--name", "x", "--git", tmp_path), "is not a git repository"),
        (("import", table, "--name", "x", "--git", path), "commit a1b2c3d (line 2, kept) is not in"),
        (("import", kept, "--name", "x", "--git", path, "--branch", "--all"), "has no branch '--all'"),
        (("import", kept, "--name", "x", "--git", path, "--branch", "elsewhere"), "is not on the branch"),
    )
    files = sorted(home.path.rglob("*"))
    for arguments, sentence in cases:
        status, out, err = run(*arguments, "--home", home.path)
        assert (status, out, err.count("\n")) == (1, "", 1), err
        assert sentence in err
    assert sorted(home.path.rglob("*")) == files
    journal = Journal(Home(home.path).journal, readonly=True)
    assert len(journal.briefs()) == 2
    journal.close()
    for arguments in (("--branch", "x"), ("--name", "A b"), ("--hardware-class", "?"), ("--budget", "0")):
        assert run("import", table, *arguments, "--home", home.path)[0] == 2

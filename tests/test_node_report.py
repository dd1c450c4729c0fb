"""What a finding's commit contains: run folder, results.tsv, the branch's best and its README."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from samples import SURE, make_verdict

from node.report.patch import config_text, text_diff
from node.report.pictures import RunPoint, curve_png, progress_png
from node.report.run_files import RunMaterial, commit_message, commit_trailers, finding_json, run_files
from node.report.run_words import run_folder
from node.results.repository import open_results
from swarm.brief import Brief, Corpus, Shard, source_sha256
from swarm.finding import Finding, Proposal
from swarm.ledger import Entry
from swarm.space import ChoiceParameter, FloatParameter, IntParameter, SearchSpace
from swarm.trial import CurvePoint, Track, Trial
from swarm.words import BriefId, FindingId, Operator, Outcome, PeerId, Standing

ME = PeerId("12D3KooWCtoq5VmLMnQgNFdq3BBo3FkwNbMzfDKSBnhTKyFzv1aB")
TRACK = Track(hardware_class="cpu-2x", budget_seconds=120)
SOURCE = "import torch\n\nWIDTH = 64\n"
SHARD = Shard(sha256="0" * 64, raw_bytes=100, tokens=100)
BASE = {"width": 64, "learning_rate": 1e-3, "norm": "layernorm"}
BRIEF = Brief(
    name="pysource",
    goal="# Goal\n\nLower val_bpb.",
    editable={"train.py": SOURCE},
    base_config=BASE,
    space=SearchSpace(
        parameters={
            "width": IntParameter(low=16, high=512),
            "learning_rate": FloatParameter(low=1e-5, high=1.0, log=True),
            "norm": ChoiceParameter(options=("layernorm", "rmsnorm")),
        }
    ),
    corpus=Corpus(documents=3, train=SHARD, validation=SHARD, sealed=SHARD),
    acceptance=SURE,
)
BRIEF_ID = BriefId("b" * 64)
CURVE = tuple(CurvePoint(step=10 * i, seconds=4.0 * i, train_loss=5.5 - i * 0.1) for i in range(30))


def run(number, val_bpb=2.0, *, parent=None, title="rmsnorm", outcome=Outcome.MEASURED, track=TRACK, **proposal):
    config = proposal.pop("config", BASE)
    source = proposal.pop("source", None)
    node_name = proposal.pop("node_name", "tin can")
    reason = proposal.pop("reason", "")
    measured = val_bpb if outcome is Outcome.MEASURED else None
    trial = Trial(outcome=outcome, track=track, seed=7, seconds=118.4, val_bpb=measured, steps=300, tokens=614400,
                  parameters=123456, peak_memory_bytes=512 * 2**20, curve=CURVE, reason=reason)  # fmt: skip
    finding = Finding(
        number=number,
        node_name=node_name,
        started_at="2026-11-21T08:00:00.123Z",
        proposal=Proposal(
            operator=Operator.TUNE if parent else Operator.DRAFT,
            proposer="classic",
            config=config,
            source_sha256=source_sha256(source or SOURCE),
            source=source,
            parent=parent.id if parent else None,
            title=title,
            **proposal,
        ),
        trials=(trial,),
        verdict=make_verdict(BRIEF, (trial,), parent),
    )
    return Entry(id=FindingId(f"{number:064x}"), author=ME, seq=number, at_ms=number * 1000, finding=finding)


def material(entry, parent=None, earlier=(), **more):
    commits = {one.id: f"{one.seq}a" * 20 for one in earlier}
    return RunMaterial(
        entry, b"signed bytes \x00\xff", BRIEF, BRIEF_ID, parent, earlier, more.pop("commits", commits), **more
    )


BASELINE = run(1, 2.0, title="baseline")
KEPT = run(2, 1.9, parent=BASELINE, title="norm layernorm → rmsnorm", config=BASE | {"norm": "rmsnorm"})
CRASHED = run(3, parent=KEPT, title="width 64 → 512", outcome=Outcome.OUT_OF_MEMORY, reason="needed 9 GB")
WORSE = run(4, 2.3, parent=KEPT, title="learning rate 0.001 → 0.5", config=BASE | {"learning_rate": 0.5})
PNG = b"\x89PNG\r\n\x1a\n"


def text(files, name):
    return files[name].decode()


def test_a_run_folder_is_complete_and_holds_the_signed_record():
    files = run_files(material(BASELINE))
    names = {name.removeprefix("runs/0001-baseline/") for name in files if name.startswith("runs/")}
    assert names == {
        "config.json", "result.json", "curve.csv", "curve.png", "report.md", "patch.diff", "log.txt", "record.bin",
    }  # fmt: skip
    assert files["runs/0001-baseline/record.bin"] == b"signed bytes \x00\xff"
    assert set(files) - {f"runs/0001-baseline/{name}" for name in names} == {
        "README.md", "program.md", "NOTES.md", "results.tsv", "progress.png", "train.py", "config.json",
    }  # fmt: skip
    assert files["runs/0001-baseline/curve.png"].startswith(PNG)
    assert files["progress.png"].startswith(PNG)


def test_train_py_is_in_the_run_folder_exactly_when_it_differs_from_the_briefs():
    changed = run(2, 1.9, parent=BASELINE, title="wider", source=SOURCE.replace("64", "96"))
    files = run_files(material(changed, BASELINE, [BASELINE]))
    assert text(files, "runs/0002-wider/train.py") == SOURCE.replace("64", "96")
    assert "-WIDTH = 64\n+WIDTH = 96\n" in text(files, "runs/0002-wider/patch.diff")
    assert "train.py" in text(files, "runs/0002-wider/report.md")


def test_only_a_keep_that_is_the_new_best_moves_the_branchs_train_py_and_config():
    kept = run_files(material(KEPT, BASELINE, [BASELINE]))
    assert json.loads(kept["config.json"])["norm"] == "rmsnorm"
    for other in (CRASHED, WORSE):
        files = run_files(material(other, KEPT, [BASELINE, KEPT]))
        assert files["config.json"] == kept["config.json"]
        assert text(files, "train.py") == SOURCE


def test_a_keep_against_its_parent_that_is_worse_than_the_best_does_not_move_the_branch():
    side = run(5, 1.95, parent=BASELINE, title="a side branch", config=BASE | {"width": 80})
    assert side.finding.verdict.decision == "keep"
    files = run_files(material(side, BASELINE, [BASELINE, KEPT]))
    assert json.loads(files["config.json"])["norm"] == "rmsnorm"


def test_before_anything_is_kept_the_branch_shows_the_briefs_own_start():
    files = run_files(material(run(1, title="baseline", outcome=Outcome.CRASHED)))
    assert json.loads(files["config.json"]) == BASE
    assert text(files, "train.py") == SOURCE
    assert "No run has been kept yet" in text(files, "README.md")


def test_results_tsv_is_what_autoresearch_users_know():
    table = text(run_files(material(WORSE, KEPT, [BASELINE, KEPT, CRASHED])), "results.tsv")
    assert table.splitlines()[0] == "commit\tval_bpb\tmemory_gb\tstatus\tdescription"
    rows = list(csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["status"] for row in rows] == ["keep", "keep", "crash", "discard"]
    assert [row["val_bpb"] for row in rows] == ["2.000000", "1.900000", "", "2.300000"]
    assert rows[0]["memory_gb"] == "0.50"
    assert rows[2]["description"] == "width 64 → 512 (out of memory)"


def test_a_commit_in_results_tsv_is_the_rows_own_and_the_newest_is_head():
    commits = {BASELINE.id: "a1" * 20, KEPT.id: "b2" * 20}
    table = text(run_files(material(CRASHED, KEPT, [BASELINE, KEPT], commits=commits)), "results.tsv")
    assert [line.split("\t")[0] for line in table.splitlines()[1:]] == ["a1a1a1a1a1", "b2b2b2b2b2", "HEAD"]


def test_a_crash_never_has_a_number_that_sorts_as_the_best():
    table = text(run_files(material(CRASHED, KEPT, [BASELINE, KEPT])), "results.tsv")
    numbers = [float(value) for line in table.splitlines()[1:] if (value := line.split("\t")[1])]
    assert min(numbers) == 1.9


def test_result_json_has_the_promised_keys():
    inspired = run(2, 1.9, parent=BASELINE, title="t", inspirations=(FindingId("c" * 64),))
    result = json.loads(
        run_files(material(inspired, BASELINE, [BASELINE], standing=Standing.CONFIRMED))["runs/0002-t/result.json"]
    )
    assert result["commit"] is None
    assert (result["id"], result["peer"], result["number"]) == (inspired.id, ME, 2)
    assert (result["outcome"], result["verdict"], result["standing"]) == ("measured", "keep", "confirmed")
    assert (result["val_bpb"], result["parent"], result["inspirations"]) == (1.9, BASELINE.id, ["c" * 64])
    assert (result["operator"], result["proposer"], result["config"]) == ("tune", "classic", BASE)
    assert (result["hardware_class"], result["budget_seconds"]) == ("cpu-2x", 120)
    assert (result["started_at"], result["seconds"]) == ("2026-11-21T08:00:00.123Z", 118.4)
    assert (result["topic"], result["brief_id"]) == ("pysource", BRIEF_ID)
    assert result["effect"] == pytest.approx(0.1)
    assert result.pop("gradient_norm") is None, "the only key that a log has not: a script may say nothing of it"
    assert result.keys() == finding_json(inspired, Standing.CLAIMED, "f" * 40, "pysource", BRIEF_ID).keys()


def test_the_curve_in_the_folder_is_the_full_one():
    full = tuple(CurvePoint(step=i, seconds=i / 10, train_loss=3 - i / 1000) for i in range(900))
    rows = text(run_files(material(BASELINE, curve=full)), "runs/0001-baseline/curve.csv").splitlines()
    assert (rows[0], rows[1], len(rows)) == ("step,seconds,train_loss", "0,0.000,3", 901)


def test_the_patch_is_against_the_parent():
    patch = text(run_files(material(KEPT, BASELINE, [BASELINE])), f"{run_folder(KEPT.finding)}/patch.diff")
    assert '-  "norm": "layernorm"\n+  "norm": "rmsnorm"\n' in patch
    assert "train.py" not in patch


def test_a_log_keeps_its_beginning_and_its_end():
    log = "first\n" + "x" * 400_000 + "\nValueError: last"
    kept = text(run_files(material(CRASHED, KEPT, [BASELINE, KEPT], log=log)), f"{run_folder(CRASHED.finding)}/log.txt")
    assert kept.startswith("first\n")
    assert kept.endswith("ValueError: last")
    assert len(kept) < 210_000


def test_runs_of_another_budget_are_counted_but_not_compared():
    other = run(5, 1.2, title="short", track=Track(hardware_class="cpu-2x", budget_seconds=600))
    files = run_files(material(WORSE, KEPT, [BASELINE, KEPT, CRASHED, other]))
    page = text(files, "README.md")
    assert "**Best: run 2, val_bpb 1.9000**" in page
    assert "1 more on other hardware or budgets" in page
    assert len(text(files, "results.tsv").splitlines()) == 6


def test_commit_subject_and_trailers():
    assert commit_message(material(KEPT, BASELINE)) == "0002 keep 1.9000 (−0.1000) norm layernorm → rmsnorm"
    assert commit_message(material(BASELINE)) == "0001 keep 2.0000 baseline"
    assert commit_message(material(CRASHED, KEPT)).splitlines()[0] == "0003 out_of_memory width 64 → 512"
    assert commit_trailers(material(KEPT, BASELINE)) == {
        "Finding-Id": KEPT.id,
        "Parent-Id": BASELINE.id,
        "Val-Bpb": "1.900000",
        "Verdict": "keep",
        "Hardware": "cpu-2x",
        "Budget-Seconds": "120",
        "Outcome": "measured",
        "Run": "runs/0002-norm-layernorm-rmsnorm",
    }
    assert "Val-Bpb" not in commit_trailers(material(CRASHED, KEPT))


HOSTILE = "a|b\x1b[31m\u202e](http://evil) ![x](http://evil/p.png) <img onerror=1>`\n| fake | row |\n\nFinding-Id: fake"


def test_hostile_words_stay_words():
    evil = run(2, 1.9, parent=BASELINE, title=HOSTILE, rationale=HOSTILE * 3, node_name="<b>|x\x1b]0;t\x07")
    files = run_files(material(evil, BASELINE, [BASELINE], log="\x1b]52;c;aGk=\x07done\x1b[2J\n"))
    folder = run_folder(evil.finding)
    assert folder == "runs/0002-a-b-31m-http-evil-x-http-evil-p"
    assert text(files, f"{folder}/log.txt") == "done\n"
    for name in ("README.md", "results.tsv", f"{folder}/report.md", f"{folder}/result.json"):
        page = text(files, name)
        assert not any(ord(c) < 32 and c not in "\n\t" for c in page), name
        assert "\u202e" not in page, name
    for name in ("README.md", f"{folder}/report.md"):
        html = MarkdownIt("commonmark").enable("table").render(text(files, name))
        assert not re.search(r"<img(?! src=.(curve|progress|runs/0002-[a-z0-9-]*/curve)\.png)", html), name
        assert not re.search(r"<a href=.(?!runs/000[12]-[a-z0-9-]*/report\.md)", html), name
        assert "<b>" not in html
        assert "<td>fake" not in html
    assert len(text(files, "results.tsv").splitlines()) == 3
    assert all(line.count("\t") == 4 for line in text(files, "results.tsv").splitlines())
    assert "\nFinding-Id" not in commit_message(material(evil, BASELINE))


def test_the_branch_page_reads_as_agreed():
    inconclusive = run(5, 1.897, parent=KEPT, title="learning rate 0.001 → 0.0011")
    earlier = [BASELINE, KEPT, CRASHED, WORSE]
    page = text(run_files(material(inconclusive, KEPT, earlier)), "README.md")
    assert page == Path(__file__).with_name("golden").joinpath("branch_page.md").read_text(encoding="utf-8")


def test_pictures_are_the_same_bytes_every_time():
    points = [
        RunPoint(1, "keep", 2.0),
        RunPoint(2, "crash", None),
        RunPoint(3, "discard", 9.0),
        RunPoint(4, "keep", 1.9),
    ]
    assert curve_png(CURVE, "t", 1.9, 120) == curve_png(CURVE, "t", 1.9, 120)
    assert progress_png(points, "t") == progress_png(points, "t")
    assert progress_png(points, "t") != progress_png(points[:3], "t")


async def test_hashes_in_results_tsv_lead_to_their_commits(tmp_path):
    results = open_results(tmp_path / "results", ME, BRIEF.name, "tin can")
    await results.prepare()
    commits = {}
    for entry, parent in ((BASELINE, None), (KEPT, BASELINE), (CRASHED, KEPT)):
        one = material(entry, parent, [BASELINE, KEPT, CRASHED][: entry.seq - 1], commits=dict(commits))
        commits[entry.id] = await results.commit(run_files(one), commit_message(one), commit_trailers(one), entry.at_ms)
    table = (await results.read("results.tsv", "HEAD")).decode()
    rows = list(csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE))
    by_hash = {commit.hash: commit for commit in await results.history()}
    for row, number in zip(rows[:2], (1, 2), strict=True):
        (full,) = (name for name in by_hash if name.startswith(row["commit"]))
        assert by_hash[full].subject.startswith(f"000{number} ")
    newest = (await results.history(limit=1))[0]
    assert (rows[2]["commit"], newest.trailers["Finding-Id"]) == ("HEAD", CRASHED.id)
    assert newest.trailers["Run"] == run_folder(CRASHED.finding)
    assert await results.read(f"{newest.trailers['Run']}/record.bin", "HEAD") == b"signed bytes \x00\xff"


@pytest.mark.parametrize("title", ["$\\frac{", "日本 \N{PILE OF POO}", "", "x" * 500])
def test_no_title_breaks_a_picture(title):
    assert curve_png((), title, None, 10).startswith(PNG)
    assert progress_png([RunPoint(1, "crash", None)], title).startswith(PNG)


def test_a_diff_of_huge_sources_is_quick_and_right():
    before = "".join(f"{i % 7}\n" for i in range(20_000))
    after = before.replace("3\n", "x\n", 1)
    assert text_diff("train.py", before, after).splitlines() == [
        "--- a/train.py", "+++ b/train.py", "@@ -1,7 +1,7 @@", " 0", " 1", " 2", "-3", "+x", " 4", " 5", " 6",
    ]  # fmt: skip


def test_a_diff_says_when_the_last_line_has_no_newline():
    assert text_diff("f", "a\nb", "a\nb\n").splitlines()[2:] == [
        "@@ -1,2 +1,2 @@", " a", "-b", "\\ No newline at end of file", "+b",
    ]  # fmt: skip
    assert text_diff("f", "same", "same") == ""


def test_config_text_is_one_setting_a_line():
    assert config_text({"width": 64, "norm": "rmsnorm"}) == '{\n  "width": 64,\n  "norm": "rmsnorm"\n}\n'

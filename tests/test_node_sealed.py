"""The sealed score of a milestone: a true number of the sealed text, made by real trials, told to nobody but people.

The trials are run in one event loop, one after the other as a node would run them: starting the warm process costs
seconds. Their numbers are checked against the same sums over the text itself.
"""

import hashlib
import json
import math
import os
import re
import struct
import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgpack
import pytest
import trio
from samples import PLENTY, TRACK, make_finding, make_trial
from sandbox_world import confinement_of, skip_unless
from small_lab import BRIEF, BRIEF_ID, ME, ClassicNow, Scripted, notebook_at

from node.events import Events
from node.hypothesis import Hypotheses
from node.proposers.prompt import build_messages
from node.recording import Recorder
from node.report.finding_json import finding_json
from node.results.repository import open_results
from node.sandbox.confinement import Confinement, unconfined
from node.sandbox.spec import limits_for
from node.sealed import SealedScore, drift_of, sealed_score
from node.trials import trainer as trainer_module
from node.trials.evaluator import Evaluator
from node.trials.hardware import Hardware
from node.trials.sealed_pass import SealedPass
from node.trials.trainer import Job, LocalTrainer, TrialReport
from swarm.brief import Shard
from swarm.trial import Track
from swarm.words import FindingId, Outcome

ROOT = Path(__file__).parent.parent
BASE = tomllib.loads((ROOT / "configs/gpt.toml").read_text())["base"]
TINY = {**BASE, "depth": 1, "width": 32, "heads": 2, "context": 32, "batch_size": 4, "embedding_std": 0.1}
HARDWARE = Hardware("cpu", "cpu-test-1", "test", 1, "cpu")
TRAIN = b"".join(b"the answer to question %d is %d.\n" % (i, i * i % 97) for i in range(400))
VALIDATION, SEALED = TRAIN[:2000], TRAIN[2000:3500].upper()  # which cannot be mistaken for each other
SHARD = Shard(sha256=hashlib.sha256(SEALED).hexdigest(), raw_bytes=len(SEALED), tokens=len(SEALED))
SHIPPED = (ROOT / "experiments/train.py").read_text()

# A model whose bits per byte anybody can compute: byte b always gets logit b / 32, whatever stands before it.
UNIGRAM = """
import json, os, sys, time
import torch
PLACES = {places!r}
class Unigram(torch.nn.Module):
    def forward(self, tokens):
        {each_answer}
        return (torch.arange(256.0) / 32).expand(*tokens.shape, 256)
def build_model(config, vocab_size):
    {at_build}
    return Unigram()
def main():
    out = sys.argv[sys.argv.index('--out') + 1]
    open(out + '/weights.safetensors', 'wb').write((2).to_bytes(8, 'little') + b'{{}}')
    for path in PLACES:
        try: print('read', len(open(path, 'rb').read()))
        except OSError as error: print(type(error).__name__)
if __name__ == '__main__':
    main()
"""


def unigram(at_build: str = "pass", each_answer: str = "pass", places: tuple[str, ...] = ()) -> str:
    return UNIGRAM.format(at_build=at_build, each_answer=each_answer, places=places)


def unigram_bpb(text: bytes) -> float:
    total = math.log(sum(math.exp(byte / 32) for byte in range(256)))
    return sum(count * (total - byte / 32) for byte, count in Counter(text).items()) / math.log(2) / len(text)


class Unwatched:
    def training(self) -> None: ...
    def progress(self, progress: object) -> None: ...
    def trained(self) -> None: ...


def lay_out(folder: Path, sealed: bytes | None = SEALED) -> Path:
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    for name, text in (("train", TRAIN), ("validation", VALIDATION), ("sealed", sealed)):
        if text is not None:
            (shards / f"{name}.bin").write_bytes(text)
    return shards


def make_trainer(
    folder: Path,
    notice: Callable[[str], None],
    confinement: Confinement | None = None,
) -> LocalTrainer:
    confinement = confinement or unconfined(limits_for(HARDWARE), unsafe=True)
    size, scratch = len(VALIDATION), folder / "scratch"
    return LocalTrainer(
        ROOT / "experiments", folder / "shards", size, 256, scratch, HARDWARE, confinement, sealed=SHARD, notice=notice
    )


def job(source: str, milestone_below: float | None, seconds: float = 0.5) -> Job:
    track = Track(hardware_class="cpu-test-1", budget_seconds=seconds)
    return Job(source, TINY, 1, track, milestone_below)


# Answers the validation shard as it should, in two processes, and then does not: a note beside the folders of trials
# counts the processes, which only a script can do that nothing confines.
THIRD = "open({note!r}, 'a').write('x')\n    if os.path.getsize({note!r}) == 3: {act}"


@dataclass
class Gathered:
    reports: dict[str, TrialReport] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)  # what lay in scratch after it
    notices: list[str] = field(default_factory=list)


async def gather(folder: Path) -> Gathered:
    found = Gathered()
    lay_out(folder)
    trainer = make_trainer(folder, found.notices.append)
    third = {
        act: unigram(at_build=THIRD.format(note=str(folder / act), act=code))
        for act, code in (
            ("fails", "raise ValueError('what the sealed text says')"),
            ("leaves", "os._exit(7)"),
            ("loses everything", "os.kill(os.getppid(), 9); time.sleep(600)"),
            ("hangs", "time.sleep(600)"),
        )
    }
    branch = unigram_bpb(VALIDATION)
    jobs = {
        "trained": job(SHIPPED, math.inf, 2.0),
        "milestone": job(unigram(), math.inf),
        "better": job(unigram(), branch + 1e-6),
        "no better": job(unigram(), branch - 1e-6),
        "no branch": job(unigram(), None),
        "crashed": job("raise ValueError\n", math.inf),
        **{act: job(source, math.inf) for act, source in third.items()},
        "after all of it": job(unigram(), math.inf),
    }
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        for name, one in jobs.items():
            with pytest.MonkeyPatch.context() as patch:
                if name == "hangs":
                    patch.setattr(trainer_module, "MEASURE_SECONDS", 3.0)
                found.reports[name] = await trainer.train(one, Unwatched())
            found.left[name] = os.listdir(folder / "scratch")
        nursery.cancel_scope.cancel()
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return trio.run(gather, tmp_path_factory.mktemp("sealed"))


def test_a_milestones_number_is_that_of_the_sealed_text(found):
    report = found.reports["milestone"]
    assert report.trial.val_bpb == pytest.approx(unigram_bpb(VALIDATION), abs=1e-6)
    assert report.sealed_bpb == pytest.approx(unigram_bpb(SEALED), abs=1e-6)
    assert abs(report.trial.val_bpb - report.sealed_bpb) > 0.1


def test_a_trained_model_is_scored_and_knows_the_sealed_text_less(found):
    report = found.reports["trained"]
    assert report.trial.outcome is Outcome.MEASURED, report.log
    assert report.trial.val_bpb + 1 < report.sealed_bpb < 40  # it was trained on small letters


def test_only_what_is_better_than_the_branch_is_scored(found):
    scored = {name for name, report in found.reports.items() if report.sealed_bpb is not None}
    assert scored == {"trained", "milestone", "better", "after all of it"}


@pytest.mark.parametrize("name", ["fails", "leaves", "loses everything", "hangs"])
def test_a_sealed_pass_that_fails_leaves_the_trial_as_it_is(found, name):
    report = found.reports[name]
    assert report.trial.outcome is Outcome.MEASURED, report.trial.reason
    assert report.trial.val_bpb == pytest.approx(unigram_bpb(VALIDATION), abs=1e-6)
    assert (report.trial.reason, report.sealed_bpb) == ("", None)


def test_the_first_failure_is_said_and_no_other(found):
    [notice] = found.notices
    assert notice == "a milestone got no sealed score: ValueError; the trial counts all the same"


def test_nothing_of_a_sealed_pass_stays_on_disk(found):
    assert {name: left for name, left in found.left.items() if left != ["warm"]} == {}


def test_neither_trial_nor_log_says_the_number(found):
    for name in ("trained", "milestone", "better"):
        report = found.reports[name]
        for text in (report.trial.model_dump_json(), report.log):
            assert f"{report.sealed_bpb:.3f}" not in text
            assert "sealed" not in text


async def one_trial(folder: Path, source: str, notices: list[str]) -> TrialReport:
    trainer = make_trainer(folder, notices.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        with trio.fail_after(30):
            report = await trainer.train(job(source, math.inf), Unwatched())
        nursery.cancel_scope.cancel()
    return report


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, r"sealed\.bin cannot be read \(No such file or directory\): milestones get no sealed score$"),
        (SEALED[:-1], r"sealed\.bin is not what the brief says: milestones get no sealed score$"),
        (b"", r"sealed\.bin is not what the brief says: milestones get no sealed score$"),
    ],
)
async def test_a_missing_or_damaged_sealed_text_is_said_once(tmp_path, text, words):
    path, notices = lay_out(tmp_path, text) / "sealed.bin", []
    sealed = SealedPass(path, SHARD, notices.append)
    for _ in range(2):
        sealed.open(never, 256)
        assert await sealed.score(b"", TINY, tmp_path / "weights", tmp_path, 1.0) is None
    [notice] = notices
    assert re.search(words, notice)


async def test_a_topic_without_sealed_text_is_not_spoken_of(tmp_path):
    sealed = SealedPass(lay_out(tmp_path) / "sealed.bin", None, pytest.fail)
    sealed.open(never, 256)
    assert await sealed.score(b"", TINY, tmp_path / "weights", tmp_path, 1.0) is None


def never(tokens: object, raw_bytes: int) -> Evaluator:
    raise AssertionError("nothing is measured with a text like this")


async def test_research_goes_on_without_a_sealed_text(tmp_path):
    lay_out(tmp_path, None)
    notices = []
    report = await one_trial(tmp_path, unigram(), notices)
    assert report.trial.val_bpb == pytest.approx(unigram_bpb(VALIDATION), abs=1e-6)
    assert (report.sealed_bpb, len(notices)) == (None, 1)


@pytest.mark.parametrize("mode", ["landlock", "bubblewrap"])
async def test_in_a_sandbox_neither_training_nor_answering_can_open_the_sealed_text(tmp_path, mode):
    skip_unless(mode)
    shards = lay_out(Path(os.path.realpath(tmp_path)))
    places = tuple(str(shards / f"{name}.bin") for name in ("train", "validation", "sealed"))
    # What answers ends here if it could open either of them, so that both numbers say that it could not.
    answering = """
    for path in PLACES[1:]:
        try: open(path, 'rb')
        except OSError: continue
        os._exit(9)"""
    trainer = make_trainer(shards.parent, print, confinement=confinement_of(mode, limits_for(HARDWARE)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        with trio.fail_after(60):
            report = await trainer.train(job(unigram(answering, places=places), math.inf), Unwatched())
        nursery.cancel_scope.cancel()
    assert report.log.splitlines()[0] == f"read {len(TRAIN)}"
    assert report.log.count("PermissionError") + report.log.count("FileNotFoundError") == 2, report.log
    assert report.trial.val_bpb == pytest.approx(unigram_bpb(VALIDATION), abs=1e-6), report.trial.reason
    assert report.sealed_bpb == pytest.approx(unigram_bpb(SEALED), abs=1e-6)


# --- What is told to nobody ---

NUMBER = 1.73205081  # looks like no other number of the tests below
TRACES = ("1.732", "1.7321", struct.pack(">d", NUMBER), struct.pack("<d", NUMBER), msgpack.packb(NUMBER))


def finding_id(number: int) -> FindingId:
    return FindingId(f"{number:064x}")


def score(number: int, val_bpb: float, sealed_bpb: float, track: Track = TRACK) -> SealedScore:
    return SealedScore(finding_id(number), BRIEF_ID, track, val_bpb, sealed_bpb, 1000.0 + number)


def assert_untold(told: bytes) -> None:
    for trace in TRACES:
        assert (trace.encode() if isinstance(trace, str) else trace) not in told


def test_the_traces_would_be_found():
    for told in (json.dumps({"sealed_bpb": NUMBER}).encode(), msgpack.packb({"x": NUMBER}), b"| 1.7321 |"):
        with pytest.raises(AssertionError):
            assert_untold(told)


@pytest.fixture
async def recorded(tmp_path):
    """A milestone as a node records it: committed, signed, in the journal, its sealed score beside it."""
    notebook = notebook_at(tmp_path / "journal.sqlite")
    results = open_results(tmp_path / "results", ME.peer_id, BRIEF.name, "tester")
    await results.prepare()
    report = TrialReport(make_trial(2.0), (), "step 1\n", 9.5, sealed_bpb=NUMBER)
    entry, _ = await Recorder(notebook, results, PLENTY, Events()).record(make_finding(BRIEF, 1, 2.0), [report])
    told = SealedScore(entry.id, BRIEF_ID, TRACK, 2.0, NUMBER, 1000.0)
    notebook.journal.journal.remember_sealed(told)
    yield notebook, entry
    assert notebook.journal.journal.sealed_scores(BRIEF_ID) == [told]
    notebook.journal.journal.close()


async def test_no_commit_holds_the_number(recorded, tmp_path):
    repository = ["git", "-C", str(tmp_path / "results")]
    listed = subprocess.run(
        [*repository, "cat-file", "--batch-all-objects", "--batch"], capture_output=True, check=True
    ).stdout
    assert b"val_bpb" in listed  # files, trees and messages of the commit are in it
    assert_untold(listed)


async def test_no_record_and_no_finding_holds_the_number(recorded):
    notebook, entry = recorded
    assert_untold(b"".join(notebook.journal.records_after({}, 10**9)))
    assert_untold(b"".join(record.frame for record in notebook.journal.unsent()))
    assert_untold(entry.finding.model_dump_json().encode())
    facts = finding_json(entry, notebook.ledger.standing(entry), "c" * 40, BRIEF.name, BRIEF_ID)
    assert_untold(json.dumps(facts).encode())
    assert not any("sealed" in key for key in facts)


async def test_no_proposer_is_told_the_number(recorded):
    notebook, _ = recorded
    proposer = Scripted([{"width": 128}], seconds=0.0)
    hypotheses = Hypotheses(notebook, TRACK, proposer, ClassicNow())
    await hypotheses.prepare()
    [request] = proposer.requests
    assert request.parent.val_bpb == 2.0
    assert_untold(repr(request).encode())
    for message in build_messages(request):
        assert_untold(message.content.encode())


# --- Drift ---


def test_a_findings_sealed_score_is_the_mean_of_the_trials_that_have_one():
    assert sealed_score(finding_id(1), BRIEF_ID, TRACK, [], 5.0) is None
    made = sealed_score(finding_id(1), BRIEF_ID, TRACK, [(2.0, 2.1), (1.9, 2.04)], 5.0)
    assert (made.val_bpb, made.sealed_bpb) == pytest.approx((1.95, 2.07))
    assert made.gap == pytest.approx(0.12)


def test_drift_needs_two_milestones_of_one_track():
    other = Track(hardware_class="cuda-h100", budget_seconds=300.0)
    longer = Track(hardware_class=TRACK.hardware_class, budget_seconds=2 * TRACK.budget_seconds)
    scores = [score(1, 2.0, 2.01), score(2, 1.0, 1.5, other), score(3, 1.4, 1.5, longer)]
    assert drift_of([], TRACK) is None
    assert drift_of(scores, TRACK) is None
    assert drift_of(scores, None) is None
    drift = drift_of([*scores, score(4, 1.8, 1.83)], TRACK)
    assert [one.finding for one in drift.scores] == [finding_id(1), finding_id(4)]


def test_a_growing_gap_is_a_growing_drift():
    drift = drift_of([score(1, 2.0, 2.01), score(2, 1.9, 1.95), score(3, 1.8, 1.83)], TRACK)
    assert [one.gap for one in drift.scores] == pytest.approx([0.01, 0.05, 0.03])
    assert drift.growth == pytest.approx(0.02)
    assert (drift.first.finding, drift.latest.finding) == (finding_id(1), finding_id(3))

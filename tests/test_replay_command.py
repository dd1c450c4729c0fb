"""`swarm replay` as a person runs it: a real process, real training in a real sandbox, what it prints and records."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import trio
from node_process import SWARM, NodeProcess, swarm, until, write_topic
from samples import make_finding
from small_lab import ALICE, PeerLog

from gossip.identity import load_or_create
from node import shipped, views
from node.events import Events
from node.home import Home
from node.journal import Journal
from node.notebook import Notebook
from node.replays.replayer import Unwatched
from node.sandbox.probe import probe
from node.topics.loading import Topic, load_topic
from node.trials.hardware import detect
from node.trials.local import make_local_trainer
from node.trials.trainer import Job, TrialReport
from swarm.brief import source_sha256
from swarm.finding import Finding, encode_finding
from swarm.ledger import Entry
from swarm.trial import CurvePoint, Track
from swarm.words import Outcome

pytestmark = pytest.mark.end_to_end

SECONDS = 2.0
HARDWARE = detect()
SHIPPED = shipped.shipped_text(shipped.experiments(), "train.py")
SMALL = 'depth = 1\nwidth = 32\ncontext = 32\nbatch_size = 4\nschedule = "constant"\nwarmup_fraction = 0.0\n'
# Ends in milliseconds, without weights; its losses tell the seed and the progress it was told of.
PACED = """
import json, sys
def given(name):
    return sys.argv[sys.argv.index(name) + 1]
for step, progress in json.load(open(given("--pace"))):
    if 0 < step <= int(given("--max-steps")):
        loss = int(given("--seed")) + progress
        print(json.dumps({"event": "progress", "step": step, "tokens": step, "train_loss": loss}), flush=True)
"""
CRASHES = "raise ValueError('no such layer')\n"
STEPS = (1, 5, 9, 20)
CURVE = tuple(CurvePoint(step=s, seconds=0.07 * s, train_loss=7 + s / 32, progress=s / 32) for s in STEPS)


def finding_of(topic: Topic, number: int, val_bpb: float | None, source: str | None = None, **trial) -> Finding:
    track = trial.pop("track", Track(hardware_class=HARDWARE.hardware_class, budget_seconds=SECONDS))
    made = make_finding(topic.brief, number, val_bpb, track=track)
    first = made.trials[0].model_copy(update={"seed": 7} | trial)
    update = {"source": source, "source_sha256": source_sha256(source)} if source else {}
    proposal = made.proposal.model_copy(update=update)
    return made.model_copy(update={"trials": (first,), "proposal": proposal, "node_name": "brave-otter"})


class Furnished:
    """A home in which a node has been: findings of its own and of a peer, most of them made up."""

    def __init__(self, folder: Path) -> None:
        self.topic_file = write_topic(folder / "topic")
        self.topic_file.write_text(f"{self.topic_file.read_text()}[base]\n{SMALL}")
        self.home = Home(folder / "home")
        self.home.create()
        self.topic = load_topic(str(self.topic_file), self.home.corpora)
        self.home.save_brief(self.topic.brief_id, self.topic.brief_bytes)
        self.journal = Journal(self.home.journal)
        identity = load_or_create(self.home.key)
        self.notebook = Notebook(self.topic.brief, self.journal.of(self.topic.brief_id), identity, Events())
        self.alice = PeerLog(ALICE, self.topic.brief_id)

    def own(self, finding: Finding) -> Entry:
        return self.notebook.append_own(self.notebook.seal(finding), "c" * 40)

    def hear(self, finding: Finding) -> Entry:
        record = self.alice.sign(encode_finding(finding))
        assert self.notebook.receive(record) is None
        entry = self.notebook.ledger.get(record.id)
        assert entry is not None
        return entry

    def replay(self, reference: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return swarm("replay", reference, "--home", str(self.home.path), *arguments)

    def facts(self, reference: str, *arguments: str) -> dict:
        done = self.replay(reference, "--json", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def own_records(self) -> int:
        return self.journal.of(self.topic.brief_id).heads().get(self.notebook.me, 0)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    made = Furnished(tmp_path_factory.mktemp("replayed"))
    made.own(finding_of(made.topic, 1, 3.0))
    made.own(finding_of(made.topic, 2, 3.0, track=Track(hardware_class=HARDWARE.hardware_class, budget_seconds=60.0)))
    yield made
    made.journal.close()


needs_a_sandbox = pytest.mark.skipif(not probe(HARDWARE).code_may_change, reason="nothing here holds a stranger's code")


def test_an_own_finding_is_run_again_and_has_one_trial_more(here):
    done = here.replay("1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "replaying #1: run 1, 2 s with a fresh seed"
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "replayed",
        "score",
        "loss curve",
        "standing",
        "mean",
        "record",
    ]
    assert "against 3.0000 claimed (1 trial)" in done.stdout
    with views.open_archive(here.home) as archive:
        entry = views.find(archive, "1")
        (one,) = archive.ledger.replays(entry.id)
        assert archive.ledger.score(entry).trials == 2
        assert one.replay.trial.outcome is Outcome.MEASURED
        assert one.replay.trial.curve, "for whoever compares the curves"
        assert lines[-1].split()[-1] == one.id
        shown = views.show(archive, "1")
    assert (shown["score"]["trials"], [replay["id"] for replay in shown["replays"]]) == (2, [one.id])
    words = swarm("show", "1", "--home", str(here.home.path)).stdout.splitlines()
    assert [line for line in words if line.startswith("replay ")]
    with Reopened(here) as notebook:
        assert one.id in [record.id for record in notebook.journal.unsent()], "told to peers by the next start"


class Reopened:
    """As a node would open it."""

    def __init__(self, here: Furnished) -> None:
        self._here = here

    def __enter__(self) -> Notebook:
        here = self._here
        self._journal = Journal(here.home.journal)
        identity = load_or_create(here.home.key)
        return Notebook(here.topic.brief, self._journal.of(here.topic.brief_id), identity, Events())

    def __exit__(self, *_: object) -> None:
        self._journal.close()


@needs_a_sandbox
def test_a_peers_claim_in_a_script_of_its_own_is_run_confined_and_disputed(here):
    alone = Track(hardware_class=HARDWARE.hardware_class, budget_seconds=1.5)  # where no made-up numbers are noise
    entry = here.hear(finding_of(here.topic, 12, 0.01, SHIPPED + "\n# another\n", track=alone))
    facts = here.facts(entry.id[:10])
    assert (facts["finding"], facts["number"], facts["node_name"]) == (entry.id, 12, "brave-otter")
    assert (facts["standing_before"], facts["standing"]) == ("claimed", "disputed")
    replay = facts["replay"]
    assert (replay["outcome"], replay["agrees"], replay["claimed"]) == ("measured", False, 0.01)
    assert replay["val_bpb"] > 1
    assert replay["seed"] != 7
    assert (replay["hardware_class"], replay["budget_seconds"]) == (HARDWARE.hardware_class, 1.5)


@needs_a_sandbox
def test_of_a_finding_without_a_number_the_outcome_is_compared(here):
    facts = here.facts(here.hear(finding_of(here.topic, 13, None, CRASHES)).id)
    assert (facts["replay"]["outcome_agrees"], facts["replay"]["agrees"]) == (True, None)
    assert facts["replay"]["reason"] == "ValueError: no such layer"


@needs_a_sandbox
def test_by_steps_the_script_gets_the_seed_and_the_pace_of_the_first_run(here):
    entry = here.hear(finding_of(here.topic, 14, 2.0, PACED, curve=CURVE, steps=20))
    facts = here.facts(entry.id, "--steps", "9")
    replay = facts["replay"]
    assert (replay["steps"], replay["seed"]) == (9, 7)
    assert (replay["curve_deviation"], replay["curve_agrees"]) == (0.0, True), replay["reason"]
    assert facts["standing"] == "claimed"
    with views.open_archive(here.home) as archive:
        (one,) = archive.ledger.replays(entry.id)
    assert [point.step for point in one.replay.trial.curve] == [1, 5, 9]


async def train_once(here: Furnished) -> TrialReport:
    confinement, scratch = probe(HARDWARE), here.home.scratch / "worker-0"
    trainer = make_local_trainer(here.topic.brief.corpus, here.topic.shards, scratch, HARDWARE, confinement)
    track = Track(hardware_class=HARDWARE.hardware_class, budget_seconds=SECONDS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trainer.run)
        report = await trainer.train(Job(SHIPPED, dict(here.topic.brief.base_config), 11, track), Unwatched())
        nursery.cancel_scope.cancel()
    return report


def test_the_first_steps_of_a_real_run_come_out_the_same(here):
    """Constant rate, so that nothing depends on the pace: what is left is seed, data and arithmetic, bit by bit."""
    report = trio.run(train_once, here)
    finding = finding_of(here.topic, 3, report.trial.val_bpb)
    entry = here.own(finding.model_copy(update={"trials": (report.trial,)}))
    steps = report.curve[-1].step
    replay = here.facts(entry.id, "--steps", str(steps))["replay"]
    assert (replay["curve_deviation"], replay["curve_agrees"], replay["seed"]) == (0.0, True, 11)


def test_what_cannot_be_replayed_is_exit_1_and_one_sentence_and_records_nothing(here):
    elsewhere = Track(hardware_class="cuda-h100", budget_seconds=SECONDS)
    other = here.hear(finding_of(here.topic, 41, 1.0, track=elsewhere))
    before = here.own_records()
    for reference, arguments, words in (
        (other.id, [], "was measured on cuda-h100, this machine is"),
        ("1", ["--steps", "5"], "#1 has no loss curve"),
        ("999", [], "no finding '999'"),
        ("1", ["--topic", "nope"], "no topic 'nope'"),
    ):
        done = here.replay(reference, *arguments)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert words in done.stderr
        assert done.stderr.startswith("swarm: ")
        assert done.stderr.count("\n") == 1
    assert here.own_records() == before


def test_missing_shards_are_made_again_from_the_topic_file(here):
    (manifest,) = here.home.corpora.glob("*/manifest.json")
    train = manifest.parent / "train.bin"
    text = train.read_bytes()
    train.write_bytes(text[:-1] + b"x")  # altered: as bad as missing
    done = here.replay("1")
    assert (done.returncode, done.stdout.count("\n"), done.stderr.count("\n")) == (2, 1, 1)
    assert "the text of topic 'tiny'" in done.stderr
    assert "--topic FILE.toml" in done.stderr
    done = here.replay("1", "--topic", str(here.topic_file))
    assert done.returncode == 0, done.stderr
    assert train.read_bytes() == text


def interrupted(here: Furnished, *arguments: str, when) -> tuple[int, float, str]:
    """Ctrl-C once `when` holds: exit status, seconds it took, standard error."""
    command = [*SWARM, "replay", *arguments, "--home", str(here.home.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: when() or process.poll() is not None, "what the replay should come to")
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
            return process.returncode, time.monotonic() - begin, err
        finally:
            process.kill()


def test_ctrl_c_stops_within_seconds_and_records_nothing(here):
    before = here.own_records()
    trains = lambda: any((here.home.scratch / "worker-0").glob("trial-*"))  # noqa: E731
    status, seconds, err = interrupted(here, "2", when=trains)
    assert (status, err) == (130, "stopped; nothing was recorded\n")
    assert seconds < 5  # one on a quiet machine
    assert not trains()
    assert here.own_records() == before
    assert not here.home.running()


def test_ctrl_c_while_a_node_is_asked_leaves_the_request(here):
    """A home that is held: somebody's node. Its state says what it does."""
    here.home.write_state({"brief_id": here.topic.brief_id, "current": {"number": 3, "title": "wider"}})
    asked = lambda: any((here.home.path / "replays").glob("*.json"))  # noqa: E731
    with here.home.lock():
        status, _, err = interrupted(here, "1", when=asked)
    assert status == 130
    assert err == "stopped waiting; the request stays, and the node does it after its current experiment\n"
    (request,) = (here.home.path / "replays").glob("*.json")
    assert json.loads(request.read_text())["steps"] is None
    request.unlink()


def test_when_the_node_ends_the_command_does_it_itself(here):
    before = here.own_records()
    command = [*SWARM, "replay", "1", "--home", str(here.home.path)]
    with here.home.lock():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until(lambda: any((here.home.path / "replays").glob("*.json")), "the request")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "the node that runs in" in out
    assert here.own_records() == before + 1
    assert not any((here.home.path / "replays").glob("*.json"))


def test_a_running_node_does_it_between_two_experiments_and_goes_on(here, tmp_path):
    topic, home = str(here.topic_file), tmp_path / "home"
    with NodeProcess("launch", "--topic", topic, "--proposer", "classic", home=home) as node:
        node.wait_for("finding_recorded", lambda event: event["number"] == 1)
        done = swarm("replay", "1", "--home", str(home), "--json")
        assert (done.returncode, done.stderr) == (0, "")
        facts = json.loads(done.stdout)
        assert (facts["number"], facts["replay"]["outcome"]) == (1, "measured")
        node.wait_for("notice", lambda event: event["text"].startswith("replayed #1: baseline: "))
        last = max(event["number"] for event in node.happened("finding_recorded"))
        node.wait_for("finding_recorded", lambda event: event["number"] > last)
        refused = swarm("replay", "1", "--home", str(home), "--steps", "999999")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        node.terminate()
        assert node.wait() == 0, node.stderr

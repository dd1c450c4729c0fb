"""A small laboratory for tests: real journal, signatures and loop around a trainer that trains nothing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio
from samples import PLENTY, TRACK, make_brief, make_finding, make_trial

from gossip.envelope import Record, seal
from gossip.identity import Identity
from node.events import Event, Events
from node.home import Home
from node.hypothesis import Hypotheses
from node.journal import Journal
from node.notebook import Notebook
from node.proposers.classic import propose_now
from node.proposers.port import Request, build_proposal
from node.recording import Recorder
from node.replays.replayer import Replayer
from node.replays.request import ReplayRequests
from node.research import Lab
from node.sandbox.confinement import unconfined
from node.sandbox.policy import Backend
from node.sandbox.spec import limits_for
from node.smoke_filter import SmokeFilter
from node.steering import Helm
from node.trials.hardware import Hardware
from node.trials.trainer import Job, TrialReport, Watcher
from swarm.brief import Brief, brief_id, encode_brief
from swarm.finding import Finding, Proposal, encode_finding
from swarm.ledger import Entry
from swarm.words import Config, Operator, Outcome

ME, ALICE, BOB = (Identity(bytes([n]) * 32) for n in (1, 2, 3))
BRIEF = make_brief()
BRIEF_BYTES = encode_brief(BRIEF)
BRIEF_ID = brief_id(BRIEF_BYTES)
TRIAL_SECONDS = TRACK.budget_seconds
HARDWARE = Hardware("cpu", TRACK.hardware_class, "test", 1, "cpu")
HELD = replace(unconfined(limits_for(HARDWARE)), backend=Backend.LANDLOCK)


def notebook_at(path: Path, events: Events | None = None, brief: Brief = BRIEF, identity: Identity = ME) -> Notebook:
    """The notebook of a journal file; whoever asks closes `notebook.journal.journal`."""
    id = brief_id(encode_brief(brief))
    return Notebook(brief, Journal(path).of(id), identity, events or Events())


@dataclass
class PeerLog:
    """Somebody else's log: every call signs its next record."""

    identity: Identity = ALICE
    brief: str = BRIEF_ID
    records: list[Record] = field(default_factory=list[Record])

    def sign(self, payload: bytes, kind: str = "finding") -> Record:
        seq = len(self.records) + 1
        previous = self.records[-1].id if self.records else ""
        self.records.append(seal(self.identity, kind, self.brief, seq, previous, 1000 * seq, payload))
        return self.records[-1]

    def finding(self, val_bpb: float | None = 1.9, number: int | None = None, **config: object) -> Record:
        made = make_finding(BRIEF, number or len(self.records) + 1, val_bpb, **config)
        return self.sign(encode_finding(made))


def surface(config: Mapping[str, object]) -> float:
    """Bits per byte of a config: 2.2 at the start, 1.9 at best."""
    bpb = 1.9 + 0.1 * abs(math.log2(float(str(config["width"])) / 128))
    return bpb + 0.15 * (config["norm"] == "layernorm") + 0.05 * (config["rope"] is False)


@dataclass
class SurfaceTrainer:
    """Takes a trial's time and gives what the surface says. Remembers when it trained, and what."""

    score: Callable[[Config], float | None] = surface
    seconds: float = TRIAL_SECONDS
    jobs: list[Job] = field(default_factory=list[Job])
    begins: list[float] = field(default_factory=list[float])
    ends: list[float] = field(default_factory=list[float])
    on_begin: Callable[[int], None] = lambda _: None  # is given the number of the job, from 1
    broken: Callable[[str], str] = lambda _: ""  # what a smoke run says to a source
    smoked: list[Job] = field(default_factory=list[Job])

    async def run(self) -> None:
        await trio.sleep_forever()

    async def smoke(self, job: Job) -> str:
        self.smoked.append(job)
        await trio.sleep(1.0)
        return self.broken(job.source)

    async def train(self, job: Job, watcher: Watcher) -> TrialReport:
        self.jobs.append(job)
        self.begins.append(trio.current_time())
        watcher.training()
        self.on_begin(len(self.jobs))
        await trio.sleep(self.seconds)
        watcher.trained()
        self.ends.append(trio.current_time())
        score = self.score(job.config)
        trial = make_trial(score, job.track, None if score else Outcome.CRASHED)
        reason = "" if score else "RuntimeError: no such layer"
        trial = trial.model_copy(update={"seed": job.seed, "seconds": self.seconds, "reason": reason})
        return TrialReport(trial, (), "", self.seconds)

    @property
    def longest_wait(self) -> float:
        """Between the end of one trial and the beginning of the next."""
        return max(begin - end for end, begin in zip(self.ends, self.begins[1:], strict=False))


class ClassicNow:
    """The classic proposer without its thread, which a virtual clock would not wait for."""

    name = "classic"

    async def propose(self, request: Request) -> Proposal:
        return propose_now(request)


@dataclass
class Scripted:
    """Answers with given changes to its parent's config, or with given code, after some seconds."""

    changes: Sequence[Config | str]
    seconds: float = 3.0
    name: str = "scripted"
    requests: list[Request] = field(default_factory=list[Request])
    asked: list[float] = field(default_factory=list[float])
    answered: list[float] = field(default_factory=list[float])

    async def propose(self, request: Request) -> Proposal:
        change = self.changes[min(len(self.requests), len(self.changes) - 1)]
        self.requests.append(request)
        self.asked.append(trio.current_time())
        await trio.sleep(self.seconds)
        self.answered.append(trio.current_time())
        code = change if isinstance(change, str) else None
        config = request.parent_config | ({} if isinstance(change, str) else change)
        return build_proposal(request, proposer=self.name, operator=Operator.TUNE, config=config, source=code)


class JournalRecorder(Recorder):
    """Seals and stores, without git: what the loop needs of recording, in no time."""

    def __init__(self, notebook: Notebook) -> None:
        self._kept_in = notebook

    async def record(self, finding: Finding, reports: Sequence[TrialReport]) -> tuple[Entry, str]:
        await trio.lowlevel.checkpoint()
        return self._kept_in.append_own(self._kept_in.seal(finding), "c" * 40), "c" * 40


@dataclass
class World:
    """One lab with everything around it in sight."""

    lab: Lab
    notebook: Notebook
    trainer: SurfaceTrainer
    events: list[Event]

    def happened(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def findings(self) -> list[Finding]:
        return [entry.finding for entry in self.notebook.own()]

    def close(self) -> None:
        self.notebook.journal.validate()
        self.notebook.journal.journal.close()


def make_world(
    folder: Path,
    proposer: object = None,
    *,
    experiments: int = 4,
    trainer: SurfaceTrainer | None = None,
    stand_in: object = None,
    recorder: Callable[[Notebook, Events], Recorder] = lambda notebook, _: JournalRecorder(notebook),
    reason_to_stop: Callable[[int], str | None] | None = None,
    brief: Brief = BRIEF,
    steered: Home | None = None,  # whose program.md and steering.toml count
    stops_early: bool = False,
) -> World:
    heard: list[Event] = []
    events = Events()
    events.listen(heard.append)
    notebook = notebook_at(folder / "journal.sqlite", events, brief)
    chosen = proposer or ClassicNow()
    requests = ReplayRequests(Home(folder / "home"))
    helm = Helm.take(steered, brief_id(encode_brief(brief)), brief, events) if steered else None
    lab = Lab(
        name="tester",
        track=TRACK,
        notebook=notebook,
        hypotheses=Hypotheses(
            notebook,
            TRACK,
            chosen,  # type: ignore[arg-type]
            stand_in or ClassicNow(),  # type: ignore[arg-type]
            smoke_filter=SmokeFilter(notebook, events),
            helm=helm,
            events=events,
        ),
        recorder=recorder(notebook, events),
        room=PLENTY,
        events=events,
        replays=Replayer("tester", notebook, TRACK.hardware_class, HELD, requests, PLENTY, events),
        reason_to_stop=reason_to_stop or (lambda done: "enough" if done >= experiments else None),
        stops_early=stops_early,
    )
    return World(lab, notebook, trainer or SurfaceTrainer(), heard)


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition; fail when it does not come about."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.01)

"""Makers of small briefs, findings and entries for tests."""

import hashlib
from pathlib import Path

from node.events import Events
from node.room import Room
from swarm.brief import Acceptance, Brief, Corpus, Shard
from swarm.finding import Finding, Proposal
from swarm.ledger import Entry
from swarm.space import ChoiceParameter, FloatParameter, IntParameter, SearchSpace
from swarm.trial import Track, Trial, reported
from swarm.verdict import Verdict, judge, prior_noise
from swarm.words import FindingId, Operator, Outcome, PeerId

SURE = Acceptance(noise_sd=0.009, noise_dof=100.0, noise_trials=1, max_trials=1)  # one trial is all there is
TRACK = Track(hardware_class="cpu-x86_64-2", budget_seconds=10.0)


def make_brief(source: str = "print('train')\n") -> Brief:
    shard = Shard(sha256="0" * 64, raw_bytes=1000, tokens=1000)
    return Brief(
        name="small",
        goal="Lower is better.",
        editable={"train.py": source},
        base_config={"width": 64, "learning_rate": 1e-3, "norm": "layernorm", "rope": False},
        space=SearchSpace(
            parameters={
                "width": IntParameter(low=32, high=256, log=True),
                "learning_rate": FloatParameter(low=1e-4, high=1e-1, log=True),
                "norm": ChoiceParameter(options=("layernorm", "rmsnorm")),
                "rope": ChoiceParameter(options=(False, True)),
            }
        ),
        corpus=Corpus(documents=3, train=shard, validation=shard, sealed=shard),
        acceptance=SURE,
    )


def make_trial(val_bpb: float | None = 2.0, track: Track = TRACK, outcome: Outcome | None = None) -> Trial:
    if outcome is None:
        outcome = Outcome.MEASURED if val_bpb is not None else Outcome.CRASHED
    return Trial(outcome=outcome, track=track, seed=1, seconds=9.5, val_bpb=val_bpb, steps=100, tokens=200_000)


def make_finding(
    brief: Brief,
    number: int = 1,
    val_bpb: float | None = 2.0,
    parent: Entry | None = None,
    track: Track = TRACK,
    **config: object,
) -> Finding:
    proposal = Proposal(
        operator=Operator.TUNE if parent else Operator.DRAFT,
        proposer="classic",
        config=brief.space.normalise(dict(brief.base_config) | config),  # type: ignore[arg-type]
        source_sha256=brief.source_sha256,
        parent=parent.id if parent else None,
        title=f"run {number}",
    )
    trials = (make_trial(val_bpb, track),)
    return Finding(
        number=number,
        node_name="tester",
        started_at="2026-01-01T00:00:00Z",
        proposal=proposal,
        trials=trials,
        verdict=make_verdict(brief, trials, parent),
    )


def make_verdict(brief: Brief, trials: tuple[Trial, ...], parent: Entry | None) -> Verdict:
    """Against the one number of the parent, with the noise the brief assumes."""
    against = None if parent is None else reported(parent.finding.trials)
    return judge(trials, against, prior_noise(brief.acceptance), brief.acceptance)


def make_entry(finding: Finding, author: str = "12D3KooWAuthorA", seq: int | None = None) -> Entry:
    seq = finding.number if seq is None else seq
    id = hashlib.sha256(f"{author}{seq}{finding.model_dump_json()}".encode()).hexdigest()
    return Entry(id=FindingId(id), author=PeerId(author), seq=seq, at_ms=1_000_000 + seq, finding=finding)


PLENTY = Room(Path("/"), Events(), enough_bytes=0)  # a disk that is never full

"""Makers of proposer requests for tests: a space with every kind of parameter, a surface, a short night on it."""

import dataclasses
import math
import random
from collections.abc import Callable, Mapping, Sequence

from samples import TRACK, make_brief, make_entry, make_trial, make_verdict

from node.proposers.port import Request
from swarm.brief import Brief, source_sha256
from swarm.finding import Finding, Proposal
from swarm.ledger import Entry, Ledger
from swarm.space import ChoiceParameter, FloatParameter, IntParameter, SearchSpace
from swarm.trial import Track
from swarm.words import Config, FindingId, Operator, Outcome, PeerId, Standing

ME = PeerId("12D3KooWMeMeMeMe")
PEER = PeerId("12D3KooWPeerPeer")
OTHER_TRACK = Track(hardware_class="cuda-h100", budget_seconds=300.0)

TRAIN = '''"""A train.py as small as the rules allow."""

WIDTH = 64


def build_model(config, vocab_size):
    return (config["width"], vocab_size)


def main():
    print(build_model({"width": WIDTH}, 256))


if __name__ == "__main__":
    main()
'''

SPACE = SearchSpace(
    parameters={
        "depth": IntParameter(low=1, high=8),
        "width": ChoiceParameter(options=(32, 64, 96, 128, 192)),
        "learning_rate": FloatParameter(low=1e-4, high=3e-2, log=True),
        "dropout": FloatParameter(low=0.0, high=0.4),
        "norm": ChoiceParameter(options=("layernorm", "rmsnorm")),
        "rope": ChoiceParameter(options=(False, True)),
        "odd": ChoiceParameter(options=(False, 0, 1, "1", 1.0)),  # equal in Python, different in a config
        "fixed": IntParameter(low=3, high=3),
    }
)
BASE: Config = {
    "depth": 2,
    "width": 64,
    "learning_rate": 1e-3,
    "dropout": 0.0,
    "norm": "layernorm",
    "rope": False,
    "odd": 0,
    "fixed": 3,
}


def proposer_brief() -> Brief:
    fields = make_brief(TRAIN).model_dump() | {"space": SPACE.model_dump(), "base_config": BASE, "goal": "Lower it."}
    return Brief.model_validate(fields)


BRIEF = proposer_brief()


def surface(config: Config) -> float:
    """Something like val_bpb: 2.3 at the base config, 1.5 at best, with two settings that only help together."""
    depth, rate = float(config["depth"]), float(config["learning_rate"])
    bpb = 1.5 + 0.03 * (depth - 5) ** 2 + 0.06 * math.log(rate / 8e-3) ** 2 + 0.5 * float(config["dropout"])
    bpb += 0.1 * abs(math.log2(float(config["width"]) / 128))
    bpb += 0.05 * (config["norm"] == "layernorm")
    return bpb + (0.0 if config["rope"] is True and config["odd"] == "1" else 0.08)


def finding_of(
    proposal: Proposal, number: int, bpb: float | None, parent: Entry | None, track: Track = TRACK
) -> Finding:
    """A proposal with its trial."""
    return Finding(
        number=number,
        started_at="2026-01-01T00:00:00Z",
        proposal=proposal,
        trials=(make_trial(bpb, track),),
        verdict=make_verdict(BRIEF, (make_trial(bpb, track),), parent),
    )


def entry(
    number: int = 1,
    bpb: float | None = 2.3,
    parent: Entry | None = None,
    author: PeerId = ME,
    track: Track = TRACK,
    source: str | None = None,
    outcome: Outcome | None = None,
    title: str = "",
    proposer: str = "classic",
    **config: object,
) -> Entry:
    """A finding of `author` whose config is the parent's (or the base) with `config` on top."""
    before = parent.finding.proposal.config if parent else BASE
    proposal = Proposal(
        operator=Operator.TUNE if parent else Operator.DRAFT,
        proposer=proposer,
        config=SPACE.normalise({**before, **config}),  # type: ignore[dict-item]
        source_sha256=source_sha256(source or TRAIN),
        source=source,
        parent=parent.id if parent else None,
        title=title or f"run {number}",
    )
    finding = finding_of(proposal, number, bpb, parent, track)
    if outcome is not None:
        finding = finding.model_copy(update={"trials": (make_trial(bpb, track, outcome),)})
    return make_entry(finding, author)


def request(
    history: Sequence[Entry] = (),
    *,
    parent: Entry | None = None,
    inspirations: Sequence[Entry] = (),
    other_tracks: Sequence[Entry] = (),
    number: int = 2,
    seed: int = 1,
    standings: Mapping[FindingId, Standing] | None = None,
    track: Track = TRACK,
) -> Request:
    """A request on `parent`, or on the first entry of the history, or on a baseline of its own."""
    parent = parent or (history[0] if history else entry())
    known = {e.id: e for e in (*history, parent)}
    tried = frozenset(e.finding.proposal.key for e in known.values())
    return Request(
        brief=BRIEF,
        me=ME,
        track=track,
        parent=parent,
        history=tuple(known.values()),
        other_tracks=tuple(other_tracks),
        inspirations=tuple(inspirations),
        tried=tried,
        number=number,
        seed=seed,
        standings=standings or {},
    )


def night(propose: Callable[[Request], Proposal], seed: int, trials: int) -> list[Proposal]:
    """One node alone on the surface, with run-to-run noise. Its proposals in order."""
    rng = random.Random(seed)
    ledger = Ledger(BRIEF.acceptance)
    ledger.apply(entry(1, surface(BASE) + rng.gauss(0, 0.009)))
    proposals: list[Proposal] = []
    for number in range(2, trials + 2):
        best = ledger.branch_best(ME, TRACK)
        assert best is not None
        history = ledger.entries(track=TRACK)
        asked = request(history, parent=best, number=number, seed=seed)
        proposal = propose(asked)
        proposals.append(proposal)
        bpb = None if proposal.config["depth"] == 8 else surface(proposal.config) + rng.gauss(0, 0.009)
        found = make_entry(finding_of(proposal, number, bpb, best), ME)
        ledger.apply(dataclasses.replace(found, at_ms=1_000_000 + number))
    return proposals

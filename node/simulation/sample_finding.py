"""A finding of the size that the loop's have, with made-up numbers; and the memory that one takes in a ledger."""

import random
import tracemalloc
from functools import cache
from hashlib import sha256

from node.research import SHARED_POINTS
from node.simulation.world import simulated_brief
from node.trials.output import coarse
from swarm.brief import Brief, decode_brief, encode_brief
from swarm.finding import Finding, Proposal, decode_finding, encode_finding
from swarm.ledger import Entry, Ledger
from swarm.trial import CurvePoint, Track, Trial
from swarm.verdict import judge, prior_noise
from swarm.words import FindingId, Operator, Outcome, PeerId


@cache
def sample_brief() -> Brief:
    """As nodes read it from its bytes: settings in their order there."""
    return decode_brief(encode_brief(simulated_brief()))


def finding_like(rng: random.Random, number: int) -> Finding:
    """Of the size that the loop's have."""
    brief, track = sample_brief(), Track(hardware_class="cpu-simulated-1", budget_seconds=120.0)
    curve = tuple(
        CurvePoint(
            step=int(31 * (n + rng.random())),
            seconds=round(7 * (n + rng.random()), 3),
            train_loss=1 + rng.random(),
            progress=(n + rng.random()) / SHARED_POINTS,
        )
        for n in range(SHARED_POINTS)
    )
    bpb = 1 + rng.random()
    trial = Trial(
        outcome=Outcome.MEASURED,
        track=track,
        seed=rng.getrandbits(31),
        seconds=120.1,
        val_bpb=bpb,
        steps=1200,
        curve=coarse(curve),
    )
    parent, rule = FindingId("".join(rng.choices("0123456789abcdef", k=64))), brief.acceptance
    return Finding(
        number=number,
        node_name="brave-otter",
        started_at="2026-01-01T00:00:00Z",
        proposal=Proposal(
            operator=Operator.TUNE,
            proposer="classic/local",
            config={**brief.base_config, "learning_rate": round(rng.uniform(1e-4, 3e-2), 6)},
            source_sha256=brief.source_sha256,
            parent=parent,
            title="learning rate 0.001 → 0.0021",
            rationale="A step from the branch's best in settings that were seldom tried from here.",
        ),
        trials=(trial,),
        verdict=judge((trial,), (1.5,), prior_noise(rule), rule),
    )


def ledger_bytes_per_finding(count: int = 1000) -> float:
    """Memory that a finding takes in a ledger, decoded, with all that points to it."""
    rng = random.Random(2)
    payloads = [encode_finding(finding_like(rng, n + 1)) for n in range(count)]
    ledger = Ledger(sample_brief().acceptance)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n, payload in enumerate(payloads):
            id, author = FindingId(sha256(payload).hexdigest()), PeerId(f"12D3KooW{n % 100:044}")
            ledger.apply(Entry(id=id, author=author, seq=n + 1, at_ms=n, finding=decode_finding(payload)))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / count

"""Members that do not play fair: liars, copycats, Sybils and a flooder.

They use a node's own parts and break its rules on purpose. What that does to the others is what a run measures.
"""

import random
from collections.abc import Callable, Sequence

import trio

from gossip.envelope import seal
from node.clock import rfc3339, wall_clock_of
from node.hypothesis import baseline
from node.simulation.ideas import stepped
from node.simulation.member import Member, Surroundings
from node.simulation.scenario import Sybils
from node.simulation.trials import Say
from swarm.finding import Finding, Proposal
from swarm.ledger import Entry
from swarm.trial import Trial
from swarm.verdict import judge
from swarm.words import Config, Decision, Operator, Outcome

FLOOD_BYTES = 1000  # of a record's payload
_START_SECONDS = 60.0


def exaggerates(around: Surroundings, sigmas: float) -> Say:
    """Everything but the baseline came out better."""
    start = around.brief.space.normalise(around.brief.base_config)

    def say(config: Config, bpb: float) -> float:
        return bpb if config == start else max(0.01, bpb - sigmas * around.landscape.noise_sd(config))

    return say


def copies(member: Member) -> None:
    """Signs each improvement it hears of as its own, with the same numbers; once, or copycats would copy each other."""
    signed: set[str] = set()

    def copy(entry: Entry) -> None:
        proposal = entry.finding.proposal
        if (
            entry.finding.verdict.decision is Decision.KEEP
            and proposal.parent is not None
            and proposal.key not in signed
        ):
            signed.add(proposal.key)
            _sign_as_own(member, entry)

    member.on_news = copy


async def claims(ring: Sequence[Member], start: Callable[[Member], None], fault: Sybils) -> None:
    """The first claims to have improved on the best that is known; the others say that they saw the same."""
    leader = ring[0]

    def confirm(member: Member, entry: Entry) -> None:
        if entry.author == leader.peer_id:
            _sign_as_own(member, entry)

    for member in ring:
        if member is not leader:
            member.on_news = lambda entry, member=member: confirm(member, entry)
        start(member)
    await trio.sleep(_START_SECONDS)
    leader.publish(_finding(leader, baseline(leader.around.brief), 5.0))
    while True:
        await trio.sleep(60 * fault.every_minutes)
        leader.publish(_claim(leader, fault.sigmas))


async def floods(member: Member, records_per_second: float) -> None:
    """Signs as fast as it is told to. The records are in order, and say nothing."""
    journal, identity = member.notebook.journal, member.identity
    while True:
        with wall_clock_of(member.clock):
            seq, previous = journal.last(identity.peer_id)
            payload = f"{seq}".encode().ljust(FLOOD_BYTES)
            record = seal(identity, "note", journal.brief, seq + 1, previous, int(1000 * member.clock()), payload)
        journal.append(record, received=member.clock(), own=True)
        member.announce()
        await trio.sleep(1 / records_per_second)


def _sign_as_own(member: Member, entry: Entry) -> None:
    number = member.notebook.next_number()
    signed = entry.finding.model_copy(update={"number": number, "node_name": f"{member.role}-{member.number}"})
    made = member.publish(signed)
    member.around.observation.copied.add(made.id)


def _claim(member: Member, sigmas: float) -> Finding:
    ledger, track, around = member.notebook.ledger, member.track, member.around
    known = [e for e in ledger.measured(track=track) if e.finding.proposal.source is None]
    best = known[0]
    rng = random.Random(f"{member.peer_id} {member.notebook.next_number()}")
    config = stepped(around.brief.space, best.finding.proposal.config, rng)
    parent = ledger.branch_best(member.notebook.me, track)
    said = max(0.01, (best.val_bpb or 1.0) - sigmas * around.landscape.noise_sd(config))
    proposal = Proposal(
        operator=Operator.TUNE,
        proposer="claimed",
        config=config,
        source_sha256=around.brief.source_sha256,
        parent=None if parent is None else parent.id,
        title="better, believe it",
    )
    return _finding(member, proposal, said, parent)


def _finding(member: Member, proposal: Proposal, said: float, parent: Entry | None = None) -> Finding:
    trial = Trial(
        outcome=Outcome.MEASURED, track=member.track, seed=1, seconds=member.track.budget_seconds, val_bpb=said
    )
    noise, rule = member.notebook.ledger.noise(member.track, member.notebook.me), member.around.brief.acceptance
    known = None if parent is None or parent.val_bpb is None else (parent.val_bpb,)
    verdict = judge((trial, trial), known, noise, rule)
    return Finding(
        number=member.notebook.next_number(),
        node_name=f"{member.role}-{member.number}",
        started_at=rfc3339(member.clock()),
        proposal=proposal,
        trials=(trial, trial),
        verdict=verdict,
    )

"""Standing on a peer's shoulders: the peer's finding from which the next idea starts, when one is ahead of ours.

Owns who leads and how far that is believed. Running a leader's config again would tell the swarm little: its nodes
would spend most trials on each other's ideas (docs/log.md). So an idea of our own is put onto it, and if that beats our
best, the branch moves there: adoption costs no trial of its own. Numbers that nobody has confirmed are taken on trust,
for a few trials: whose leads came to nothing here is left alone for a while, and many such authors together end at half
of the ideas.
"""

import random
from dataclasses import dataclass

from node.proposers.moves import lead
from node.proposers.port import Request
from swarm.ledger import Entry
from swarm.words import Decision, FindingId, Operator, PeerId

LEAD_SDS = 1.0  # by so many standard deviations of a trial it has to be better than our best; guess
LOOKED_BACK = 12  # own experiments that are remembered for it; guess
FAILURES = 4  # net of successes, among those, after which an author's leads are left alone
DOUBT = 0.1  # what each failure, whoever's lead it was, takes off how often we stand on anybody


@dataclass(frozen=True)
class _Record:
    """What came of standing on somebody, in recent own experiments: failures less successes."""

    by_author: dict[PeerId, int]

    @property
    def rate(self) -> float:
        return 1.0 / (1.0 + DOUBT * max(0, sum(self.by_author.values())))


def leader(request: Request, rng: random.Random) -> Entry | None:
    """The best finding of a peer on our track that is ahead of us; None if there is none, or this turn is our own's."""
    ahead = [e for e in request.on_track if e.author != request.me and lead(request, e) > LEAD_SDS * request.noise_sd]
    if not ahead:
        return None
    record = _record(request)
    trusted = [e for e in ahead if record.by_author.get(e.author, 0) < FAILURES]
    if rng.random() >= record.rate:
        return None
    return min(trusted, key=lambda e: (e.val_bpb, e.id), default=None)


def _record(request: Request) -> _Record:
    author_of: dict[FindingId, PeerId] = {e.id: e.author for e in request.on_track}
    own = sorted((e for e in request.on_track if e.author == request.me), key=lambda e: (e.seq, e.id))
    found: dict[PeerId, int] = {}
    for entry in own[-LOOKED_BACK:]:
        proposal = entry.finding.proposal
        if proposal.operator is not Operator.COMBINE or not proposal.inspirations:
            continue
        stood_on = author_of.get(proposal.inspirations[-1])  # what was really taken is named last
        if stood_on is not None and stood_on != request.me:
            kept = entry.finding.verdict.decision is Decision.KEEP
            found[stood_on] = found.get(stood_on, 0) + (-1 if kept else 1)
    return _Record(found)

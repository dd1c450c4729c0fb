"""What the model-based arms learn from: trials of the parent's own source on its track, by everybody.

Owns how far a peer's number is believed. Own numbers and confirmed ones count as they are. A number that only its
author has seen gets noise of its own on top, the same at every reading; a disputed or refuted one is left out. A
finding of another track is never an observation. One that was stopped early counts as the median of what was
measured: no candidate for the best, and not known to be worse than most. Left out, a sampler would go there again.
"""

import random
from dataclasses import dataclass, replace
from statistics import median

from node.proposers.port import Request
from swarm.ledger import Entry
from swarm.words import Config, Outcome, Standing

MAX_OBSERVATIONS = 1000  # the newest; above, a call takes longer than it teaches
CLAIMED_NOISE = 2.0  # standard deviations of a trial that are added to what nobody has confirmed; guess
WORST_BPB = 64.0  # Trial.val_bpb is below this: a bad ending ranks after every number


@dataclass(frozen=True)
class Observation:
    """One config and what it came to, as a sampler is told of it."""

    entry: Entry
    value: float  # bits per byte; WORST_BPB for a bad ending

    @property
    def config(self) -> Config:
        return self.entry.finding.proposal.config


def observations(request: Request) -> list[Observation]:
    """Oldest first. Cancelled trials say nothing about the idea."""
    digest = request.parent.finding.proposal.source_sha256
    fitting = [
        entry
        for entry in request.on_track
        if entry.finding.proposal.source_sha256 == digest and entry.outcome is not Outcome.CANCELLED
    ]
    seen = [_seen(request, entry) for entry in fitting[-MAX_OBSERVATIONS:]]
    return _with_censored([one for one in seen if one is not None])


def _with_censored(seen: list[Observation]) -> list[Observation]:
    """Those stopped early with the median of the measured ones in the place of a number; without any, they are gone."""
    measured = [one.value for one in seen if one.entry.val_bpb is not None]
    stopped = {one.entry.id for one in seen if one.entry.outcome is Outcome.CENSORED}
    if not measured:
        return [one for one in seen if one.entry.id not in stopped]
    middle = median(measured)
    return [replace(one, value=middle) if one.entry.id in stopped else one for one in seen]


def _seen(request: Request, entry: Entry) -> Observation | None:
    standing = request.standings.get(entry.id, Standing.CLAIMED)
    if entry.author != request.me and standing in (Standing.DISPUTED, Standing.REFUTED):
        return None
    if entry.val_bpb is None:
        return Observation(entry, WORST_BPB)
    if entry.author == request.me or standing is Standing.CONFIRMED:
        return Observation(entry, entry.val_bpb)
    blur = random.Random(entry.id).gauss(0.0, CLAIMED_NOISE * request.noise_sd)
    return Observation(entry, entry.val_bpb + blur)

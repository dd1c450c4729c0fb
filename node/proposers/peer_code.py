"""Crossover of code: a peer's change of train.py, put onto our own best, or the reason why that cannot be.

Owns whose code is taken, how often, and how it is joined with ours. Asked only where a sandbox holds what a peer wrote
(node/sandbox/policy.py); the smoke run and the trial's examination come after it, as for a model's code. A finding has
its whole train.py, named by its hash: the change is what leads there from the brief's, which everybody has.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import trio

from node.proposers import peer_text
from node.proposers.credit import improvement
from node.proposers.edits import EditRefused, check_source
from node.proposers.merging import merged
from node.proposers.moves import mutate
from node.proposers.port import Proposer, Request, build_proposal, is_new
from node.proposers.source_rules import canonical_source
from swarm.finding import Proposal
from swarm.ledger import Entry
from swarm.simplicity import source_tokens
from swarm.space import changes
from swarm.words import BriefError, Config, Decision, FindingId, Operator, Outcome, PeerId, Standing, short

LEADING, KEPT = 0.5, 0.1  # how often an idea takes code that is ahead of us, or that only helped its author; guess
TRIES = 3  # of one author's code until something of it was kept here, and as many again after each that was; guess
LOOKED_AT = 4  # findings for one idea, at most; each takes a tenth of a second
CLEAN_SECONDS = 10.0
_COMMAND = [sys.executable, "-I", "-S", str(Path(peer_text.__file__).resolve())]
Refused = Callable[[str, str], None]  # takes which finding, and why its code is not tried
Find = Callable[[FindingId], Entry | None]


class PeerCode:
    """A peer's code when there is some worth a trial, `other`'s idea whenever else."""

    def __init__(self, other: Proposer, refused: Refused) -> None:
        self._other, self._refused = other, refused
        self._seen: set[tuple[FindingId, str]] = set()  # finding and the source of ours it was to be put on
        self._tries: Counter[PeerId] = Counter()
        self._just_took = False  # never twice in a row: many names that all claim to lead must not end our own research

    @property
    def name(self) -> str:
        """Of who has the ideas; what is taken from a peer says crossover."""
        return self._other.name

    async def propose(self, request: Request) -> Proposal:
        if request.failed is None and not self._just_took:
            for entry in self._worth_taking(request)[:LOOKED_AT]:
                if (proposal := await self._crossed(request, entry)) is not None:
                    self._just_took = True
                    return proposal
        self._just_took = False
        return await self._other.propose(request)

    def _worth_taking(self, request: Request) -> list[Entry]:
        """Peers' code that has not been looked at from where we stand: leaders first, of equals the simplest."""
        ours = request.parent.finding.proposal.source_sha256
        news = {e.id for e in request.inspirations}
        found: list[tuple[bool, int, int, Entry]] = []
        for entry in request.known.values():
            if not self._is_candidate(request, entry, ours):
                continue
            leads = _leads(request, entry)
            chance = 1.0 if leads and entry.id in news else LEADING if leads else KEPT
            if random.Random(f"{request.seed}/{request.number}/{entry.id}").random() < chance:
                equal = round((entry.val_bpb or 0.0) / request.noise_sd)
                found.append((not leads, equal, source_tokens(entry.finding.proposal.source or ""), entry))
        return [one[3] for one in sorted(found, key=lambda one: (*one[:3], one[3].id))]

    def _is_candidate(self, request: Request, entry: Entry, ours: str) -> bool:
        proposal = entry.finding.proposal
        if entry.author == request.me or proposal.source is None or proposal.source_sha256 == ours:
            return False
        if entry.val_bpb is None or (entry.id, ours) in self._seen:
            return False
        if request.standings.get(entry.id) in (Standing.DISPUTED, Standing.REFUTED):
            return False
        if self._tries[entry.author] >= TRIES * (1 + _kept_from(request, entry.author)):
            return False
        return _leads(request, entry) or _own_change(request, entry) is not None

    async def _crossed(self, request: Request, entry: Entry) -> Proposal | None:
        self._seen.add((entry.id, request.parent.finding.proposal.source_sha256))
        try:
            source, config = await self._joined(request, entry)
            if source != request.parent_source and not is_new(request, config, source):
                config = mutate(request, config, random.Random(f"{request.seed}/{entry.id}"), 1)  # theirs, and one step
            if not is_new(request, config, source):
                return None
            await check_source(source)
            built = _built(request, entry, config, source)
        except (EditRefused, BriefError) as refused:
            self._refused(entry.id, str(refused))
            return None
        except OSError as error:  # no room for temporary files, no process to be had
            self._refused(entry.id, f"it cannot be joined here: {error.strerror}")
            return None
        self._tries[entry.author] += 1
        return built

    async def _joined(self, request: Request, entry: Entry) -> tuple[str, Config]:
        """Its change on ours; of one that leads and does not fit on ours, the whole in place of ours."""
        theirs, brief, ours = entry.finding.proposal, request.brief, request.parent_source
        assert theirs.source is not None
        source = await _clean(theirs.source, request)
        if _leads(request, entry):
            config = {**request.parent_config, **changes(brief.base_config, theirs.config)}
            try:
                return await merged(ours, brief.source, source), config
            except EditRefused:
                return source, dict(theirs.config)
        before = _own_change(request, entry)
        assert before is not None
        base = await _clean(before.source, request) if before.source is not None else brief.source
        config = {**request.parent_config, **changes(before.config, theirs.config)}
        return await merged(ours, base, source), config


def _leads(request: Request, entry: Entry) -> bool:
    """It says to be ahead of our best on our track, by more than luck."""
    ours, theirs = request.parent.val_bpb, entry.val_bpb
    if theirs is None or entry.track != request.track:
        return False
    return ours is None or theirs < ours - request.noise_sd


def _own_change(request: Request, entry: Entry) -> Proposal | None:
    """What it was compared with, if its author kept it for a change of code; None for all others."""
    parent = request.known.get(entry.finding.proposal.parent) if entry.finding.proposal.parent else None
    if parent is None or entry.finding.verdict.decision is not Decision.KEEP:
        return None
    before = parent.finding.proposal
    changed = before.source_sha256 != entry.finding.proposal.source_sha256
    return before if changed and improvement(entry.finding, request.noise_sd) > 0 else None


def _built(request: Request, entry: Entry, config: Config, source: str) -> Proposal:
    whose = f"finding {short(entry.id)} of peer {short(entry.author)}"
    return build_proposal(
        request,
        proposer="classic/crossover",
        operator=Operator.COMBINE,
        config=config,
        source=source,
        title=f"code of {whose}",
        rationale=f"Takes the change of train.py from {whose} onto the branch's best.",
        sources=(entry.id,),
    )


def _kept_from(request: Request, author: PeerId) -> int:
    """How many of our kept findings took code of this peer."""
    kept = 0
    for entry in request.on_track:
        finding, told = entry.finding, entry.finding.proposal.inspirations
        ours = entry.author == request.me and finding.verdict.decision is Decision.KEEP
        if not ours or finding.outcome is not Outcome.MEASURED or not _takes_code(finding.proposal, request.known.get):
            continue
        source = request.known.get(told[-1]) if told else None
        kept += source is not None and source.author == author
    return kept


def _takes_code(proposal: Proposal, find: Find) -> bool:
    """Only a crossover of code combines and changes train.py at once."""
    parent = find(proposal.parent) if proposal.parent else None
    changed = parent is not None and parent.finding.proposal.source_sha256 != proposal.source_sha256
    return changed and proposal.operator is Operator.COMBINE


def carries_peer_code(proposal: Proposal, brief_sha256: str, find: Find) -> bool:
    """Whether an own proposal's train.py has something in it that a peer wrote: it, or what it grew from, took code."""
    at: Proposal | None = proposal
    while at is not None and at.source_sha256 != brief_sha256:
        if _takes_code(at, find):
            return True
        parent = find(at.parent) if at.parent else None
        at = parent.finding.proposal if parent is not None else None
    return False


async def _clean(source: str, request: Request) -> str:
    """A peer's source without words of its own, in canonical form. Raises EditRefused."""
    text = canonical_source(source.encode("utf-8", "surrogatepass"))
    asked = json.dumps({"source": text, "known": [request.brief.source, request.parent_source]})
    with trio.move_on_after(CLEAN_SECONDS):
        done = await trio.run_process(
            _COMMAND, stdin=asked.encode(), capture_stdout=True, capture_stderr=True, check=False
        )
        if done.returncode != 0:
            raise EditRefused("it cannot be parsed within limits")
        said = json.loads(done.stdout)
        if "refused" in said:
            raise EditRefused(said["refused"])
        return canonical_source(said["source"].encode())
    raise EditRefused("it cannot be parsed within limits")

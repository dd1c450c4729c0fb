"""What has been tried on a track, by anybody: the keys by which nothing is tried twice.

Derived from the ledger at each question. Owns nothing but what it has worked out of findings, which never change.
"""

from collections.abc import Iterable

from swarm.brief import Brief
from swarm.finding import Proposal
from swarm.ledger import Entry
from swarm.program import canonical_key
from swarm.words import BriefError, FindingId, Outcome

SOURCES_AT_ONCE = 4  # read at one question, some 50 ms each; of a restart's hundreds, the newest first, the rest later


class Tried:
    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._canonical: dict[FindingId, str] = {}

    def keys(self, entries: Iterable[Entry]) -> frozenset[str]:
        """Of all that was run, cancelled trials apart: the keys of the exact texts, and the canonical ones."""
        run = {e.id: e.finding.proposal for e in entries if e.finding.outcome is not Outcome.CANCELLED}
        self._canonical = {id: key for id, key in self._canonical.items() if id in run}
        to_read = SOURCES_AT_ONCE
        for id, proposal in reversed(run.items()):
            if id not in self._canonical and (proposal.source is None or to_read):
                to_read -= proposal.source is not None
                self._canonical[id] = self._key(proposal)
        return frozenset({*self._canonical.values(), *(proposal.key for proposal in run.values())})

    def _key(self, proposal: Proposal) -> str:
        try:
            return canonical_key(self._brief, proposal.config, proposal.source)
        except BriefError:  # a config outside the space, which no proposal of ours can have
            return proposal.key

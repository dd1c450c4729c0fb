"""The gradient norms of this node's own runs: told to its own proposers, published nowhere but in the run folders.

Owns which are remembered. They are no part of the record: a peer's word on them would be worth nothing.
"""

from collections.abc import Iterable, Mapping

from node.report.run_words import run_folder
from node.results.repository import Results, ResultsError
from node.trials.gradients import GradientNorms, gradient_norms_of
from swarm.ledger import Entry
from swarm.words import FindingId


class RunGradients:
    def __init__(self) -> None:
        self._known: dict[FindingId, GradientNorms] = {}

    @property
    def known(self) -> Mapping[FindingId, GradientNorms]:
        return dict(self._known)

    def note(self, id: FindingId, norms: GradientNorms | None) -> None:
        if norms is not None:
            self._known[id] = norms

    async def load(self, results: Results, entries: Iterable[Entry]) -> None:
        """What the branch has of some own findings, after a restart. A run without them has none."""
        for entry in entries:
            try:
                content = await results.read(f"{run_folder(entry.finding)}/result.json", results.branch)
            except ResultsError:
                continue
            self.note(entry.id, gradient_norms_of(content))

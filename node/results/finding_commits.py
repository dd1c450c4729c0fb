"""Which commit holds which finding, for findings of peers whose branch has been fetched. For looking.

Owns one reading of a branch's trailers, again once its head has moved. The commits of this node's own findings are the
journal's. A branch speaks of its owner's findings only: what somebody's commits claim of others' is never looked up.
"""

from collections.abc import Mapping
from pathlib import Path

from node.results.repository import Results, ResultsError, branch_name
from swarm.words import FindingId, PeerId

Commits = Mapping[FindingId, str]


class FindingCommits:
    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._known: dict[str, tuple[str, Commits]] = {}  # branch -> its head, and what it held then

    async def of(self, peer: PeerId, topic: str) -> Commits:
        """Nothing where the branch is not here, or cannot be read: it is not needed for anything else."""
        if not self._repository.is_dir():
            return {}
        try:
            results = Results(self._repository, branch_name(peer, topic))
            head = await results.head()
            known = self._known.get(results.branch)
            if head is None or (known is not None and known[0] == head):
                return known[1] if head is not None and known is not None else {}
            made = await _read(results)
        except ResultsError:
            return {}
        self._known[results.branch] = head, made
        return made


async def _read(results: Results) -> Commits:
    """The commit that a finding came with: the oldest one that names it."""
    history = reversed(await results.history())
    found: dict[FindingId, str] = {}
    for commit in history:
        if (id := commit.trailers.get("Finding-Id")) is not None:
            found.setdefault(FindingId(id), commit.hash)
    return found

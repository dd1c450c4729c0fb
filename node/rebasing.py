"""Carries a proposal that was made before the branch moved over to where it stands now, or says why that cannot be.

Owns how a change is put onto another parent: settings by name, train.py by the merge that peers' code goes through.
Whole or not at all; whether the result is worth a trial is asked afterwards, as of any proposal.
"""

from node.notebook import Notebook
from node.proposers.edits import EditRefused, check_source
from node.proposers.merging import merged
from node.proposers.port import MAX_TITLE_CHARS
from swarm.brief import Brief, source_sha256
from swarm.finding import Proposal
from swarm.ledger import Entry
from swarm.space import changes, describe_changes
from swarm.words import BriefError, SwarmError


class CannotRebase(SwarmError):
    """The branch has moved to where a proposal's change does not fit."""


async def rebase(proposal: Proposal, notebook: Notebook, best: Entry) -> Proposal:
    """The change of `proposal`, made to `best`. Raises CannotRebase."""
    if proposal.parent == best.id:
        return proposal
    parent = notebook.ledger.get(proposal.parent)
    if parent is None:
        raise CannotRebase("what it was made from is not known here")
    brief, before, standing = notebook.brief, parent.finding.proposal, best.finding.proposal
    config = standing.config | changes(before.config, proposal.config)
    try:
        config = brief.space.normalise(config)
        source = await _source(proposal, before, standing, brief)
    except (BriefError, EditRefused) as refused:
        raise CannotRebase(f"the branch has moved since it was made, and it does not fit there: {refused}") from None
    changes_code = source_sha256(source) != standing.source_sha256
    update: dict[str, object] = {
        "parent": best.id,
        "config": config,
        "title": proposal.title if changes_code else describe_changes(standing.config, config)[:MAX_TITLE_CHARS],
        "source": source if source != brief.source else None,
        "source_sha256": source_sha256(source),
    }
    return proposal.model_copy(update=update)


async def _source(proposal: Proposal, before: Proposal, standing: Proposal, brief: Brief) -> str:
    """The train.py of where the branch stands, with the edits of the proposal. Raises EditRefused."""
    ours, base, theirs = (one.source or brief.source for one in (standing, before, proposal))
    if theirs == base:
        return ours
    if ours == base:
        return theirs
    source = await merged(ours, base, theirs)
    await check_source(source)
    return source

"""Travelling branches by name: what a branch and its signed head are called in git, and why one is refused."""

import re
from dataclasses import dataclass
from enum import StrEnum

from node.results.repository import branch_name
from swarm.words import SwarmError

_REF = re.compile(r"refs/(?:heads/nodes|swarm/heads)/([^/]+)/([^/]+)")


class Refusal(StrEnum):
    """Why a branch that a peer gave was not taken."""

    FORGED = "forged"  # its head is not signed by the branch's owner, or names another branch
    REWRITTEN = "rewritten"  # what we have is not part of it
    NOT_A_RESULT = "not_a_result"  # a commit without the owner's record, or one that touches others
    FORBIDDEN = "forbidden"  # a link, a submodule, a file name with a trick in it
    DAMAGED = "damaged"  # git's fsck found something
    TOO_LARGE = "too_large"  # over the quota


class BranchRefused(SwarmError):
    def __init__(self, reason: Refusal, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Owned:
    """A branch by its owner and topic."""

    peer: str
    topic: str

    @property
    def branch(self) -> str:
        """Raises ResultsError for names that could mean something else to git."""
        return branch_name(self.peer, self.topic)

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"

    @property
    def head_ref(self) -> str:
        """Where its signed head lies, a blob."""
        return f"refs/swarm/heads/{self.branch.removeprefix('nodes/')}"


def owned_by_ref(ref: str) -> Owned | None:
    """The branch that a ref is, or is the signed head of; None for every other ref."""
    match = _REF.fullmatch(ref)
    if match is None:
        return None
    owned = Owned(match[1], match[2])
    try:
        return owned if ref in (owned.ref, owned.head_ref) else None
    except SwarmError:
        return None

"""Proposers: what to try next. `make_proposer` picks one; the loop only sees the port."""

from node.proposers.auto import KINDS, Auto, Kind, make_proposer
from node.proposers.classic import Classic
from node.proposers.port import Failure, Proposer, ProposerFailed, Request

__all__ = ["KINDS", "Auto", "Classic", "Failure", "Kind", "Proposer", "ProposerFailed", "Request", "make_proposer"]

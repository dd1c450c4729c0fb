"""Screening: whether an idea is worth a trial, before it costs one.

Owns never the same twice, nearly the same seldom, and likely failures seldom. Repeats that the acceptance rule or a
person asks for never pass here.
"""

from functools import cached_property

from node.proposers.feasibility import Feasibility
from node.proposers.port import Request, is_new
from node.proposers.unit_cube import Points
from swarm.words import Config

MOST_RISK = (
    0.12  # chance to fail from which on an idea is drawn again; guess, checked on the made-up surface of the tests
)
NEAR_PENALTY = 0.5  # what being nearly the same is worth in chances to fail, when every draw has something against it


class Screening:
    """Made for one request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._feasibility = Feasibility(request)

    def penalty(self, config: Config) -> float | None:
        """0: worth a trial. More: the less the better. None: it was run already."""
        if not is_new(self._request, config):
            return None
        risk = self._feasibility.p_fails(config)
        near = self._points.near(config)
        return NEAR_PENALTY * near + (risk if risk > MOST_RISK else 0.0)

    @cached_property
    def _points(self) -> Points:
        digest = self._request.parent.finding.proposal.source_sha256
        known = [e.finding.proposal for e in self._request.on_track]
        return Points(self._request.brief.space, (p.config for p in known if p.source_sha256 == digest))

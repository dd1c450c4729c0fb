"""Feasibility: how likely a config is to end without a number.

A logistic regression with a ridge penalty on the settings, each on its own scale. On those scales memory is about
linear (widths and contexts double, so their logarithms add up), and so is a learning rate that diverges. Learned from
own findings and peers' of the same hardware class, whatever ended badly: out of memory, out of time, diverged,
crashed. A peer's counts half. Being out of time says nothing about another budget. While nothing has failed,
everything is feasible.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from node.proposers.draws import can_move
from node.proposers.port import Request
from node.proposers.unit_cube import coordinate, has_order
from swarm.ledger import Entry
from swarm.space import ChoiceParameter
from swarm.words import Config, Outcome

PEER_WEIGHT = 0.5
RIDGE = 1.0  # pull of each coefficient to zero, in trials; guess, checked on the made-up surface of the tests
STEPS = 12  # Newton's method is there in five or six
MAX_EXAMPLES = 600  # the newest


@dataclass(frozen=True)
class _Example:
    config: Config
    failed: bool
    weight: float


class Feasibility:
    """Made for one request; learned when it is first asked."""

    def __init__(self, request: Request) -> None:
        self._space = request.brief.space.parameters
        self._examples = list(_examples(request))[-MAX_EXAMPLES:]

    def p_fails(self, config: Config) -> float:
        """Chance that a trial of `config` ends without a number."""
        if self._coefficients is None:
            return 0.0
        import numpy as np

        at = float(np.dot(self._features(config), self._coefficients))
        return float(1.0 / (1.0 + np.exp(-min(max(at, -30.0), 30.0))))

    @cached_property
    def _coefficients(self) -> Any:  # Any: a numpy array of as many numbers as there are features, or None
        if not any(one.failed for one in self._examples):
            return None
        import numpy as np

        x = np.array([self._features(one.config) for one in self._examples])  # (examples, features)
        y = np.array([float(one.failed) for one in self._examples])
        weights = np.array([one.weight for one in self._examples])
        ridge = np.full(x.shape[1], RIDGE)
        ridge[0] = 1e-3  # how often things fail at all is not pulled anywhere
        found = np.zeros(x.shape[1])
        for _ in range(STEPS):
            p = 1.0 / (1.0 + np.exp(-np.clip(x @ found, -30.0, 30.0)))
            slope = x.T @ (weights * (p - y)) + ridge * found
            curvature = (x * (weights * p * (1.0 - p))[:, None]).T @ x + np.diag(ridge)
            found = found - np.linalg.solve(curvature, slope)
        return found

    def _features(self, config: Config) -> list[float]:
        """1, then each setting from -1 to 1; one number for each option where options have no order."""
        out = [1.0]
        for name, parameter in self._space.items():
            if not can_move(parameter):
                continue
            if has_order(parameter):
                out.append(2.0 * coordinate(parameter, config[name]) - 1.0)
            else:
                assert isinstance(parameter, ChoiceParameter)
                value = config[name]
                out += [float(type(value) is type(option) and value == option) for option in parameter.options]
        return out


def _examples(request: Request) -> Iterable[_Example]:
    digest = request.parent.finding.proposal.source_sha256
    for entry in request.known.values():
        finding = entry.finding
        if finding.proposal.source_sha256 != digest or finding.outcome is Outcome.CANCELLED:
            continue
        if _speaks_of(request, entry):
            weight = 1.0 if entry.author == request.me else PEER_WEIGHT
            yield _Example(finding.proposal.config, _failed(finding.outcome), weight)


def _failed(outcome: Outcome) -> bool:
    """What was stopped early ran as far as it came: its memory was enough, and its numbers were finite."""
    return outcome not in (Outcome.MEASURED, Outcome.CENSORED)


def _speaks_of(request: Request, entry: Entry) -> bool:
    """Whether a finding's ending says something about trials of this track."""
    track = entry.track
    if track.hardware_class != request.track.hardware_class:
        return False
    return track == request.track or entry.outcome is not Outcome.TIMED_OUT

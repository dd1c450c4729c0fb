"""Gaussian process regression in plain numpy: smooth guesses between measured points, and how sure they are.

Owns the arithmetic: a Matérn 5/2 kernel with a lengthscale for each coordinate beside a linear one, fitted by the
marginal likelihood. Lengthscales have the prior of Hvarfner et al. 2024 ("Vanilla Bayesian Optimization Performs Great
in High Dimensions", arXiv 2402.02229), so that coordinates the data say nothing of stay without effect.
Knows neither configs nor scores.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]  # Any: of whatever width; float64 everywhere here

STEPS = 60  # of the fit; twice as many change no held-out figure (measured on 350 points)
SQRT5 = math.sqrt(5.0)
FIRST_STEP, LARGEST_STEP = 0.1, 0.5  # Rprop's, in logarithms
LENGTH_SD = 1.0  # of the prior of log lengthscales; the paper has sqrt(3), too wide for one-hot coordinates
OTHERS_SD = 1.5  # of the prior of log amplitudes and log noise
FLOOR = 1e-6  # added to the diagonal, of the variance


@dataclass(frozen=True)
class _Likelihood:
    value: float
    slope: Array  # with respect to the parameters


class GaussianProcess:
    """Fitted to points x (N, D) with values y (N,), each the mean of `counts` equally noisy ones."""

    def __init__(self, x: Array, y: Array, counts: Array | None = None, steps: int = STEPS) -> None:
        self._x, self._mean, self._scale = x, float(y.mean()), float(y.std()) or 1.0
        self._z = (y - self._mean) / self._scale
        self._noise_shares = 1.0 / (counts if counts is not None else np.ones(len(y)))
        dimensions = x.shape[1]
        length = 0.5 * math.log(dimensions) - 0.5
        # log lengthscales, log amplitude, log amplitude of the linear part, log noise
        self._prior_mean = np.array([length] * dimensions + [0.0, math.log(0.3 / math.sqrt(dimensions)), math.log(0.1)])
        self._prior_sd = np.array([LENGTH_SD] * dimensions + [OTHERS_SD] * 3)
        self._parameters = self._climb(self._prior_mean.copy(), steps)
        self._factor = _cholesky(self._covariance(self._parameters))
        self._weights = self._solve(self._z)

    @property
    def lengthscales(self) -> Array:
        return np.exp(self._parameters[:-3])

    @property
    def noise_sd(self) -> float:
        """Of one value: what repeats differ by, and what the kernel cannot follow."""
        return self._scale * math.exp(self._parameters[-1])

    def means(self, x: Array) -> Array:
        """At points (M, D)."""
        return self._mean + self._scale * (self._across(x) @ self._weights)

    def sds(self, x: Array) -> Array:
        """How far the means at points (M, D) may be off; noise comes on top."""
        amplitude, linear, _ = np.exp(2.0 * self._parameters[-3:])
        half = solve(self._factor, self._across(x).T)  # (N, M)
        variance = amplitude + linear * (x * x).sum(1) - (half * half).sum(0)
        return self._scale * np.sqrt(np.maximum(variance, 0.0))

    def _across(self, x: Array) -> Array:
        """(M, N) covariances with the fitted points."""
        amplitude, linear, _ = np.exp(2.0 * self._parameters[-3:])
        return amplitude * _matern(self.distances(x)) + linear * (x @ self._x.T)

    def distances(self, x: Array) -> Array:
        """(M, N) from points to the fitted ones, in lengthscales."""
        return _distances(x / self.lengthscales, self._x / self.lengthscales)

    def left_out(self) -> tuple[Array, Array]:
        """What it would say of each fitted point from all others, kernel and noise as fitted: means, sds."""
        inverse = self._inverse(self._factor)
        spread = 1.0 / np.diag(inverse)
        return self._mean + self._scale * (self._z - self._weights * spread), self._scale * np.sqrt(spread)

    def _solve(self, right: Array) -> Array:
        return solve(self._factor.T, solve(self._factor, right))

    def _inverse(self, factor: Array) -> Array:
        half = solve(factor, np.eye(len(factor)))
        return half.T @ half

    def _covariance(self, parameters: Array) -> Array:
        lengths, (amplitude, linear, noise) = np.exp(parameters[:-3]), np.exp(2.0 * parameters[-3:])
        smooth = amplitude * _matern(_distances(self._x / lengths, self._x / lengths))
        return smooth + linear * (self._x @ self._x.T) + np.diag(noise * self._noise_shares + FLOOR)

    def _climb(self, at: Array, steps: int) -> Array:
        """Rprop (Riedmiller & Braun 1993): each parameter has a step of its own that grows while its slope keeps its
        sign. The best point met is what counts."""
        sizes, before = np.full(len(at), FIRST_STEP), np.zeros(len(at))
        best, best_value = at, -math.inf
        for _ in range(steps):
            found = self._likelihood(at)
            if found is None:
                at, sizes = best.copy(), 0.5 * sizes
                continue
            if found.value > best_value:
                best, best_value = at.copy(), found.value
            same = found.slope * before
            sizes = np.clip(np.where(same > 0, 1.2 * sizes, np.where(same < 0, 0.5 * sizes, sizes)), 1e-4, LARGEST_STEP)
            before = np.where(same < 0, 0.0, found.slope)
            at = at + np.sign(before) * sizes
        return best

    def _likelihood(self, parameters: Array) -> _Likelihood | None:
        """Log posterior of the parameters; None where the matrix cannot be factored."""
        lengths, (amplitude, linear, noise) = np.exp(parameters[:-3]), np.exp(2.0 * parameters[-3:])
        scaled = self._x / lengths
        distance, dots = _distances(scaled, scaled), self._x @ self._x.T
        smooth = amplitude * _matern(distance)
        noises = noise * self._noise_shares
        try:
            factor = _cholesky(smooth + linear * dots + np.diag(noises + FLOOR))
        except np.linalg.LinAlgError:
            return None
        inverse = self._inverse(factor)
        weights = inverse @ self._z
        outer = 0.5 * (np.outer(weights, weights) - inverse)  # slope with respect to each entry of the matrix
        bend = outer * amplitude * (5.0 / 3.0) * (1.0 + SQRT5 * distance) * np.exp(-SQRT5 * distance)
        by_length = 2.0 * ((scaled * scaled * bend.sum(1)[:, None]).sum(0) - (scaled * (bend @ scaled)).sum(0))
        others = [2.0 * (outer * smooth).sum(), 2.0 * linear * (outer * dots).sum(), 2.0 * (np.diag(outer) @ noises)]
        from_prior = (parameters - self._prior_mean) / self._prior_sd
        value = (
            -0.5 * float(self._z @ weights)
            - float(np.log(np.diag(factor)).sum())
            - 0.5 * float(from_prior @ from_prior)
        )
        return _Likelihood(value, np.concatenate((by_length, others)) - from_prior / self._prior_sd)


def solve(matrix: Array, right: Array) -> Array:
    """numpy's, whose types say nothing."""
    return np.linalg.solve(matrix, right)


def _cholesky(matrix: Array) -> Array:
    return np.linalg.cholesky(matrix)


def _matern(distance: Array) -> Array:
    return (1.0 + SQRT5 * distance + (5.0 / 3.0) * distance * distance) * np.exp(-SQRT5 * distance)


def _distances(first: Array, second: Array) -> Array:
    square = (first * first).sum(1)[:, None] + (second * second).sum(1) - 2.0 * first @ second.T
    return np.sqrt(np.maximum(square, 0.0))

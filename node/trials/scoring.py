"""The arithmetic of a measurement: windows of the validation shard, nats of its tokens, and the prefix rule.

Owns the convention. The input is the shard moved by one token, so that every token is a target exactly once and is
predicted from what stands before it in its window, at least the token before it:

    input   0  a  b  c | d  e  f  g | h ...      0: one implicit token 0 before the shard, nothing else is made up
    target  a  b  c  d | e  f  g  h | i ...

The last window is as short as what is left. Pure numpy: no process, no clock, no model. Whoever calls gives the random
generator, because the order of windows and the choice of prefixes must be secret to what answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint16]
Nats = NDArray[np.float64]

SHIPPED_SAMPLES = 256  # for the script that ships, which nobody wrote to cheat: finds an accident; a brief's may differ
PREFIX_SAMPLES = 2048  # by the odds, finds peeking at 1 % of positions always, at 0.1 % in 87 of 100
MIN_GROUP, MAX_GROUP = 4, 64  # prefixes of one length in a batch: enough for the cores, few enough to try all lengths
WORST_NATS = -0.25  # honest bfloat16 reaches -0.03, honest int8 with dynamic scales -0.06 (measured)
MEAN_NATS = -0.003  # honest int8 reaches -0.0017: its scales do depend on later tokens (measured)
STANDARD_ERRORS = 3.0
_ROWS = 1024  # scored at once: 1 MiB of float32 logits on bytes stays in cache


@dataclass(frozen=True)
class Batch:
    """Equally long beginnings of windows that are asked together."""

    begins: NDArray[np.intp]  # (B,) index of each window's first token
    length: int  # T

    @property
    def tokens(self) -> int:
        return len(self.begins) * self.length


class Windows:
    """A validation shard cut into windows of one context, side by side."""

    def __init__(self, tokens: Tokens, context: int) -> None:
        if len(tokens) < 1 or context < 1:
            raise ValueError(f"nothing to measure: {len(tokens)} tokens in windows of {context}")
        self._targets, self._context = tokens, context
        self._inputs: Tokens = np.concatenate((np.zeros(1, np.uint16), tokens[:-1]))

    def whole_batches(self, batch_tokens: int, random: np.random.Generator) -> list[Batch]:
        """Every window once, in a random order."""
        context, count = self._context, len(self._targets) // self._context
        rows = max(1, batch_tokens // context)
        order = random.permutation(count) * context
        batches = [Batch(order[at : at + rows], context) for at in range(0, count, rows)]
        if rest := len(self._targets) - count * context:
            last = Batch(np.array([count * context]), rest)
            batches.insert(int(random.integers(len(batches) + 1)), last)
        return batches

    def prefix_batches(
        self, batch_tokens: int, random: np.random.Generator, samples: int = PREFIX_SAMPLES
    ) -> list[Batch]:
        """Random prefixes, at most one of a window. Every length comes once before any comes again."""
        count = len(self._targets) // self._context
        longest = self._context if count else len(self._targets)
        chosen = random.permutation(max(1, count))[:samples] * self._context
        group = min(MAX_GROUP, max(MIN_GROUP, len(chosen) // longest), max(1, batch_tokens // longest))
        groups = [chosen[at : at + group] for at in range(0, len(chosen), group)]
        rounds = -(-len(groups) // longest)
        lengths = np.concatenate([random.permutation(longest) + 1 for _ in range(rounds)])
        return [Batch(begins, int(length)) for begins, length in zip(groups, lengths, strict=False)]

    def inputs(self, batch: Batch) -> Tokens:
        """(B, T): all that whoever answers gets to see of this batch."""
        return self._inputs[_spans(batch)]

    def targets(self, batch: Batch) -> Tokens:
        """(B, T)"""
        return self._targets[_spans(batch)]


class Sheet:
    """Nats of every token, each written once."""

    def __init__(self, tokens: int) -> None:
        self._nats: Nats = np.full(tokens, np.nan)

    def write(self, batch: Batch, nats: Nats) -> None:
        """nats: (B * T,)"""
        spans = _spans(batch)
        assert np.isnan(self._nats[spans]).all(), "a token was scored twice"
        self._nats[spans] = nats.reshape(spans.shape)

    def last(self, batch: Batch) -> Nats:
        """(B,) nats of the last position of each prefix."""
        return self._nats[batch.begins + batch.length - 1]

    def total(self) -> float:
        assert not np.isnan(self._nats).any(), "a token was not scored"
        return math.fsum(self._nats)


def nats_of(logits: NDArray[np.float32], targets: Tokens) -> Nats:
    """-log p(target) of each row, (N, V) and (N,) -> (N,). Never below 0 for finite logits, whatever was answered.

    The node normalises by itself over the whole vocabulary: the greatest term of the sum is exactly 1, so the sum is at
    least 1 and the target's logit at most the greatest. Not finite where the answer was not.
    """
    nats: Nats = np.empty(len(targets))
    scratch = np.empty((min(_ROWS, len(logits)), logits.shape[1]), np.float32)  # one: fresh pages cost as much as exp
    with np.errstate(over="ignore", invalid="ignore"):
        for at in range(0, len(targets), _ROWS):
            rows = logits[at : at + _ROWS]
            greatest = rows.max(axis=1, keepdims=True)
            terms = np.subtract(rows, greatest, out=scratch[: len(rows)])
            total = np.exp(terms, out=terms).sum(axis=1, dtype=np.float64)
            chosen = rows[np.arange(len(rows)), targets[at : at + _ROWS]].astype(np.float64)
            nats[at : at + _ROWS] = np.log(total) + (greatest[:, 0].astype(np.float64) - chosen)
    return nats


def bits_per_byte(nats: float, raw_bytes: int) -> float:
    """raw_bytes: of the text behind the shard, never of what tokens decode to."""
    return nats / math.log(2) / raw_bytes


@dataclass(frozen=True)
class PrefixCheck:
    """What the second process, which sees no later text, says to the numbers of the first."""

    samples: int
    mean_nats: float  # of d = nats with the whole window - nats with the prefix; below 0: the whole window helped
    worst_nats: float
    standard_error: float
    broken: int  # samples below WORST_NATS

    @property
    def passed(self) -> bool:
        return self.broken == 0 and self.mean_nats >= -max(-MEAN_NATS, STANDARD_ERRORS * self.standard_error)


def check_prefixes(whole: Sequence[float] | Nats, prefix: Sequence[float] | Nats) -> PrefixCheck:
    d = np.asarray(whole, np.float64) - np.asarray(prefix, np.float64)
    assert len(d), "no prefix was asked"
    error = float(d.std(ddof=1) / math.sqrt(len(d))) if len(d) > 1 else 0.0
    return PrefixCheck(len(d), float(d.mean()), float(d.min()), error, int((d < WORST_NATS).sum()))


def _spans(batch: Batch) -> NDArray[np.intp]:
    return batch.begins[:, None] + np.arange(batch.length)

"""The sealed pass: a milestone's number on text that nothing is ever chosen by.

Owns the sealed shard while trials run, and that whatever goes wrong with it costs no trial: then there is no number,
and the first time the person is told why. Refuses to know what a milestone is and where the number goes.

What it costs: wall time, between a milestone's measurement and the next trial, of one more process and one pass over
the sealed shard. On the default topic, whose two small shards are equally large, that is about two thirds of the
measurement before it (0.64, measured 2026-11-21 on a busy machine): 1 to 3 % of a 120 s budget, for milestones only.
There is no second process that checks prefixes: a model that only now began to look ahead would spoil a number that
decides nothing.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import trio

from node.trials.answering import BadAnswer
from node.trials.ending import disk_problem
from node.trials.evaluator import Evaluator, tokens_of
from node.trials.scoring import Tokens
from swarm.brief import Shard
from swarm.words import Config


class SealedPass:
    """`shard` is what the brief says of the file; None: this trainer has no sealed text, and no word about it."""

    def __init__(self, path: Path, shard: Shard | None, notice: Callable[[str], None]) -> None:
        self._path, self._shard, self._notice = path, shard, notice
        self._evaluator: Evaluator | None = None
        self._said = False

    def open(self, evaluator_of: Callable[[Tokens, int], Evaluator], vocab_size: int) -> None:
        """Read the text, before any candidate's code runs. One that is missing or damaged is said, nothing more."""
        self._evaluator = None
        if self._shard is None:
            return None
        try:
            content = self._path.read_bytes()
        except OSError as error:
            return self._say(f"{self._path} cannot be read ({error.strerror}): milestones get no sealed score")
        if hashlib.sha256(content).hexdigest() != self._shard.sha256:
            return self._say(f"{self._path} is not what the brief says: milestones get no sealed score")
        self._evaluator = evaluator_of(tokens_of(content, vocab_size), self._shard.raw_bytes)
        return None

    async def score(
        self, source: bytes, config: Config, weights: Path, scratch: Path, limit_seconds: float
    ) -> float | None:
        """Bits per byte of the sealed text, None when it could not be measured for whatever reason."""
        if self._evaluator is None:
            return None
        reason = f"it took longer than {limit_seconds:g} s"
        try:
            with trio.move_on_after(limit_seconds):
                return await self._evaluator.measure_unchecked(source, config, weights, scratch)
        except BadAnswer as bad:
            reason = bad.reason
        except OSError as error:
            reason = disk_problem(error)
        self._say(f"a milestone got no sealed score: {reason}; the trial counts all the same")
        return None

    def _say(self, text: str) -> None:
        """Once: nobody has to do anything."""
        if not self._said:
            self._said = True
            self._notice(text)

"""The smoke run: two steps, weights saved and loaded, one batch answered, before a changed train.py costs a budget.

Owns what is tried and how a failure is told to whoever wrote the change. Decides nothing that counts: a script that
behaves well here only because it is being tried gains a trial that it would have had without this filter, and what
passes is not believed to work. The text it is asked about is the train shard's, which every script may read.
"""

from pathlib import Path

from node.trials.answering import BadAnswer, batch_tokens
from node.trials.ending import problem
from node.trials.evaluator import NOT_FINITE, Evaluator, tokens_of
from node.trials.hardware import Hardware
from node.trials.output import TrialEvents, TrialLog, one_line
from node.trials.warm_process import Ended, WarmProcess
from node.trials.weights import weights_size
from swarm.words import Config, Outcome

STEPS = 2
LEAST_SECONDS, BUDGET_SHARE = 20.0, 0.25  # what cannot take two steps in a quarter of its budget is no candidate; guess
MEASURE_SECONDS = 20.0  # for one batch; ours answers in one
TOLD_CHARS = 1500  # of a traceback's end, for whoever is to repair it


def smoke_seconds(budget_seconds: float) -> float:
    """The longest two steps may take, imports included. Most take two seconds."""
    return max(LEAST_SECONDS, BUDGET_SHARE * budget_seconds)


def options(source: str, seconds: float) -> list[str]:
    """A train.py that does not know --max-steps is only given little time."""
    known = "--max-steps" in source
    return ["--seconds", repr(seconds if known else seconds / 4), *(["--max-steps", str(STEPS)] if known else [])]


class Heard:
    """What a script says in its smoke run."""

    def __init__(self) -> None:
        self._log, self._events = TrialLog(), TrialEvents(lambda: 0.0, 1.0, lambda _: None)

    def feed(self, chunk: bytes) -> None:
        self._log.feed(chunk)
        self._events.feed(chunk)

    def training_problem(self, ended: Ended | None, weights: Path, seconds: float) -> str:
        """Why there are no weights; empty when there are."""
        if ended is None:
            return f"{STEPS} training steps took longer than {seconds:g} s"
        if found := problem(ended, self._events.reason, self._log.last_words()):
            return self._with_traceback(f"training ended {found.outcome}: {found.reason}")
        try:
            weights_size(weights)
        except BadAnswer as bad:
            return f"training ended {bad.outcome}: {bad.reason}"
        return ""

    def _with_traceback(self, sentence: str) -> str:
        _, marker, traceback = self._log.text().rpartition("Traceback (most recent call last):")
        told = "\n".join(one_line(line) for line in traceback[-TOLD_CHARS:].splitlines()) if marker else ""
        return f"{sentence}\n{told.strip()}".strip()


class SmokeMeasure:
    """Asks a smoke run's model about one batch of the train shard, as the evaluator asks a trained one."""

    def __init__(self, warm: WarmProcess, script: Path, train: Path, vocab_size: int, hardware: Hardware) -> None:
        count = batch_tokens(hardware.device, vocab_size)
        with train.open("rb") as shard:
            tokens = tokens_of(shard.read(count * (1 if vocab_size <= 256 else 2)), vocab_size)
        self._evaluator = Evaluator(warm, script, tokens, max(1, len(tokens)), vocab_size, hardware)

    async def problem(self, source: bytes, config: Config, weights: Path, scratch: Path) -> str:
        """Why it could not be measured; empty when it could. Two steps may leave any loss that is a number."""
        try:
            await self._evaluator.measure_unchecked(source, config, weights, scratch)
        except BadAnswer as bad:
            if bad.outcome is Outcome.DIVERGED and bad.reason != NOT_FINITE:
                return ""
            return f"measuring ended {bad.outcome}: {bad.reason}"
        return ""


def summary(told: str) -> str:
    """One line of what a smoke run says, for people."""
    return one_line(told.split("\n", 1)[0], 300)

"""The evaluator: bits per byte of a trained model, measured where the model's code cannot reach.

Owns one measurement: who is asked what, in which order, and what the answers are worth. Holds the targets; the process
that runs the candidate's code gets token batches and gives logits. After the whole shard has been scored, that process
is killed, and a fresh one, which only ever sees the beginnings of windows, must come to the same nats. What used later
text, remembered earlier batches or learned while it was measured cannot.
One evaluator has one shard: validation, whose number counts, or sealed, for which the first process is enough.
Never parses a model file: it copies bytes. Not covered: what the candidate could read from disk; that is the sandbox's.
"""

import hashlib
import json
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import trio
from numpy.typing import NDArray

from node.sandbox.spec import Access
from node.sandbox.watch import Broken
from node.trials.answering import AnswerChannel, BadAnswer, batch_tokens
from node.trials.folders import remove
from node.trials.hardware import Hardware, usable_memory_bytes
from node.trials.scoring import (
    PREFIX_SAMPLES,
    Batch,
    Nats,
    PrefixCheck,
    Sheet,
    Tokens,
    Windows,
    bits_per_byte,
    check_prefixes,
    nats_of,
)
from node.trials.warm_process import Ended, WarmProcess
from node.trials.weights import WEIGHTS, read_weights
from swarm.words import Config, Outcome

MAX_VAL_BPB = 64.0  # what a trial accepts; a model that knows nothing has 8 on bytes
NOT_FINITE = "the model answers numbers that are not finite"


@dataclass(frozen=True)
class Measurement:
    """What a measurement came to; val_bpb only when outcome is measured."""

    outcome: Outcome
    reason: str = ""
    val_bpb: float | None = None
    seconds: float = 0.0  # wall time of both processes
    check: PrefixCheck | None = None
    weights_bytes: int = 0
    weights_sha256: str = ""

    def line(self) -> str:
        """For a run's log."""
        if self.check is None:
            return f"measuring: {self.outcome} after {self.seconds:.2f} s"
        check = self.check
        return (
            f"measuring: {self.outcome} after {self.seconds:.2f} s; {check.samples} prefixes asked again: "
            f"mean d {check.mean_nats:+.5f}, worst d {check.worst_nats:+.5f} nats; "
            f"weights {self.weights_bytes} bytes, sha256 {self.weights_sha256}"
        )


@dataclass(frozen=True)
class _Candidate:
    """What is measured: three files that each process gets anew, in a folder of its own."""

    source: bytes
    config: Config
    weights: bytes
    scratch: Path

    @property
    def context(self) -> int:
        return int(cast("int", self.config["context"]))

    def lay_out(self, folder: Path) -> None:
        (folder / "train.py").write_bytes(self.source)
        (folder / "config.json").write_bytes(json.dumps(self.config).encode())
        (folder / WEIGHTS).write_bytes(self.weights)


class Evaluator:
    """Measures on one shard. `secret` gives fresh random bytes for every measurement; tests inject their own."""

    def __init__(
        self,
        warm: WarmProcess,
        script: Path,  # answer.py
        tokens: Tokens,  # the shard, read before any candidate's code ran
        raw_bytes: int,
        vocab_size: int,
        hardware: Hardware,
        secret: Callable[[], bytes] = lambda: os.urandom(32),
    ) -> None:
        self._warm, self._script, self._tokens, self._raw_bytes = warm, script, tokens, raw_bytes
        self._vocab_size, self._hardware, self._secret = vocab_size, hardware, secret

    async def measure(
        self, source: bytes, config: Config, weights: Path, scratch: Path, samples: int = PREFIX_SAMPLES
    ) -> Measurement:
        """Source and config are the node's own, not what training may have made of its copies."""
        started = trio.current_time()
        content, check = b"", None
        outcome, reason, val_bpb = Outcome.MEASURED, "", None
        try:
            content = read_weights(weights)
            val_bpb, check = await self._score(_Candidate(source, config, content, scratch), samples)
            if not check.passed:
                outcome, reason, val_bpb = Outcome.REJECTED, _prefix_reason(check), None
        except BadAnswer as bad:
            outcome, reason = bad.outcome, bad.reason
        seconds, sha256 = trio.current_time() - started, hashlib.sha256(content).hexdigest()
        return Measurement(outcome, reason, val_bpb, seconds, check, len(content), sha256)

    async def measure_unchecked(self, source: bytes, config: Config, weights: Path, scratch: Path) -> float:
        """Bits per byte by the first process alone: for a number that decides nothing. Raises BadAnswer."""
        candidate = _Candidate(source, config, read_weights(weights), scratch)
        _, bpb = await self._commit(candidate, self._secret(), Windows(self._tokens, candidate.context))
        return bpb

    async def _score(self, candidate: "_Candidate", samples: int) -> tuple[float, PrefixCheck]:
        """The number over the whole shard, and what a fresh process says to it."""
        seed, windows = self._secret(), Windows(self._tokens, candidate.context)
        sheet, val_bpb = await self._commit(candidate, seed, windows)
        # From here on the first process is dead and its numbers stand.
        return val_bpb, await self._repeat(candidate, seed, windows, sheet, samples)

    async def _commit(self, candidate: "_Candidate", seed: bytes, windows: Windows) -> tuple[Sheet, float]:
        """Every token once."""
        sheet, room = Sheet(len(self._tokens)), self._room(candidate)

        def keep(batch: Batch, logits: NDArray[np.float32]) -> None:
            sheet.write(batch, _finite(nats_of(logits, windows.targets(batch).ravel())))

        wholes = windows.whole_batches(room, _random(seed, "order"))
        tickets = _random(seed, "tickets of whole windows")
        await self._ask(candidate, room, tickets, lambda channel: channel.ask_all(wholes, windows.inputs, keep))
        bpb = bits_per_byte(sheet.total(), self._raw_bytes)
        if not 0 < bpb < MAX_VAL_BPB:
            raise BadAnswer(Outcome.DIVERGED, f"bits per byte are {bpb:g}, which no trained model has")
        return sheet, bpb

    async def _repeat(
        self, candidate: "_Candidate", seed: bytes, windows: Windows, sheet: Sheet, samples: int
    ) -> PrefixCheck:
        """Beginnings of windows only, by another process."""
        room, again = self._room(candidate), list[Nats]()

        def keep_last(batch: Batch, logits: NDArray[np.float32]) -> None:
            again.append(_finite(nats_of(logits, windows.targets(batch)[:, -1])))

        prefixes = windows.prefix_batches(room, _random(seed, "prefixes"), samples)
        tickets = _random(seed, "tickets of prefixes")
        await self._ask(
            candidate,
            room,
            tickets,
            lambda channel: channel.ask_all(prefixes, windows.inputs, keep_last, last_only=True),
        )
        return check_prefixes(np.concatenate([sheet.last(batch) for batch in prefixes]), np.concatenate(again))

    def _room(self, candidate: "_Candidate") -> int:
        """Tokens that are asked at once; a window always fits."""
        return max(candidate.context, batch_tokens(self._hardware.device, self._vocab_size))

    async def _ask(
        self,
        candidate: "_Candidate",
        room: int,
        tickets: np.random.Generator,
        ask: Callable[[AnswerChannel], Awaitable[None]],
    ) -> None:
        """One process from start to end. When this returns, it and everything it started are dead, its files gone."""
        await self._warm.wait_ready()  # the one before may have taken it along
        ended: list[Ended] = []
        bad: BadAnswer | None = None
        done = False
        folder = Path(tempfile.mkdtemp(prefix="measure-", dir=candidate.scratch))
        try:
            candidate.lay_out(folder)
            scratch = folder / "scratch"
            scratch.mkdir()
            with AnswerChannel(self._vocab_size, room, tickets) as channel:
                async with trio.open_nursery() as nursery:

                    async def live() -> None:
                        argv = self._argv(folder, room)
                        access = Access(self._readable(folder), write=(), scratch=scratch)
                        run = self._warm.execute(argv, scratch, _forget, access, channel.descriptors)
                        ended.append(await run)
                        nursery.cancel_scope.cancel()  # nobody is left who could answer

                    nursery.start_soon(live)
                    try:
                        await ask(channel)
                        done = True
                    except BadAnswer as error:
                        bad = error
                    nursery.cancel_scope.cancel()
        finally:
            await remove(folder)
        if bad is not None:
            raise bad
        if not done:
            raise _lost(ended[0])

    def _readable(self, folder: Path) -> tuple[Path, ...]:
        """Of this topic's text it gets nothing but what it is asked."""
        return (self._script, *(folder / name for name in ("train.py", "config.json", WEIGHTS)))

    def _argv(self, folder: Path, room: int) -> list[str]:
        argv = [str(self._script), "--source", str(folder / "train.py"), "--config", str(folder / "config.json")]
        argv += ["--weights", str(folder / WEIGHTS)]
        argv += ["--vocab-size", str(self._vocab_size), "--batch-tokens", str(room)]
        return [*argv, "--device", self._hardware.device, "--threads", str(self._hardware.threads)]


def read_shard(path: Path, vocab_size: int) -> Tokens:
    return tokens_of(path.read_bytes(), vocab_size)


def tokens_of(content: bytes, vocab_size: int) -> Tokens:
    """A shard as numbers, whatever its width on disk; half a token at the end is none."""
    width = np.dtype(np.uint8 if vocab_size <= 256 else "<u2")
    return np.frombuffer(content, width, len(content) // width.itemsize).astype(np.uint16)


def _random(seed: bytes, purpose: str) -> np.random.Generator:
    """One generator for each purpose: to know one of them says nothing about the others."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(seed + purpose.encode()).digest()))


def _forget(_output: bytes) -> None:
    """What these processes print could be the validation text: nobody reads it."""


def _finite(nats: Nats) -> Nats:
    if not np.isfinite(nats).all():
        raise BadAnswer(Outcome.DIVERGED, NOT_FINITE)
    return nats


def _prefix_reason(check: PrefixCheck) -> str:
    return (
        f"its numbers cannot be repeated without text that comes later or was seen elsewhere: {check.broken} of "
        f"{check.samples} positions are far worse (mean d {check.mean_nats:.3f}, worst d {check.worst_nats:.2f} nats)"
    )


def _lost(ended: Ended) -> BadAnswer:
    gib = ended.peak_memory_bytes / 2**30
    if ended.broken is not None:
        memory = ended.broken.kind is Broken.MEMORY
        return BadAnswer(Outcome.OUT_OF_MEMORY if memory else Outcome.REJECTED, ended.broken.reason)
    match ended.status:
        case None:
            return BadAnswer(Outcome.CRASHED, "the process was lost together with the one that started it")
        case status if status == -signal.SIGKILL and ended.peak_memory_bytes > usable_memory_bytes() / 2:
            return BadAnswer(Outcome.OUT_OF_MEMORY, f"killed at {gib:.1f} GiB, most likely for want of memory")
        case status if status < 0:
            return BadAnswer(Outcome.CRASHED, f"killed by signal {-status}")
        case status:
            return BadAnswer(Outcome.REJECTED, f"it left with exit status {status} instead of answering")

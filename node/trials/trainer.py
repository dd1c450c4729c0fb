"""Where a trial runs. The port (`Trainer`) and the trainer of this machine's one device.

Owns a trial from source and config to outcome: the clock, the deadline, the measurement, and that nothing stays behind.
Refuses to know proposals, verdicts and what the number is compared with. Not covered: a sandbox; the script runs as the
node's user.
"""

import errno
import json
import math
import os
import signal
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import trio

from node.trials.hardware import Hardware, usable_memory_bytes
from node.trials.output import Progress, TrialEvents, TrialLog, one_line, thin
from node.trials.warm_process import Ended, TrainerError, WarmProcess
from swarm.finding import CurvePoint, Track, Trial
from swarm.words import Config, Outcome

__all__ = ["Job", "LocalTrainer", "Progress", "Trainer", "TrainerError", "TrialReport"]

DIVERGED, OUT_OF_MEMORY = 3, 4  # exit statuses of train.py and evaluate.py
MEASURE_SECONDS = 20.0  # at least; a trial's measurement may also take half as long as its budget
CLEAN_SECONDS = 2.0  # to delete a trial's files while stopping
MAX_RESULT_BYTES = 4096
MAX_VAL_BPB = 64.0  # what a trial accepts; a model that knows nothing has 8 on bytes


@dataclass(frozen=True)
class Job:
    """What to run: everything that a trial's result depends on."""

    source: str
    config: Config
    seed: int
    track: Track


@dataclass(frozen=True)
class TrialReport:
    """A trial, and what only its run folder keeps."""

    trial: Trial
    curve: tuple[CurvePoint, ...]  # all points; the trial has them thinned
    log: str  # what the script printed, first and last part
    training_seconds: float


class Watcher(Protocol):
    """Is told what happens to a trial while it happens."""

    def training(self) -> None:
        """The script has been handed over: the clock runs."""
        ...

    def progress(self, progress: Progress) -> None: ...

    def trained(self) -> None:
        """The script has ended, well or badly; measuring may follow."""
        ...


class Trainer(Protocol):
    async def run(self) -> None:
        """The service behind `train`; runs until cancelled."""
        ...

    async def train(self, job: Job, watcher: Watcher) -> TrialReport:
        """Run and measure one job. Bad endings are outcomes; TrainerError: nothing can be trained here."""
        ...


@dataclass(frozen=True)
class _Ending:
    outcome: Outcome
    reason: str = ""
    val_bpb: float | None = None


class LocalTrainer:
    """Trials on one device of this machine, one after the other, each in a fresh process and a fresh folder."""

    def __init__(
        self,
        experiments: Path,  # has warm.py and evaluate.py
        shards: Path,  # has train.bin and validation.bin
        validation_raw_bytes: int,
        vocab_size: int,
        scratch: Path,  # this trainer's own: what is found in it at the start is deleted
        hardware: Hardware,
    ) -> None:
        self._experiments, self._shards, self._scratch = experiments.resolve(), shards.resolve(), scratch.resolve()
        self._validation_raw_bytes, self._vocab_size, self._hardware = validation_raw_bytes, vocab_size, hardware
        self._warm = WarmProcess(self._experiments / "warm.py", self._environment(), self._scratch / "warm.log")
        self._device_free = trio.Lock()

    async def run(self) -> None:
        await _remove(self._scratch)  # of a node that was killed
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainerError(f"cannot make the folder for trials, {self._scratch}: {error.strerror}") from None
        await self._warm.run()

    async def train(self, job: Job, watcher: Watcher) -> TrialReport:
        async with self._device_free:
            await self._warm.wait_ready()
            attempt = _Attempt(job, watcher)
            try:
                folder = self._prepare(job)
            except OSError as error:
                return attempt.report(_Ending(Outcome.CRASHED, _disk_problem(error)))
            try:
                ending = await self._train_in(folder, attempt)
                return attempt.report(ending or await self._measure_in(folder, attempt))
            finally:
                with trio.move_on_after(CLEAN_SECONDS) as scope:
                    scope.shield = True
                    await _remove(folder)

    def _environment(self) -> dict[str, str]:
        """What a script may see of ours: where programs, libraries and GPUs are; no keys, no settings of the user."""
        passed = ("PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_HOME")
        ours = {name: os.environ[name] for name in passed if name in os.environ}
        threads = str(self._hardware.threads)
        return {**ours, "LANG": "C.UTF-8", "HOME": str(self._scratch), "OMP_NUM_THREADS": threads}

    def _prepare(self, job: Job) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="trial-", dir=self._scratch))
        (folder / "train.py").write_bytes(job.source.encode("utf-8", errors="surrogatepass"))
        (folder / "config.json").write_text(json.dumps(job.config))
        return folder

    async def _train_in(self, folder: Path, attempt: "_Attempt") -> _Ending | None:
        """None when there are weights to measure."""
        budget_seconds = attempt.job.track.budget_seconds
        grace_seconds = max(2.0, 0.05 * budget_seconds)
        argv = [*self._argv(folder, folder / "train.py"), "--train", str(self._shards / "train.bin")]
        argv += ["--seconds", repr(budget_seconds), "--seed", str(attempt.job.seed), "--out", str(folder)]
        attempt.hand_over()
        ended = await self._execute(argv, folder, attempt.hear, budget_seconds + grace_seconds)
        attempt.stop(ended)
        if ended is None:
            return _Ending(
                Outcome.TIMED_OUT, f"still running {grace_seconds:g} s after the budget of {budget_seconds:g} s"
            )
        if problem := _problem(ended, attempt):
            return problem
        return (
            None
            if _is_file(folder / "weights.safetensors")
            else _Ending(Outcome.CRASHED, "left no weights.safetensors")
        )

    async def _measure_in(self, folder: Path, attempt: "_Attempt") -> _Ending:
        deadline_seconds = max(MEASURE_SECONDS, 0.5 * attempt.job.track.budget_seconds)
        result, shard = folder / "result.json", self._shards / "validation.bin"
        argv = [*self._argv(folder, self._experiments / "evaluate.py"), "--source", str(folder / "train.py")]
        argv += ["--weights", str(folder / "weights.safetensors"), "--shard", str(shard)]
        argv += ["--raw-bytes", str(self._validation_raw_bytes), "--result", str(result)]
        ended = await self._execute(argv, folder, attempt.log.feed, deadline_seconds)
        if ended is None:
            return _Ending(Outcome.TIMED_OUT, f"measuring took longer than {deadline_seconds:g} s")
        return _problem(ended, attempt, "measuring: ") or self._score(result, shard)

    async def _execute(
        self, argv: list[str], folder: Path, hear: Callable[[bytes], None], seconds: float
    ) -> Ended | None:
        """None when it had to be killed after `seconds`."""
        with trio.move_on_after(seconds) as scope:
            return await self._warm.execute(argv, folder, hear)
        assert scope.cancelled_caught
        return None

    def _argv(self, folder: Path, script: Path) -> list[str]:
        hardware = self._hardware
        argv = [str(script), "--config", str(folder / "config.json"), "--vocab-size", str(self._vocab_size)]
        return [*argv, "--device", hardware.device, "--threads", str(hardware.threads)]

    def _score(self, result: Path, shard: Path) -> _Ending:
        """Bits per byte from the nats that were summed; that every token was counted is checked here."""
        expected = shard.stat().st_size // (1 if self._vocab_size <= 256 else 2)
        try:
            with result.open("rb") as file:
                content = cast("dict[str, Any]", json.loads(file.read(MAX_RESULT_BYTES)))  # Any: checked below
            nats, tokens = float(content["nats"]), int(content["tokens"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return _Ending(Outcome.CRASHED, "measuring left no readable result")
        if tokens != expected:
            return _Ending(Outcome.CRASHED, f"measuring counted {tokens} tokens, the shard has {expected}")
        val_bpb = nats / math.log(2) / self._validation_raw_bytes
        if not 0 < val_bpb < MAX_VAL_BPB:
            return _Ending(Outcome.DIVERGED, f"bits per byte are {val_bpb:g}, which no trained model has")
        return _Ending(Outcome.MEASURED, val_bpb=val_bpb)


class _Attempt:
    """One job while it runs: its clock, its log, its curve."""

    def __init__(self, job: Job, watcher: Watcher) -> None:
        self.job, self.log = job, TrialLog()
        self._watcher = watcher
        self._events: TrialEvents | None = None
        self._started = trio.current_time()
        self._training_seconds = 0.0
        self._peak_memory_bytes = 0

    def hand_over(self) -> None:
        self._started = trio.current_time()
        self._events = TrialEvents(trio.current_time, self.job.track.budget_seconds, self._watcher.progress)
        self._watcher.training()

    def hear(self, chunk: bytes) -> None:
        assert self._events is not None
        self.log.feed(chunk)
        self._events.feed(chunk)

    def stop(self, ended: Ended | None) -> None:
        self._training_seconds = trio.current_time() - self._started
        self._peak_memory_bytes = ended.peak_memory_bytes if ended else 0
        self._watcher.trained()

    @property
    def said_reason(self) -> str:
        return self._events.reason if self._events else ""

    def report(self, ending: _Ending) -> TrialReport:
        events, curve = self._events, self._events.curve() if self._events else ()
        trial = Trial(
            outcome=ending.outcome,
            track=self.job.track,
            seed=self.job.seed,
            seconds=self._training_seconds,
            val_bpb=ending.val_bpb,
            steps=events.steps if events else 0,
            tokens=events.tokens if events else 0,
            parameters=events.parameters if events else 0,
            # The kernel counts a process's memory; what a GPU holds only the script can say.
            peak_memory_bytes=max(self._peak_memory_bytes, events.peak_memory_bytes if events else 0),
            curve=thin(curve),
            reason=one_line(ending.reason, 400),
        )
        return TrialReport(trial, curve, self.log.text(), self._training_seconds)


def _problem(ended: Ended, attempt: _Attempt, doing: str = "") -> _Ending | None:
    """What an exit status says, None for success."""
    said = attempt.said_reason if not doing else ""
    words = attempt.log.last_words()
    match ended.status:
        case 0:
            return None
        case None:
            return _Ending(Outcome.CRASHED, f"{doing}the process was lost together with the one that started it")
        case status if status == DIVERGED:
            return _Ending(Outcome.DIVERGED, doing + (said or words or "numbers are not finite"))
        case status if status == OUT_OF_MEMORY:
            return _Ending(Outcome.OUT_OF_MEMORY, doing + (said or words or "out of memory"))
        case status if status == -signal.SIGKILL and ended.peak_memory_bytes > usable_memory_bytes() / 2:
            gib = ended.peak_memory_bytes / 2**30
            return _Ending(Outcome.OUT_OF_MEMORY, f"{doing}killed at {gib:.1f} GiB, most likely for want of memory")
        case status if status < 0:
            return _Ending(
                Outcome.CRASHED, f"{doing}killed by signal {-status}{f', last words: {words}' if words else ''}"
            )
        case status:
            return _Ending(Outcome.CRASHED, doing + (words or f"exit status {status}"))


def _disk_problem(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: cannot write the trial's files; free some space"
    return f"cannot write the trial's files: {error.strerror or type(error).__name__}"


def _is_file(path: Path) -> bool:
    """A plain file, no link: what is measured lies in the trial's own folder."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


async def _remove(folder: Path) -> None:
    """rm, because a script may nest folders deeper than Python's own recursion goes."""
    await trio.run_process(["rm", "-rf", "--", str(folder)], check=False, capture_stderr=True)

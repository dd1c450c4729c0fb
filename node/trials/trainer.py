"""Where a trial runs. The port (`Trainer`) and the trainer of this machine's one device.

Owns a trial from source and config to outcome: the clock, the deadline, and that nothing stays behind. The number is
the evaluator's. Refuses to know proposals, verdicts and what the number is compared with. What a script may touch is
decided here, file by file; what holds it is node/sandbox's.
"""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import trio

from node.sandbox.confinement import Confinement
from node.sandbox.spec import Access
from node.trials.answering import BadAnswer
from node.trials.conditions import Conditioned, Conditions, Sample
from node.trials.early_stop import EarlyStop
from node.trials.ending import Ending, disk_problem, problem
from node.trials.evaluator import Evaluator, read_shard
from node.trials.folders import remove
from node.trials.gradients import GradientNorms, gradient_norms
from node.trials.hardware import Hardware
from node.trials.output import Progress, TrialEvents, TrialLog, one_line, thin
from node.trials.scoring import PREFIX_SAMPLES, SHIPPED_SAMPLES, Tokens
from node.trials.sealed_pass import SealedPass
from node.trials.smoke import MEASURE_SECONDS as SMOKE_MEASURE_SECONDS
from node.trials.smoke import Heard, SmokeMeasure, options, smoke_seconds
from node.trials.source_examination import examine
from node.trials.warm_process import Ended, TrainerError, WarmProcess
from node.trials.weights import WEIGHTS, weights_size
from swarm.brief import Shard, source_sha256
from swarm.space import config_key
from swarm.trial import CurvePoint, Track, Trial
from swarm.words import Condition, Config, Outcome

__all__ = ["Job", "LocalTrainer", "Progress", "Trainer", "TrainerError", "TrialReport"]

# How long threads of torch spin for each other before they sleep. The default is 14 % faster on a quiet machine and 2.7
# times slower when somebody else uses a core (docs/log.md, 2026-11-21): an owner who comes back must not cost a night.
SPIN_COUNT = "3000"
PACE = "pace.json"
PACE_ROOM = 4  # times the budget, for as many steps on a slower machine; a guess
MEASURE_SECONDS = 60.0  # at least, for a busy machine; a trial's measurement may also take half as long as its budget


@dataclass(frozen=True)
class Job:
    """What to run: everything that a trial's result depends on, and whether its result is a milestone."""

    source: str
    config: Config
    seed: int
    track: Track
    # Measured below this, where the branch stands: scored on the sealed shard, too. None: never; inf: if measured.
    milestone_below: float | None = None
    max_steps: int | None = None  # of a replay by steps: so many, at the pace of the first run
    # How far that run's schedule was at which step, 0 to 1; what it reported at, this one does too.
    pace: tuple[tuple[int, float], ...] = ()
    early_stop: EarlyStop | None = None  # None: it runs to its end, whatever its curve


@dataclass(frozen=True)
class TrialReport:
    """A trial, what only its run folder keeps, and what only this node keeps."""

    trial: Trial
    curve: tuple[CurvePoint, ...]  # all points; the trial has them thinned
    log: str  # what the script printed, first and last part
    training_seconds: float
    # Bits per byte of the sealed shard, of a milestone. Not in the trial: that one is published and shown to models.
    sealed_bpb: float | None = None
    gradients: GradientNorms | None = None  # for this node's own proposers


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

    async def smoke(self, job: Job) -> str:
        """Why a job would not get through a trial, as far as seconds can tell; empty when nothing speaks against it."""
        ...


class LocalTrainer:
    """Trials on one device of this machine, one after the other, each in a fresh process and a fresh folder."""

    def __init__(
        self,
        experiments: Path,  # has warm.py, answer.py and the shipped train.py
        shards: Path,  # has train.bin, validation.bin and perhaps sealed.bin
        validation_raw_bytes: int,
        vocab_size: int,
        scratch: Path,  # this trainer's own: what is found in it at the start is deleted
        hardware: Hardware,
        confinement: Confinement,
        *,
        sealed: Shard | None = None,  # what the brief says of sealed.bin; without it nothing is a milestone
        notice: Callable[[str], None] = lambda _: None,  # tells the person what no trial's reason says
    ) -> None:
        self._experiments, self._shards, self._scratch = experiments.resolve(), shards.resolve(), scratch.resolve()
        self._validation_raw_bytes, self._vocab_size, self._hardware = validation_raw_bytes, vocab_size, hardware
        self._confinement, train = confinement, self._shards / "train.bin"
        log, script = self._scratch / "warm" / "warm.log", self._experiments / "warm.py"
        self._warm = WarmProcess(script, self._environment(), log, confinement, (train,), self._scratch)
        self._device_free = trio.Lock()
        self._shipped = b""
        self._evaluator: Evaluator | None = None
        self._sealed = SealedPass(self._shards / "sealed.bin", sealed, notice)
        self._conditions = Conditions(hardware)

    async def run(self) -> None:
        await remove(self._scratch)  # of a node that was killed
        try:
            (self._scratch / "warm").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainerError(f"cannot make the folder for trials, {self._scratch}: {error.strerror}") from None
        self._evaluator = self._make_evaluator()
        self._sealed.open(self._evaluator_of, self._vocab_size)
        await self._warm.run()

    def _make_evaluator(self) -> Evaluator:
        """Everything that a number depends on is read here, before any candidate's code runs."""
        shard = self._shards / "validation.bin"
        try:
            self._shipped = (self._experiments / "train.py").read_bytes()
            tokens = read_shard(shard, self._vocab_size)
        except OSError as error:
            raise TrainerError(f"cannot read {error.filename}: {error.strerror}; run `swarm doctor`") from None
        if not len(tokens) or self._validation_raw_bytes < 1 or int(tokens.max()) >= self._vocab_size:
            raise TrainerError(f"{shard} holds no tokens of this topic; delete its folder, it is made again")
        return self._evaluator_of(tokens, self._validation_raw_bytes)

    def _evaluator_of(self, tokens: Tokens, raw_bytes: int) -> Evaluator:
        answer = self._experiments / "answer.py"
        return Evaluator(self._warm, answer, tokens, raw_bytes, self._vocab_size, self._hardware)

    async def train(self, job: Job, watcher: Watcher) -> TrialReport:
        async with self._device_free:
            await self._warm.wait_ready()
            attempt = _Attempt(job, watcher)
            if refusal := await self._examine(job):
                return attempt.report(Ending(Outcome.REJECTED, refusal))
            try:
                folder = self._prepare(job)
            except OSError as error:
                return attempt.report(Ending(Outcome.CRASHED, disk_problem(error)))
            try:
                ending = await self._train_in(folder, attempt) or await self._measure_in(folder, attempt)
                return attempt.report(ending, await self._score_sealed(folder, job, ending))
            finally:
                await remove(folder)

    async def smoke(self, job: Job) -> str:
        """Not beside a trial that trains: it would take a core of it, and what it measures would not count."""
        async with self._device_free:
            await self._warm.wait_ready()
            if refusal := await self._examine(job):
                return refusal
            try:
                folder = self._prepare(job)
            except OSError:
                return ""  # a full disk says nothing about a change
            try:
                return await self._smoke_in(folder, job)
            finally:
                await remove(folder)

    async def _smoke_in(self, folder: Path, job: Job) -> str:
        heard, seconds, train = Heard(), smoke_seconds(job.track.budget_seconds), self._shards / "train.bin"
        argv = [*self._argv(folder, folder / "train.py"), "--train", str(train), "--seed", str(job.seed)]
        argv += [*options(job.source, seconds), "--out", str(folder / "scratch")]
        ended = await self._execute(argv, folder, heard.feed, seconds)
        weights = folder / "scratch" / WEIGHTS
        if found := heard.training_problem(ended, weights, seconds):
            return found.replace(f"{folder}/", "")  # for a model's eyes: no path of this machine
        answer = self._experiments / "answer.py"
        with trio.move_on_after(SMOKE_MEASURE_SECONDS):
            try:
                asked = SmokeMeasure(self._warm, answer, train, self._vocab_size, self._hardware)
                return await asked.problem(_encoded(job.source), job.config, weights, self._scratch)
            except OSError:
                return ""
        return f"answering one batch took longer than {SMOKE_MEASURE_SECONDS:g} s"

    async def _examine(self, job: Job) -> str:
        """Why this source is not run at all, empty for nearly every one."""
        source = _encoded(job.source)
        if source != self._shipped and not self._confinement.code_may_change:
            return "its train.py is not the shipped one, and nothing here could hold it; see `swarm doctor`"
        return "" if source == self._shipped else await examine(source, self._shipped)

    def _environment(self) -> dict[str, str]:
        """What a script may see of ours: where programs, libraries and GPUs are; no keys, no settings of the user."""
        passed = ("PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_HOME")
        ours = {name: os.environ[name] for name in passed if name in os.environ}
        threads, scratch = str(self._hardware.threads), str(self._scratch / "warm")
        ours |= {"OMP_NUM_THREADS": threads, "GOMP_SPINCOUNT": SPIN_COUNT}
        return {**ours, "LANG": "C.UTF-8", "HOME": scratch, "TMPDIR": scratch}

    def _prepare(self, job: Job) -> Path:
        self._scratch.mkdir(parents=True, exist_ok=True)  # a script can have deleted it
        folder = Path(tempfile.mkdtemp(prefix="trial-", dir=self._scratch))
        (folder / "train.py").write_bytes(_encoded(job.source))
        (folder / "config.json").write_text(json.dumps(job.config))
        if job.pace:
            (folder / PACE).write_text(json.dumps(job.pace))
        (folder / "scratch").mkdir()  # all it may write to: safetensors writes a file of another name and renames it
        return folder

    async def _train_in(self, folder: Path, attempt: "_Attempt") -> Ending | None:
        """None when there are weights to measure."""
        budget_seconds = _train_seconds(attempt.job)
        grace_seconds = max(2.0, 0.05 * budget_seconds)
        argv = [*self._argv(folder, folder / "train.py"), "--train", str(self._shards / "train.bin")]
        argv += ["--seconds", repr(budget_seconds), "--seed", str(attempt.job.seed), "--out", str(folder / "scratch")]
        if attempt.job.max_steps is not None:
            argv += ["--max-steps", str(attempt.job.max_steps), "--pace", str(folder / PACE)]
        began = self._conditions.begin()
        attempt.hand_over()
        ended = await self._execute(argv, folder, attempt.hear, budget_seconds + grace_seconds, attempt.scope)
        attempt.stop(ended)
        if ended is None or ended.status == 0:  # what ended early says nothing about the machine's speed
            self._note_condition(began, attempt)
        if ended is None and attempt.hopeless:
            return Ending(Outcome.CENSORED, attempt.hopeless)
        if ended is None:
            return Ending(
                Outcome.TIMED_OUT, f"still running {grace_seconds:g} s after the budget of {budget_seconds:g} s"
            )
        if found := problem(ended, attempt.said_reason, attempt.log.last_words()):
            return found
        try:
            weights_size(folder / "scratch" / WEIGHTS)
        except BadAnswer as bad:
            return Ending(bad.outcome, bad.reason)
        return None

    def _note_condition(self, began: Sample, attempt: "_Attempt") -> None:
        """Marks a trial beside which the machine was not itself, unless it never is: then this is what is normal."""
        job = attempt.job
        if job.max_steps is not None:
            return  # its number does not depend on time
        key = config_key(job.config, f"{source_sha256(job.source)} {job.track.budget_seconds}")
        shipped, (curve, tokens) = _encoded(job.source) == self._shipped, attempt.progress
        tokens = 0 if attempt.hopeless else tokens  # the start weighs more in a part of a run: no speed to compare with
        seen = self._conditions.end(began, curve, key, tokens, shipped=shipped)
        pays = self._conditions.repeat_pays()
        attempt.mark(seen if pays else replace(seen, condition=Condition.STEADY))
        if seen.condition is not Condition.STEADY:
            what = "does not count" if pays else "counts all the same: this machine is like that most of the time"
            attempt.log.feed(f"{seen.condition.value}: {seen.reason}; {what}\n".encode())

    async def _measure_in(self, folder: Path, attempt: "_Attempt") -> Ending:
        assert self._evaluator is not None
        job, seconds = attempt.job, _measure_seconds(attempt.job)
        with trio.move_on_after(seconds):
            source, weights = _encoded(job.source), folder / "scratch" / WEIGHTS
            try:
                samples = SHIPPED_SAMPLES if source == self._shipped else PREFIX_SAMPLES
                measurement = await self._evaluator.measure(source, job.config, weights, self._scratch, samples)
            except OSError as error:
                return Ending(Outcome.CRASHED, disk_problem(error))
            attempt.log.feed(f"{measurement.line()}\n".encode())
            reason = f"measuring: {measurement.reason}" if measurement.reason else ""
            return Ending(measurement.outcome, reason, measurement.val_bpb)
        return Ending(Outcome.TIMED_OUT, f"measuring took longer than {seconds:g} s")

    async def _score_sealed(self, folder: Path, job: Job, ending: Ending) -> float | None:
        """Of a milestone; see node/trials/sealed_pass.py for what it costs. `ending` stands whatever comes of it."""
        if ending.val_bpb is None or job.milestone_below is None or ending.val_bpb >= job.milestone_below:
            return None
        source, weights = _encoded(job.source), folder / "scratch" / WEIGHTS
        return await self._sealed.score(source, job.config, weights, self._scratch, _measure_seconds(job))

    async def _execute(
        self,
        argv: list[str],
        folder: Path,
        hear: Callable[[bytes], None],
        seconds: float,
        scope: trio.CancelScope | None = None,
    ) -> Ended | None:
        """None when it had to be killed after `seconds`, or was given up: whoever has `scope` cancels it."""
        with scope or trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + seconds
            named = (folder / "train.py", folder / "config.json", folder / PACE)
            read = (*(file for file in named if file.exists()), self._shards / "train.bin")
            access = Access(read, write=(), scratch=folder / "scratch")
            return await self._warm.execute(argv, folder / "scratch", hear, access)
        assert scope.cancelled_caught
        return None

    def _argv(self, folder: Path, script: Path) -> list[str]:
        hardware = self._hardware
        argv = [str(script), "--config", str(folder / "config.json"), "--vocab-size", str(self._vocab_size)]
        return [*argv, "--device", hardware.device, "--threads", str(hardware.threads)]


class _Attempt:
    """One job while it runs: its clock, its log, its curve."""

    def __init__(self, job: Job, watcher: Watcher) -> None:
        self.job, self.log = job, TrialLog()
        self._watcher = watcher
        self._events: TrialEvents | None = None
        self._started = trio.current_time()
        self._training_seconds = 0.0
        self._peak_memory_bytes = 0
        self._condition, self._foreign_cores = Condition.STEADY, None
        self._points: list[tuple[float, float]] = []  # seconds, train loss
        self.hopeless = ""  # why it was given up
        self.scope = trio.CancelScope()  # what runs in it is killed when it is given up

    def hand_over(self) -> None:
        self._started = trio.current_time()
        wanted = frozenset(step for step, _ in self.job.pace)
        self._events = TrialEvents(trio.current_time, _train_seconds(self.job), self._progressed, wanted)
        self._watcher.training()

    def hear(self, chunk: bytes) -> None:
        assert self._events is not None
        self.log.feed(chunk)
        self._events.feed(chunk)

    def _progressed(self, progress: Progress) -> None:
        self._watcher.progress(progress)
        if (rule := self.job.early_stop) is None or self.hopeless:
            return
        self._points.append((progress.seconds, progress.train_loss))
        self.hopeless = rule.hopeless(self._points)
        if self.hopeless:
            self.scope.cancel()

    def stop(self, ended: Ended | None) -> None:
        if ended is not None:  # it was faster than its end
            self.hopeless = ""
        self._training_seconds = trio.current_time() - self._started
        self._peak_memory_bytes = ended.peak_memory_bytes if ended else 0
        self._watcher.trained()

    def mark(self, seen: Conditioned) -> None:
        self._condition, self._foreign_cores = seen.condition, seen.foreign_cores

    @property
    def progress(self) -> tuple[tuple[CurvePoint, ...], int]:
        """Every point that was heard, and tokens."""
        return (self._events.curve(), self._events.tokens) if self._events else ((), 0)

    @property
    def said_reason(self) -> str:
        return self._events.reason if self._events else ""

    def report(self, ending: Ending, sealed_bpb: float | None = None) -> TrialReport:
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
            condition=self._condition,
            foreign_cores=self._foreign_cores,
        )
        norms = gradient_norms(events.gradient_norms, self.job.config) if events else None
        return TrialReport(trial, curve, self.log.text(), self._training_seconds, sealed_bpb, norms)


def _train_seconds(job: Job) -> float:
    return job.track.budget_seconds * (1 if job.max_steps is None else PACE_ROOM)


def _measure_seconds(job: Job) -> float:
    return max(MEASURE_SECONDS, 0.5 * job.track.budget_seconds)


def _encoded(source: str) -> bytes:
    return source.encode("utf-8", errors="surrogatepass")

"""A trial: one execution of a source and a config. Bad endings are values, not exceptions."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from swarm.words import Condition, Frozen, Outcome

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]  # exact in every language
MAX_SECONDS = 1e9  # thirty years: sums of them stay numbers
_CHECKED = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)  # as Frozen
CURVE_POINTS = 40  # a curve in a record is thinned to this many points; the run folder has all of them


class Track(Frozen):
    """What makes two numbers comparable inside one topic: the same hardware class and the same budget."""

    hardware_class: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    budget_seconds: float = Field(gt=0, le=7 * 24 * 3600)

    def __hash__(self) -> int:
        return hash((self.hardware_class, self.budget_seconds))


@dataclass(frozen=True, slots=True, kw_only=True, config=_CHECKED)
class CurvePoint:
    """One of those that a ledger holds by the hundred thousand: no model, which would take four times the memory."""

    step: Count
    seconds: float = Field(ge=0)
    train_loss: float  # nats per token
    progress: float | None = Field(default=None, ge=0, le=1)  # of the schedule in that step, as the script says


class Trial(Frozen):
    """One execution of source + config + seed on one machine within one budget."""

    outcome: Outcome
    track: Track
    seed: int = Field(ge=-(2**53) + 1, le=2**53 - 1)
    seconds: float = Field(ge=0, le=MAX_SECONDS)  # wall time of training, hand-over to exit
    val_bpb: float | None = Field(default=None, gt=0, lt=64)  # bits per byte; present exactly when measured
    steps: Count = 0
    tokens: Count = 0
    parameters: Count = 0
    peak_memory_bytes: Count = 0
    curve: tuple[CurvePoint, ...] = Field(default=(), max_length=CURVE_POINTS)
    reason: str = Field(default="", max_length=400)  # why it was not measured, one sentence
    condition: Condition = Condition.STEADY
    foreign_cores: float | None = Field(default=None, ge=0)  # cores that other work used meanwhile; None: not known

    @model_validator(mode="after")
    def _measured_has_a_number(self) -> "Trial":
        if (self.outcome is Outcome.MEASURED) != (self.val_bpb is not None):
            raise ValueError(f"outcome {self.outcome} with val_bpb {self.val_bpb}")
        return self

    @property
    def fails(self) -> bool:
        """Whether it shows that what was run does not work. One that was stopped early did work, as far as it came."""
        ended_badly = self.outcome not in (Outcome.MEASURED, Outcome.CENSORED)
        return ended_badly and self.condition is Condition.STEADY

    @property
    def censored(self) -> bool:
        """Whether it was stopped early on a machine that was itself: beside other work a curve says nothing."""
        return self.outcome is Outcome.CENSORED and self.condition is Condition.STEADY

    @property
    def counts(self) -> bool:
        """Whether its number is evidence."""
        return self.val_bpb is not None and self.condition is Condition.STEADY


def scores(trials: Iterable[Trial]) -> tuple[float, ...]:
    """val_bpb of those that are evidence, in their order."""
    return tuple(trial.val_bpb for trial in trials if trial.val_bpb is not None and trial.counts)


def reported(trials: Iterable[Trial]) -> tuple[float, ...]:
    """val_bpb of the trials that count; of all measured ones where none does."""
    everything = tuple(trials)
    return scores(everything) or tuple(trial.val_bpb for trial in everything if trial.val_bpb is not None)

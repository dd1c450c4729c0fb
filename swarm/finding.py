"""A finding: the published, immutable record of one proposal and its trials. Discards and crashes are findings too.

Owns the models and their payload bytes (msgpack in, msgpack out). Signatures and record ids belong to gossip.
"""

import json
import math
from typing import Any, Literal

import msgpack
from pydantic import Field, ValidationError, model_validator

from swarm.brief import MAX_SOURCE_BYTES, Acceptance, Brief, source_sha256
from swarm.space import config_key
from swarm.words import BriefError, Decision, FindingId, Frozen, MalformedRecord, Operator, Outcome, Value

MAX_PAYLOAD_BYTES = 64 * 1024
CURVE_POINTS = 40  # a curve in a finding is thinned to this many points; the run folder has all of them


class Track(Frozen):
    """What makes two numbers comparable inside one topic: the same hardware class and the same budget."""

    hardware_class: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    budget_seconds: float = Field(gt=0, le=7 * 24 * 3600)

    def __hash__(self) -> int:
        return hash((self.hardware_class, self.budget_seconds))


class CurvePoint(Frozen):
    step: int = Field(ge=0)
    seconds: float = Field(ge=0)
    train_loss: float  # nats per token


class Trial(Frozen):
    """One execution of source + config + seed on one machine within one budget."""

    outcome: Outcome
    track: Track
    seed: int
    seconds: float = Field(ge=0)  # wall time of training, hand-over to exit
    val_bpb: float | None = Field(default=None, gt=0, lt=64)  # bits per byte; present exactly when measured
    steps: int = Field(default=0, ge=0)
    tokens: int = Field(default=0, ge=0)
    parameters: int = Field(default=0, ge=0)
    peak_memory_bytes: int = Field(default=0, ge=0)
    curve: tuple[CurvePoint, ...] = Field(default=(), max_length=CURVE_POINTS)
    reason: str = Field(default="", max_length=400)  # why it was not measured, one sentence

    @model_validator(mode="after")
    def _measured_has_a_number(self) -> "Trial":
        if (self.outcome is Outcome.MEASURED) != (self.val_bpb is not None):
            raise ValueError(f"outcome {self.outcome} with val_bpb {self.val_bpb}")
        return self


class Proposal(Frozen):
    """An idea: what to run, where it comes from and why."""

    operator: Operator
    proposer: str = Field(pattern=r"^[a-z0-9][a-z0-9._:/-]{0,63}$")  # who had it: "classic", "llm:model-name"
    config: dict[str, Value] = Field(max_length=256)
    source_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    source: str | None = Field(default=None, max_length=MAX_SOURCE_BYTES)  # train.py, when it is not the brief's
    parent: FindingId | None = None
    inspirations: tuple[FindingId, ...] = Field(default=(), max_length=16)  # peers' findings it was told of
    title: str = Field(max_length=120)  # "rmsnorm, learning rate 3e-3"
    rationale: str = Field(default="", max_length=1000)

    @model_validator(mode="after")
    def _source_matches(self) -> "Proposal":
        if self.source is not None and source_sha256(self.source) != self.source_sha256:
            raise ValueError("source does not have the hash it is named by")
        return self

    @property
    def key(self) -> str:
        """Equal for proposals that run the same thing."""
        return config_key(self.config, self.source_sha256)


class Verdict(Frozen):
    """A finding against its parent, as its author computed it. Readers recompute it from the trials."""

    decision: Decision
    effect: float | None = None  # parent's val_bpb minus this one: positive is better
    noise_sd: float  # standard deviation of that difference


class Finding(Frozen):
    kind: Literal["finding"] = "finding"
    number: int = Field(ge=1)  # the author's own run number in this topic, from 1
    node_name: str = Field(default="", max_length=40)
    started_at: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")  # RFC 3339, UTC
    proposal: Proposal
    trials: tuple[Trial, ...] = Field(min_length=1, max_length=32)
    verdict: Verdict

    @property
    def outcome(self) -> Outcome:
        return self.trials[0].outcome

    @property
    def track(self) -> Track:
        return self.trials[0].track

    @property
    def val_bpb(self) -> float | None:
        """Mean over measured trials; None when there is none. Lower is better."""
        scores = [trial.val_bpb for trial in self.trials if trial.val_bpb is not None]
        return math.fsum(scores) / len(scores) if scores else None


def judge(finding_bpb: float | None, parent_bpb: float | None, acceptance: Acceptance) -> Verdict:
    """The verdict on a single measured trial against its parent's.

    Keep if better by more than z standard deviations of the difference, discard if worse by as much or not measured,
    inconclusive between. A finding without a parent (the baseline) is kept if it was measured.
    """
    noise_sd = math.sqrt(2) * acceptance.noise_sd
    if finding_bpb is None:
        return Verdict(decision=Decision.DISCARD, effect=None, noise_sd=noise_sd)
    if parent_bpb is None:
        return Verdict(decision=Decision.KEEP, effect=None, noise_sd=noise_sd)
    effect = parent_bpb - finding_bpb
    margin = acceptance.z * noise_sd
    decision = Decision.KEEP if effect > margin else Decision.DISCARD if effect < -margin else Decision.INCONCLUSIVE
    return Verdict(decision=decision, effect=effect, noise_sd=noise_sd)


def encode_finding(finding: Finding) -> bytes:
    """Payload bytes: a msgpack map."""
    return msgpack.packb(finding.model_dump(mode="json"), use_bin_type=True)


def decode_finding(payload: bytes) -> Finding:
    """Raises MalformedRecord, and nothing else, whatever the bytes."""
    try:
        return Finding.model_validate_json(json.dumps(_unpack(payload), allow_nan=False))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise MalformedRecord(f"finding field {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedRecord(f"not a finding: {type(error).__name__}") from None


def _unpack(payload: bytes) -> Any:  # Any: whatever a stranger packed
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MalformedRecord(f"payload of {len(payload)} bytes is larger than {MAX_PAYLOAD_BYTES}")
    try:
        return msgpack.unpackb(payload, strict_map_key=True, max_array_len=4096, max_map_len=256, max_ext_len=0)
    except Exception as error:  # msgpack raises many classes on hostile bytes; all mean the same here
        raise MalformedRecord(f"payload is not msgpack: {type(error).__name__}") from None


def check_against(brief: Brief, finding: Finding) -> None:
    """Raise BriefError if a finding cannot belong to `brief`: a config outside its space, a source nobody can see."""
    brief.space.check(finding.proposal.config)
    if finding.proposal.source is None and finding.proposal.source_sha256 != brief.source_sha256:
        raise BriefError("finding changes train.py but does not carry it")

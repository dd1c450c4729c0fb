"""A finding: the published, immutable record of one proposal and its trials. Discards and crashes are findings too.

Owns the models and their payload bytes (msgpack in, msgpack out). Signatures and record ids belong to gossip.
"""

from itertools import chain
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field, model_validator

from swarm import payload
from swarm.brief import MAX_SOURCE_BYTES, Brief, source_sha256
from swarm.payload import MAX_PAYLOAD_BYTES, RECORD_ID, RFC_3339
from swarm.space import config_key
from swarm.trial import CURVE_POINTS, CurvePoint, Track, Trial, reported
from swarm.verdict import Verdict
from swarm.words import BriefError, FindingId, Frozen, Operator, Outcome, Value

__all__ = [
    "CURVE_POINTS",
    "MAX_PAYLOAD_BYTES",
    "CurvePoint",
    "Finding",
    "Proposal",
    "Track",
    "Trial",
    "Verdict",
    "check_against",
    "decode_finding",
    "encode_finding",
]


class Proposal(Frozen):
    """An idea: what to run, where it comes from and why."""

    operator: Operator
    proposer: str = Field(pattern=r"^[a-z0-9][a-z0-9._:/-]{0,63}$")  # who had it: "classic", "llm:model-name"
    config: dict[str, Value] = Field(max_length=256)
    source_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    source: str | None = Field(default=None, max_length=MAX_SOURCE_BYTES)  # train.py, when it is not the brief's
    parent: FindingId | None = Field(default=None, pattern=RECORD_ID)
    inspirations: tuple[Annotated[FindingId, Field(pattern=RECORD_ID)], ...] = Field(default=(), max_length=16)
    # ^ peers' findings it was told of
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


class Finding(Frozen):
    kind: Literal["finding"] = "finding"
    number: int = Field(ge=1, le=2**53 - 1)  # the author's own run number in this topic, from 1
    node_name: str = Field(default="", max_length=40)
    started_at: str = Field(pattern=RFC_3339)
    proposal: Proposal
    trials: tuple[Trial, ...] = Field(min_length=1, max_length=32)  # of the same thing with several seeds
    parent_trials: tuple[Trial, ...] = Field(default=(), max_length=32)  # of its parent, run again for this verdict
    verdict: Verdict

    @model_validator(mode="after")
    def _consistent(self) -> "Finding":
        if any(trial.track != self.track for trial in self.trials):
            raise ValueError("trials on different tracks")
        said = (self.verdict.effect, self.verdict.interval, self.verdict.p_better)
        if None in said and any(number is not None for number in said):
            raise ValueError("verdict with only some of effect, interval and p_better")
        return self

    @property
    def outcome(self) -> Outcome:
        """How the first trial ended that failed, or else was stopped early; else measured, if one was."""
        return self._telling.outcome

    @property
    def reason(self) -> str:
        """Why it was not measured, one sentence."""
        return self._telling.reason

    @property
    def _telling(self) -> Trial:
        failed = (trial for trial in self.trials if trial.fails)
        censored = (trial for trial in self.trials if trial.censored)
        measured = (trial for trial in self.trials if trial.outcome is Outcome.MEASURED)
        return next(chain(failed, censored, measured, self.trials))

    @property
    def track(self) -> Track:
        return self.trials[0].track

    @property
    def val_bpb(self) -> float | None:
        """Mean over the trials that count; None unless all were measured. Lower is better."""
        return fmean(reported(self.trials)) if self.outcome is Outcome.MEASURED else None


def encode_finding(finding: Finding) -> bytes:
    """Payload bytes: a msgpack map."""
    return payload.encode(finding)


def decode_finding(data: bytes) -> Finding:
    """Raises MalformedRecord, and nothing else, whatever the bytes."""
    return payload.decode(Finding, data, "finding")


def check_against(brief: Brief, finding: Finding) -> None:
    """Raise BriefError if a finding cannot belong to `brief`: a config outside its space, a source nobody can see."""
    brief.space.check(finding.proposal.config)
    if finding.proposal.source is None and finding.proposal.source_sha256 != brief.source_sha256:
        raise BriefError("finding changes train.py but does not carry it")

"""The brief: a research problem, content-addressed. Equal bytes are the same problem, other bytes another one.

Owns the model, its bytes and its id. Making a brief from a topic file and a corpus is `node/topics/loading.py`.
"""

import hashlib
import json
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from swarm.space import SearchSpace
from swarm.words import BriefError, BriefId, Frozen, Value

MAX_BRIEF_BYTES = 256 * 1024  # a goal text, one source file and a search space; guess with room
MAX_SOURCE_BYTES = 48 * 1024  # one editable file; a finding that carries it must still fit into one gossip message


class Shard(Frozen):
    """One split of the corpus as tokens on disk, named by its content."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    raw_bytes: int = Field(ge=1)  # bytes of text behind the tokens: the denominator of bits per byte
    tokens: int = Field(ge=2)


class Corpus(Frozen):
    """The text of a brief, split by document. `sealed` is never shown to a proposer and never decides."""

    tokenizer: Literal["bytes"] = "bytes"  # one token per byte
    vocab_size: int = Field(default=256, ge=2)
    documents: int = Field(ge=1)
    train: Shard
    validation: Shard
    sealed: Shard


class Metric(Frozen):
    name: Literal["val_bpb"] = "val_bpb"  # bits per byte over the whole validation shard
    direction: Literal["minimize"] = "minimize"


class Acceptance(Frozen):
    """When a finding beats its parent; `swarm/verdict.py` is the rule, `make bench-verdict` what it does with these."""

    noise_sd: float = Field(default=0.009, gt=0)  # bpb, one trial to the next; a guess until trials have been repeated
    noise_dof: float = Field(default=2.0, gt=0)  # how many repeats that guess is worth
    noise_trials: int = Field(default=3, ge=1, le=16)  # of the baseline, where nobody knows the noise of a track yet
    keep_at: tuple[float, ...] = Field(default=(0.999, 0.98, 0.9), min_length=1, max_length=16)
    # ^ P(better) that keeps, with 1, 2, 3 and more trials of the candidate: the fewer, the surer
    drop_at: float = Field(default=0.57, ge=0, lt=1)  # P(better) up to which it is not worth another trial
    max_trials: int = Field(default=8, ge=1, le=16)  # of a candidate; then it is inconclusive
    simplicity: float = Field(default=1.0, ge=0)  # standard deviations of a trial that a simpler candidate is given
    z: float = Field(default=2.0, gt=0)  # a replay agrees within so many standard deviations of the difference


class Budgets(Frozen):
    """Seconds of wall time of one trial, by kind of device."""

    cpu: float = Field(default=120.0, gt=0)
    gpu: float = Field(default=300.0, gt=0)


class Brief(Frozen):
    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    goal: str = Field(max_length=16_000)  # what program.md says
    metric: Metric = Metric()
    editable: dict[str, str] = Field(min_length=1)  # file name -> text that research starts from
    base_config: dict[str, Value]
    space: SearchSpace
    evaluator: Literal["bits_per_byte/1"] = "bits_per_byte/1"
    corpus: Corpus
    budgets: Budgets = Budgets()
    acceptance: Acceptance = Acceptance()

    @model_validator(mode="after")
    def _consistent(self) -> "Brief":
        if set(self.editable) != {"train.py"}:
            raise ValueError(f"editable files are {sorted(self.editable)}, this version knows exactly train.py")
        if len(self.editable["train.py"].encode()) > MAX_SOURCE_BYTES:
            raise ValueError(f"train.py is larger than {MAX_SOURCE_BYTES} bytes")
        try:
            self.space.check(self.base_config)
        except BriefError as error:
            raise ValueError(f"base config: {error}") from None
        return self

    @property
    def source(self) -> str:
        """The train.py that research starts from."""
        return self.editable["train.py"]

    @property
    def source_sha256(self) -> str:
        return source_sha256(self.source)


def source_sha256(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def encode_brief(brief: Brief) -> bytes:
    """The brief's bytes: JSON with sorted keys and no white space, UTF-8."""
    return json.dumps(brief.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def brief_id(data: bytes) -> BriefId:
    return BriefId(hashlib.sha256(data).hexdigest())


def decode_brief(data: bytes) -> Brief:
    """Raises BriefError when the bytes are not a brief of this format."""
    if len(data) > MAX_BRIEF_BYTES:
        raise BriefError(f"brief of {len(data)} bytes is larger than {MAX_BRIEF_BYTES}")
    try:
        return Brief.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BriefError(f"not a valid brief: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def topic_name(brief: BriefId) -> str:
    """The gossip channel of a brief."""
    return f"/swarm/1/{brief}"

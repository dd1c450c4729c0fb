"""The small words every other module uses: ids, frozen models, and errors with one clear sentence.

The table of words is in docs/design.md. Nothing here reads a clock, a file or a socket.
"""

from enum import StrEnum
from functools import cache
from typing import NewType

from pydantic import BaseModel, ConfigDict

PeerId = NewType("PeerId", str)  # libp2p Ed25519 peer id, base58, "12D3Koo..."
FindingId = NewType("FindingId", str)  # SHA-256 of the signed body of the record that carries it, 64 hex digits
BriefId = NewType("BriefId", str)  # SHA-256 of a brief's bytes, 64 hex digits

Value = bool | int | float | str  # one setting of a training config
Config = dict[str, Value]


class Frozen(BaseModel):
    """A value that crosses a boundary: immutable, strict, finite, checked once at the door.

    Unknown fields are ignored here and survive in the record's bytes, which are what is stored and forwarded.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    def model_post_init(self, _: object, /) -> None:
        """Nobody asks a value which of its fields were given: one set for all of a kind. Their own, 0.7 kB each, were
        a third of what a finding takes in a ledger."""
        object.__setattr__(self, "__pydantic_fields_set__", _fields_of(type(self)))


@cache
def _fields_of(kind: type[Frozen]) -> set[str]:
    """Never changed: a copy of a value has a copy of its set."""
    return set(kind.model_fields)


class Outcome(StrEnum):
    """How a trial ended. Bad endings are values, not exceptions."""

    MEASURED = "measured"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    REJECTED = "rejected"  # broke a rule of the brief
    CANCELLED = "cancelled"  # the node stopped; says nothing about the idea
    CENSORED = "censored"  # stopped early, its curve hopeless against the best: no score and no failure


class Condition(StrEnum):
    """What the machine was like while a trial ran. Only steady trials are evidence."""

    STEADY = "steady"
    CONTENDED = "contended"  # other work used the cores or the device
    THROTTLED = "throttled"  # the machine itself was slower than its node knows it


class Decision(StrEnum):
    """A finding against its parent."""

    KEEP = "keep"
    DISCARD = "discard"
    INCONCLUSIVE = "inconclusive"


class Standing(StrEnum):
    """What independent trials of others say about a finding. Computed, never asserted."""

    CLAIMED = "claimed"
    CONFIRMED = "confirmed"
    DISPUTED = "disputed"
    REFUTED = "refuted"


class Operator(StrEnum):
    """How a proposal comes out of its parent (a mutation's kind)."""

    DRAFT = "draft"  # from nothing: the baseline
    IMPROVE = "improve"  # a reasoned change
    TUNE = "tune"  # other values in the search space
    COMBINE = "combine"  # ours with a peer's
    REPAIR = "repair"  # make a failing idea run
    ABLATE = "ablate"  # take an earlier change away


class SwarmError(Exception):
    """An expected failure. The message is one sentence for a person: what, where, what to do."""


class BriefError(SwarmError):
    """A brief, its search space or a config breaks a rule."""


class MalformedRecord(SwarmError):
    """Bytes from outside are not a record this version understands."""


def short(identifier: str) -> str:
    """First eight characters after a peer id's constant head: enough for a person to tell ids apart."""
    return identifier.removeprefix("12D3KooW")[:8]

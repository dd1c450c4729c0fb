"""A replay: somebody's own trial of a finding that is there already, its own or a peer's.

Owns the model and its payload bytes. What replays say about a finding is the ledger's `standing`.
"""

from typing import Literal

from pydantic import Field

from swarm import payload
from swarm.payload import RECORD_ID, RFC_3339
from swarm.trial import CurvePoint, Trial
from swarm.words import FindingId, Frozen

MAX_CURVE_DEVIATION = 0.02
# ^ nats, of a replay by steps with the seed of the first run. Same machine and threads: bitwise equal; other numbers of
#   threads in bfloat16: within 0.006; the pace is read off a thinned curve, which adds about as much (docs/log.md).


class Replay(Frozen):
    kind: Literal["replay"] = "replay"
    of: FindingId = Field(pattern=RECORD_ID)
    key: str = Field(pattern=r"^[0-9a-f]{64}$")  # of what was run: source and config, as Proposal.key
    node_name: str = Field(default="", max_length=40)
    started_at: str = Field(pattern=RFC_3339)
    trial: Trial
    steps: int | None = Field(default=None, ge=1, le=2**53 - 1)  # so many, at the first run's pace; None: all
    curve_deviation: float | None = Field(default=None, ge=0)  # nats, by steps: the largest over common points

    @property
    def curve_agrees(self) -> bool | None:
        """Of a replay by steps; None for one of the whole budget, whose pace is the machine's."""
        if self.steps is None or self.curve_deviation is None:
            return None
        return self.curve_deviation <= MAX_CURVE_DEVIATION


def encode_replay(replay: Replay) -> bytes:
    return payload.encode(replay)


def decode_replay(data: bytes) -> Replay:
    """Raises MalformedRecord, and nothing else, whatever the bytes."""
    return payload.decode(Replay, data, "replay")


def curve_deviation(first: tuple[CurvePoint, ...], second: tuple[CurvePoint, ...]) -> float | None:
    """Largest difference of train loss at equal steps, in nats per token; None without a common step."""
    known = {point.step: point.train_loss for point in first}
    apart = [abs(point.train_loss - known[point.step]) for point in second if point.step in known]
    return max(apart) if apart else None

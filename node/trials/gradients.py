"""How large a script's gradients were, in four numbers: for a prompt's diagnostics and the run folder, no more.

Owns what is kept of the norms in its progress lines. A script may say nothing of them, or anything: what is no finite
number, or no norm, is left out, and no outcome and no score depends on the rest.
"""

import json
from collections.abc import Sequence
from statistics import median
from typing import cast

from pydantic import Field, ValidationError

from swarm.words import Config, Frozen

MAX_NORM = 1e30  # float32 ends at 3e38; sums of these stay numbers
CLIP_SETTING = "gradient_clip"  # as the shipped brief calls it; 0 or not there: nothing is known of clipping
SPIKE = 10.0  # times the median, after the start; guess
START_SHARE = 0.1  # of the reports, in which large gradients are nothing strange; guess


class GradientNorms(Frozen):
    """Norms over all weights, before they are clipped."""

    first: float = Field(ge=0, le=MAX_NORM)
    median: float = Field(ge=0, le=MAX_NORM)
    largest: float = Field(ge=0, le=MAX_NORM)
    last: float = Field(ge=0, le=MAX_NORM)
    spiked: bool = False  # one of them, after the start, was many times the median
    clipped_share: float | None = Field(default=None, ge=0, le=1)  # of the reports; None: not known


def gradient_norms(norms: Sequence[float], config: Config) -> GradientNorms | None:
    """Of one trial, in the order of its steps; None when it said nothing of them."""
    if not norms:
        return None
    usual, clip = median(norms), config.get(CLIP_SETTING)
    after_start = norms[int(START_SHARE * len(norms)) + 1 :]
    limit = 0.0 if isinstance(clip, bool | str) or clip is None else clip
    return GradientNorms(
        first=norms[0],
        median=usual,
        largest=max(norms),
        last=norms[-1],
        spiked=usual > 0 and max(after_start, default=0.0) > SPIKE * usual,
        clipped_share=sum(norm > limit for norm in norms) / len(norms) if limit > 0 else None,
    )


def gradient_norms_of(result: bytes) -> GradientNorms | None:
    """As a run's result.json has them; None where it has none, or is none."""
    try:
        read = json.loads(result)
        fields = cast("dict[str, object]", read).get("gradient_norm") if isinstance(read, dict) else None
        return None if fields is None else GradientNorms.model_validate(fields)
    except (ValueError, RecursionError, ValidationError):
        return None

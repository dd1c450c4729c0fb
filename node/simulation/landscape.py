"""The port to what trials come to in a simulation: a config and a seed in, an outcome out.

Owns the port and the choice by name. Recorded: learned from real trials (surrogate.py). Made up: invented numbers over
the same search space (made_up.py), quick to set up.
"""

import hashlib
import random
from functools import cache
from typing import Literal, Protocol

from node.simulation.made_up import NOISE_SD, MadeUp
from swarm.space import config_key
from swarm.words import Config, Outcome

SPEED_EXPONENT = 0.1  # a machine of twice the speed scores 7 % better; as node/simulation/surrogate.py
Name = Literal["recorded", "made-up"]


class Landscape(Protocol):
    def draw(self, config: Config, seed: int, speed: float = 1.0) -> tuple[Outcome, float | None]:
        """What one trial comes to; the same for the same config and seed."""
        ...

    def mean(self, config: Config, speed: float = 1.0) -> float:
        """Bits per byte without noise."""
        ...

    def noise_sd(self, config: Config, speed: float = 1.0) -> float:
        """Bits per byte, from one trial of the config to the next."""
        ...


class MadeUpLandscape:
    """The made-up surface behind the port."""

    def __init__(self, variant: int = 0) -> None:
        self._surface = MadeUp(variant)
        self._means: dict[str, float] = {}

    def draw(self, config: Config, seed: int, speed: float = 1.0) -> tuple[Outcome, float | None]:
        rng = random.Random(hashlib.sha256(f"{config_key(config, '')} {seed}".encode()).digest())
        outcome, bpb = self._surface.trial(config, rng)
        return outcome, None if bpb is None else bpb * speed**-SPEED_EXPONENT

    def mean(self, config: Config, speed: float = 1.0) -> float:
        key = config_key(config, "")
        if key not in self._means:
            self._means[key] = self._surface.truth(config)
        return self._means[key] * speed**-SPEED_EXPONENT

    def noise_sd(self, config: Config, speed: float = 1.0) -> float:  # noqa: ARG002 - the same everywhere
        return NOISE_SD * speed**-SPEED_EXPONENT


@cache
def landscape(name: Name) -> Landscape:
    """Raises TableError when the table of recorded trials cannot be used."""
    if name == "made-up":
        return MadeUpLandscape()
    from node.simulation.surrogate import shipped_surrogate  # numpy, and seconds to learn

    return shipped_surrogate()

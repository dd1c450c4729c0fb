"""The surrogate of real trials as a surface that a campaign can search."""

import random
from pathlib import Path
from typing import Self

from node.simulation.campaign import research_space, space_file
from node.simulation.surrogate import Surrogate
from node.simulation.table import read_table
from swarm.words import Config, Outcome


class SurrogateSurface:
    """From the naive base of configs/gpt.toml on."""

    def __init__(self, surrogate: Surrogate, start: Config) -> None:
        self.surrogate, self.space, self.start = surrogate, surrogate.space, start

    @classmethod
    def of_table(cls, path: Path | None = None) -> Self:
        """Of the shipped table without a path. Takes seconds. Raises TableError."""
        space = research_space()
        return cls(Surrogate.fit(read_table(path, space).rows, space), dict(space_file().base))

    def trial(self, config: Config, rng: random.Random) -> tuple[Outcome, float | None]:
        return self.surrogate.draw(config, rng.getrandbits(32))

    def truth(self, config: Config) -> float:
        return self.surrogate.mean(config)
